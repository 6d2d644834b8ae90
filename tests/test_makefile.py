"""What the Makefile's goals call and where they write, with a posgen that only writes down how it was called."""

from __future__ import annotations

import itertools
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_project import ROOT, unknown

VERBS = ["sweep", "table1", "verdict", "figure3", "positions", "curves", "gap", "report"]
OWN = "results/reproduced/quick/records.jsonl"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A clone's folder as far as the goals look at it, on a machine without a GPU."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt", "results/quick/table1.md", "results/quick/records.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    program(tmp_path / "venv/bin/python", "echo cpu")
    program(tmp_path / "venv/bin/posgen", 'for word in "$@"; do printf "%s " "$word"; done >> calls; echo >> calls')
    return tmp_path


def program(file: Path, line: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)


def made(place: Path, *words: str) -> tuple[list[list[str]], str]:
    """(the calls of posgen, what is printed)."""
    (place / "calls").unlink(missing_ok=True)
    command = ["make", "--no-print-directory", "--old-file", "venv/.stamp", "VENV=venv", "PROFILE=", *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in (place / "calls").read_text().splitlines()], done.stdout


def written(call: list[str]) -> list[str]:
    """The places that a call writes to: all of them are named, none is left to a default."""
    outs = [value for option, value in itertools.pairwise(call) if option == "--out"]
    folders = [word.partition("=")[2] for word in call if word.startswith(("paths.", "tracker.directory="))]
    return outs + folders


def ignored(path: str) -> bool:
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return any(f"{path}/".startswith(line) for line in lines if line.startswith("results/"))


def test_only_places_that_git_ignores_are_written(place: Path) -> None:
    calls = made(place, "reproduce-table1", "figure3", "report")[0]
    assert [call[0] for call in calls] == [*VERBS, "figure3", "report"]
    for call in calls:
        assert unknown(call) == []
        assert written(call)
        assert all(map(ignored, written(call))), call
    assert not ignored("results/quick")
    assert {place for call in calls[1:7] for place in written(call)} == {"results/reproduced/quick"}
    assert all(OWN in call for call in calls[1:7])


@pytest.mark.parametrize(
    ("device", "profile", "taken"), [("cpu", "", "quick"), ("cuda", "", "paper"), ("cuda", "narrow", "narrow")]
)
def test_the_profile_is_that_of_the_machine_unless_named(place: Path, device: str, profile: str, taken: str) -> None:
    program(place / "venv/bin/python", f"echo {device}")
    (sweep, table1, *_), said = made(place, f"PROFILE={profile}", "reproduce-table1")
    assert sweep[:5] == ["sweep", "--profile", taken, "--device", device]
    assert table1[1:3] == ["--records", f"results/reproduced/{taken}/records.jsonl"]
    assert ("No GPU here" in said) == (device == "cpu")
    assert f"Table 1 is in results/reproduced/{taken}/table1.md" in said
    compared = f"posgen compare results/{taken}/records.jsonl results/reproduced/{taken}/records.jsonl"
    assert (compared in said) == (taken == "quick"), "only of quick there are committed records here"


def test_the_committed_records_are_drawn_where_there_are_none_of_ones_own(place: Path) -> None:
    figure3, report = made(place, "figure3", "report")[0]
    assert "--records" not in figure3
    assert "paths.results=results/reproduced" not in report
    (place / OWN).parent.mkdir(parents=True)
    (place / OWN).touch()
    figure3, report = made(place, "figure3", "report")[0]
    assert figure3[figure3.index("--records") + 1] == OWN
    assert "paths.results=results/reproduced" in report


def test_the_committed_results_can_be_written_when_they_are_named(place: Path) -> None:
    sweep, *drawn = made(place, "RESULTS=results", "reproduce-table1")[0]
    assert "paths.results=results" in sweep
    assert {place for call in drawn[:-1] for place in written(call)} == {"results/quick"}
