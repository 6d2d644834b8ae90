"""Data never runs code: what a record or a run folder names is run only when somebody typed it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec import structs

from eval.store.records import append, load
from posgen import own_code
from posgen.errors import BadValue, UserError
from posgen.naming import check_name
from posgen.spec import Task
from tests.command import run

EVIL = "from pathlib import Path\nPath('PWNED').touch()\nraise SystemExit(0)\n"
OWN = """
from dataclasses import dataclass

from models.encodings.scalings.base import Scaling, rope_inv_freq


@dataclass(frozen=True)
class Half(Scaling):
    def inv_freq(self, head_dim, base, length):
        return rope_inv_freq(head_dim, base) / 2
"""
SWEEP = ("train", "--profile", "smoke", "--task", "cot", "--threads", "1")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(own_code, "_TRUSTED", set())
    return tmp_path


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command that ends with status 2."""
    capsys.readouterr()
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_record_that_names_code_runs_none(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SWEEP, "--pe", "rope") == 0
    Path("results/evil.py").write_text(EVIL)
    named = "results/evil.py:X"
    stored = Path("results/smoke/records.jsonl")
    records = [
        structs.replace(r, encoding={**r.encoding, "scaling": named}) for r in load(Path("results/runs/records.jsonl"))
    ]
    append(stored, records)
    assert f"--code {named}" in error_of(capsys, "gap", "--profile", "smoke")
    assert run("report", "--profile", "smoke") == 0
    assert run("table1", "--profile", "smoke") == 0
    assert f"--code {named}" in error_of(capsys, "lengths", "--measure", "--profile", "smoke", "--lengths", "16")
    assert not Path("PWNED").exists()
    # Named, it runs, and that it exits is an error as any other.
    assert "SystemExit" in error_of(capsys, "gap", "--profile", "smoke", "--code", named)
    assert Path("PWNED").exists()


@pytest.mark.parametrize("node", ["task.h", "train_encoding.scaling", "train_encoding.kind"])
def test_a_run_folder_that_names_code_runs_none(place: Path, capsys: pytest.CaptureFixture[str], node: str) -> None:
    """Edited, it is no longer the run that its name says; made under its own name, it names code."""
    assert run(*SWEEP, "--pe", "rope") == 0
    (folder,) = [path.parent for path in Path("results/runs").glob("*/run.json")]
    Path("evil.py").write_text(EVIL)
    spec = json.loads((folder / "spec.json").read_text())
    group, key = node.split(".")
    spec[group][key] = "evil:h"
    spec.pop("digest")  # whoever makes a file can give it one, or none, as version 0.1 did
    (folder / "spec.json").write_text(json.dumps(spec))
    told = error_of(capsys, "evaluate", folder.name)
    theirs = told.partition("describes run ")[2].partition(",")[0]
    folder.rename(folder.with_name(theirs))
    assert "names the code evil:h" in error_of(capsys, "evaluate", theirs)
    assert not Path("PWNED").exists()


def test_own_code_that_is_named_is_measured_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("half.py").write_text(OWN)
    assert run(*SWEEP, "--pe", "half.py:Half") == 0  # typed, so it runs
    (folder,) = [path.parent for path in Path("results/runs").glob("*/run.json")]
    own_code._TRUSTED.clear()  # as in another process
    assert "--code half.py:Half" in error_of(capsys, "evaluate", folder.name)
    assert run("evaluate", folder.name, "--code", "half.py:Half", "--length", "32") == 0
    Path("half.py").write_text(OWN.replace("/ 2", "/ 3"))
    assert "was edited since" in error_of(capsys, "evaluate", folder.name, "--code", "half.py:Half", "--length", "40")


@pytest.mark.parametrize("how", ["import sys; sys.exit(0)", "raise KeyboardInterrupt", "raise GeneratorExit", "1 / 0"])
@pytest.mark.parametrize("what", ["task.h=bad:h", "--pe=bad.py:X"])
def test_own_code_that_exits_or_raises_anything_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], how: str, what: str
) -> None:
    Path("bad.py").write_text(how + "\n")
    option, _, value = what.partition("=")
    words = (option, value) if option == "--pe" else (what,)
    assert "bad" in error_of(capsys, *SWEEP, *words)
    assert not Path("results").exists()
    import sys

    sys.modules.pop("bad", None)


@pytest.mark.parametrize("name", ["../../escaped", "a/b", "", ".hidden", "a\nb", "x" * 101, "..", "a\\b", "é"])
def test_a_name_that_could_leave_its_folder_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(BadValue, match="it names a file"):
        check_name("name", name)
    with pytest.raises(BadValue, match="it names a file"):
        Task(name=name)
    before = sorted(place.parent.rglob("*"))
    assert "pe.name=" in error_of(capsys, *SWEEP, "--pe", "rope", f"pe.name='{name}'") or name in ("a\nb",)
    assert sorted(place.parent.rglob("*")) == before


def test_a_run_id_is_no_path(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a run id is 12 digits" in error_of(capsys, "evaluate", "../../etc")


def test_what_nobody_typed_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_code, "_TRUSTED", set())
    own_code.refuse_untrusted(("sum_mod", "yarn"), "a record")  # parts of the suite
    with pytest.raises(UserError, match=r"a record names the code x:y, .*--code x:y"):
        own_code.refuse_untrusted(("yarn", "x:y"), "a record")
    own_code.trust("x:y")
    own_code.refuse_untrusted(("x:y",), "a record")


def test_a_name_that_is_no_code_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "posgen: error: code=nan: use path/to/file.py:Class or module:function\n"
    assert error_of(capsys, "report", "--code", "nan") == line
