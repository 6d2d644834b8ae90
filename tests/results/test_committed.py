"""What runs leave in results/ changes no test: neither in a clone nor in an unpacked archive of the source."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.committed import ROOT, copied, results

IGNORED = (
    "runs/0123456789ab/run.json", "data/cot/manifest.json", "wandb/run.wandb", "encodings/rope.png",
    "quick/report.html", "reproduced/quick/records.jsonl", "reproduced/runs/0123456789ab/run.json",
)  # fmt: skip
CHANGED = ("quick/table1.md", "quick/ledger/effects.md", "smoke/records.jsonl")
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a table, before anything has run."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # as a hook of git sets them
        monkeypatch.delenv(name, raising=False)
    project = tmp_path / "project"
    write(project / "results/quick/table1.md", "committed")
    shutil.copy(ROOT / ".gitignore", project)
    return project


def texts(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


# In an archive nothing tells a changed file from a committed one; where there is no git, there is no clone.
PLACES = {"archive": IGNORED, **({"clone": (*IGNORED, *CHANGED)} if shutil.which("git") else {})}


@pytest.mark.parametrize("place", PLACES)
def test_what_runs_leave_does_not_count(place: str, project: Path, tmp_path: Path) -> None:
    if place == "clone":
        for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "m"]):
            subprocess.run([*GIT, *words], cwd=project, check=True, capture_output=True)
    for name in PLACES[place]:
        write(project / "results" / name, "of a run")
    assert texts(copied(project, tmp_path / "copy")) == {"quick/table1.md": "committed"}


def test_the_committed_results_are_there() -> None:
    assert {"quick", "narrow", "paper", "bench"} <= {path.name for path in results().iterdir()}
    assert not list(results().rglob("report.html"))


def test_no_test_reads_the_results_of_the_work_tree() -> None:
    reads = re.compile(r"""(\bROOT|\.parent|parents\[\d\]) *(/ *|\.\w+\()["']results\b""")
    own = {Path(__file__).resolve(), ROOT / "tests" / "committed.py"}
    files = [path for path in sorted((ROOT / "tests").rglob("*.py")) if path not in own]
    assert len(files) > 20
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if reads.search(line)
    ]
    assert found == [], "use tests.committed.results"
