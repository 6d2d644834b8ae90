"""`posgen verdict` and what it adds to `posgen table1`: files, formats, mistakes, and no torch on the way."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cli.table1 import table1
from cli.verdict import verdict
from eval.store import records
from posgen.errors import UserError
from tests.command import output
from tests.committed import ROOT


def run(*words: str) -> str:
    return output({"table1": table1, "verdict": verdict}, *words)


@pytest.fixture
def sweep(tmp_path, monkeypatch, full_sweep):
    """A working directory with the quick profile's records in it: no pair has any spread."""
    monkeypatch.chdir(tmp_path)
    records.append(tmp_path / "results" / "quick" / "records.jsonl", full_sweep())
    return tmp_path


def test_the_terminal_shows_pairs_claims_and_why_there_are_no_cells(sweep):
    text = run("verdict")
    assert "Pairs: Resonance - counterpart" in text
    assert "(b) Resonance RoPE's minimum is below YaRN's on Semi-recursive" in text
    assert "No cell is compared with its published value" in text
    assert "synthetic numbers_only" in text
    assert (
        text.index("Claims of the paper") < text.index("Verdicts on profile quick") < text.index("Pairs: 6 undecided")
    )
    assert text.rstrip().splitlines()[-1].startswith("Claims of the paper: ")


def test_formats_are_printed_or_written_and_repeat_to_the_byte(sweep):
    assert "| paper | CoT | Resonance YaRN |" in run("verdict", "--format", "markdown")
    out = run("verdict", "--format", "all", "--out", "judged")
    assert sorted(path.name for path in (sweep / "judged").iterdir()) == ["verdict.csv", "verdict.md"]
    assert "wrote judged/verdict.csv" in out
    first = {path.name: path.read_bytes() for path in (sweep / "judged").iterdir()}
    run("verdict", "--format", "all", "--out", "judged")
    assert {path.name: path.read_bytes() for path in (sweep / "judged").iterdir()} == first


def test_one_protocol_alone(sweep):
    assert "zero_shot" not in run("verdict", "--protocol", "paper", "--format", "csv")


def test_differences_without_spread_decide_nothing(sweep):
    """The made-up sweep has Resonance ahead by exactly as much at every seed, which no training does."""
    lines = [line.split(",") for line in run("verdict", "--format", "csv").splitlines() if line.startswith("pair")]
    assert {line[10] for line in lines} == {"undecided"}


def test_a_rule_can_be_changed_and_is_told(sweep):
    assert "Changed from what was declared: alpha 0.1 (declared 0.05)." in run("verdict", "verdict.alpha=0.1")


def test_table1_carries_the_pairs_in_markdown_alone(sweep):
    text = run("table1", "--format", "markdown")
    assert (
        text.index("**Table 1, protocol paper.**")
        < text.index("**Pairs.**")
        < text.index("| Recursive | Resonance RoPE - RoPE |")
    )
    assert "Pairs" not in run("table1", "--format", "csv,latex")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--format", "latex"], "format=latex: one of all, csv, markdown, terminal"),
        (["--format", "markdwn"], "format=markdwn: did you mean markdown"),
        (["--protocol", "released"], "protocol=released: no record of it"),
        (["--profile", "paper"], "profile=paper: no records at results/paper/records.jsonl"),
        (["--records", "nowhere.jsonl"], "cannot read the records nowhere.jsonl"),
        (["--accuracy", "beam"], "accuracy=beam"),
        (["--sweep", "nightly"], "sweep=nightly"),
        (["--format", "csv", "--out", "results/quick/records.jsonl"], "cannot write"),
        (["verdict.margin_points=-1"], "verdict.margin_points=-1.0: use points of accuracy"),
        (["verdict.margn_points=1"], "did you mean verdict.margin_points"),
        (["optim.lr=1"], "optim.lr=1: one of verdict.alpha"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(sweep, words, line):
    before = sorted(sweep.rglob("*"))
    with pytest.raises(UserError, match=line) as error:
        run("verdict", *words)
    assert "\n" not in str(error.value)
    assert sorted(sweep.rglob("*")) == before


@pytest.mark.parametrize("call", ["verdict()", "table1(format='markdown')"])
def test_neither_torch_nor_pandas_is_imported(sweep, call):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from cli.verdict import verdict\nfrom cli.table1 import table1\n"
        f"{call}\n"
        "print('heavy:', [name for name in ('torch', 'pandas', 'scipy.stats', 'wandb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=sweep, check=True)
    assert done.stdout.endswith("heavy: []\n")
