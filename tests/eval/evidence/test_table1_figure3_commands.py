"""`posgen table1` and `posgen figure3` as commands: files, formats, mistakes, and no torch on the way."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli.figures import figure3
from cli.table1 import table1
from eval.store import records
from eval.store.leases import LEASE
from posgen.errors import UserError
from tests.command import output
from tests.committed import ROOT


def run(*words: str) -> str:
    return output({"table1": table1, "figure3": figure3}, *words)


@pytest.fixture
def sweep(tmp_path, monkeypatch, full_sweep):
    """A working directory with the quick profile's records in it."""
    monkeypatch.chdir(tmp_path)
    records.append(tmp_path / "results" / "quick" / "records.jsonl", full_sweep())
    return tmp_path


def test_table1_prints_the_quick_profile_by_default(sweep):
    text = run("table1")
    assert "Resonance YaRN" in text
    assert "zero_shot" in text
    assert "profile quick" in text


def test_formats_are_printed_or_written(sweep):
    text = run("table1", "--format", "markdown,latex")
    assert "| RoPE |" in text
    assert "| CoT | RoPE |" in run("table1", "--wide", "--format", "markdown")
    assert r"\toprule" in text
    out = run("table1", "--format", "all", "--out", "tables")
    assert sorted(path.name for path in (sweep / "tables").iterdir()) == ["table1.csv", "table1.md", "table1.tex"]
    assert "wrote tables/table1.md" in out
    first = {path.name: path.read_bytes() for path in (sweep / "tables").iterdir()}
    run("table1", "--format", "all", "--out", "tables")
    assert {path.name: path.read_bytes() for path in (sweep / "tables").iterdir()} == first


def test_one_protocol_alone(sweep):
    assert "protocol zero_shot" not in run("table1", "--protocol", "paper", "--format", "markdown")


def test_several_record_files_make_one_table(sweep, full_sweep):
    made = full_sweep()
    records.append(sweep / "a.jsonl", made[:20])
    records.append(sweep / "b.jsonl", made[20:])
    whole = run("table1", "--format", "csv")
    assert run("table1", "--format", "csv", "--records", "a.jsonl", "--records", "b.jsonl") == whole


def test_figure3_writes_one_figure_a_protocol(sweep):
    text = run("figure3")
    names = {f"figure3-{protocol}.{suffix}" for protocol in ("paper", "zero_shot") for suffix in ("png", "pdf")}
    made = {path.name for path in (sweep / "results" / "quick").iterdir() if not path.name.startswith(LEASE)}
    assert made == names | {"figure3.csv", "records.jsonl", records.LOCK}
    assert "(a) Resonance reaches a lower minimum than its counterpart: 6 of 6" in text


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["table1", "--format", "latx"], "format=latx: did you mean latex"),
        (["table1", "--protocol", "paper,released"], "protocol=released: no record of it"),
        (["table1", "--profile", "paper"], "profile=paper: no records at results/paper/records.jsonl"),
        (["table1", "--records", "nowhere.jsonl"], "cannot read the records nowhere.jsonl"),
        (["table1", "--accuracy", "beam"], "accuracy=beam"),
        (["table1", "--sweep", "nightly"], "sweep=nightly"),
        (["table1", "--format", "csv", "--out", "results/quick/records.jsonl"], "cannot write"),
        (["figure3", "--protocol", "zero"], "protocol=zero"),
        (["figure3", "--protocol", "paper,"], "protocol=paper,: write a comma list"),
        (["figure3", "--profile", "smoke"], "profile=smoke: no records at"),
        (["figure3", "--out", "results/quick/records.jsonl/x"], "cannot write"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(sweep, words, line):
    before = sorted(sweep.rglob("*"))
    with pytest.raises(UserError, match=line) as error:
        run(*words)
    assert "\n" not in str(error.value)
    assert sorted(sweep.rglob("*")) == before


@pytest.mark.parametrize(("module", "command"), [("table1", "table1"), ("figures", "figure3")])
def test_neither_torch_nor_pandas_is_imported(sweep, module, command):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        f"from cli.{module} import {command}\n"
        f"{command}()\n"
        "print('heavy:', [name for name in ('torch', 'pandas', 'scipy', 'wandb', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=sweep, check=True)
    assert done.stdout.endswith("heavy: []\n")
