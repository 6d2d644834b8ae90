"""positions, curves, gap and league as commands: files, choices, mistakes told in a line, nothing heavy imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import structs

from eval.store import records
from eval.store.leases import LEASE
from tests.command import run
from tests.committed import ROOT, results


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the committed records of one seed, as the quick profile's and as its league's."""
    monkeypatch.chdir(tmp_path)
    found = [record for record in records.load(results() / "quick" / "records.jsonl") if record.seed == 42]
    records.append(tmp_path / "results" / "quick" / "records.jsonl", found)
    league = [structs.replace(record, protocols=("paper",)) for record in found if "paper" in record.protocols]
    records.append(tmp_path / "results" / "quick" / "league" / "records.jsonl", league)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(LEASE)}


@pytest.mark.parametrize(
    ("command", "files", "says"),
    [
        ("positions", {"positions-paper.svg", "positions-paper.csv"}, "Token accuracy (teacher-forced)"),
        (
            "positions --errors",
            {"errors-paper.svg", "errors-paper.csv"},
            "the smallest rate that they can show is 0.2 %",
        ),
        ("curves", {"curves-paper.svg", "curves-paper.csv"}, "Learning curves by epoch"),
        ("gap", {"gap-paper.svg", "gap-paper.csv", "wavelengths-paper.svg"}, "Number of pre-critical features: RoPE 9"),
    ],
)
def test_pictures_and_their_numbers_are_written(
    workplace: Path, capsys: pytest.CaptureFixture[str], command: str, files: set[str], says: str
) -> None:
    assert run(*command.split(), "--protocol", "paper", "--format", "svg") == 0
    out = capsys.readouterr().out
    assert names(workplace / "results" / "quick") == {"records.jsonl", records.LOCK, *files}
    assert says in out
    assert "quick profile, much smaller than the paper's" in out


def test_one_task_does_not_replace_the_whole_picture(workplace: Path) -> None:
    assert run("positions", "--protocol", "paper", "--task", "cot", "--format", "svg", "--out", "o") == 0
    assert names(workplace / "o") == {"positions-paper-cot.svg", "positions-paper-cot.csv"}
    lines = (workplace / "o" / "positions-paper-cot.csv").read_text().splitlines()[1:]
    assert {line.split(",")[1] for line in lines} == {"cot"}


def test_the_league_is_written_beside_its_records(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("league", "--format", "svg") == 0
    folder = workplace / "results" / "quick" / "league"
    assert names(folder) == {"records.jsonl", records.LOCK, "league-paper.svg", "league.md", "league.csv"}
    out = capsys.readouterr().out
    assert out.endswith((folder / "league.md").read_text())
    assert "| epochs | 8 | 150 |" in out
    assert "(1 seed per encoding)" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["positions", "--format", "pgn"], "format=pgn: did you mean png?"),
        (["curves", "--task", "recursiv"], "task=recursiv: no record of it; did you mean recursive?"),
        (["gap", "--protocol", "released"], "protocol=released: no record of it"),
        (["positions", "--profile", "paper"], "profile=paper: no records at results/paper/records.jsonl"),
        (
            ["curves", "--protocol", "paper", "--format", "svg", "--out", "results/quick/records.jsonl/x"],
            "cannot write",
        ),
        (["league", "--profile", "narrow"], "make them with `posgen sweep --league --profile narrow`"),
        (["league", "--protocol", "released"], "protocol=released: no record of it"),
        (["interventions"], "make them with `posgen interventions --measure --profile quick`"),
        (["interventions", "--measure"], "none of the 12 runs of these records is there"),
        (["lengths"], "make them with `posgen lengths --measure --profile quick`"),
        (["lengths", "--sequences", "8"], "--sequences=8: needs --measure"),
        (["lengths", "--threshold", "50"], "lengths.threshold=50.0: use a fraction"),
        (["lengths", "--measure", "--lengths", "256,64"], "use growing numbers of tokens"),
        (["lengths", "--measure", "--pe", "yarm"], "did you mean yarn?"),
        (["lengths", "--measure"], "none of the 12 runs of these records is there"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    workplace: Path, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    before = sorted(workplace.rglob("*"))
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1
    assert sorted(workplace.rglob("*")) == before


@pytest.mark.parametrize(("commands", "allowed"), [
    (("positions", "curves"), set()),
    pytest.param(("league",), {"torch"}, marks=pytest.mark.slow),  # for its predictions
])  # fmt: skip
def test_neither_torch_nor_pandas_is_imported(workplace: Path, commands: tuple[str, ...], allowed: set[str]) -> None:
    code = (
        f"import json, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from cli.main import main\n"
        f"for command in {commands}:\n"
        "    try: main([command, '--protocol', 'paper', '--format', 'svg'])\n"
        "    except SystemExit as stop: assert not stop.code, stop.code\n"
        "print(json.dumps([name for name in ('torch', 'pandas', 'wandb', 'hydra') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=workplace, check=False)
    assert set(json.loads(done.stdout.splitlines()[-1])) <= allowed, done.stderr
