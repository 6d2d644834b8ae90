"""`posgen sweep --league --equal-id` and `posgen league --equal-id` for real, at smoke, where nothing learns."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from tests.command import run

SWEEP = (
    "sweep", "--league", "--profile", "smoke", "--task", "cot,cot_hidden", "--pe", "alibi", "--threads", "1",
    "--equal-id", "--doublings", "1",
)  # fmt: skip
LEAGUE = Path("results/smoke/league")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ids(folder: Path) -> dict[str, AccuracyRecord]:
    return {record.run_id: record for record in load(folder / "records.jsonl")}


@pytest.mark.slow
def test_slow_learners_train_again_with_twice_the_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SWEEP) == 0
    out = capsys.readouterr().out
    assert "equal ID, 4 epochs: 2 places (alibi) below 95 % of the ceiling" in out
    assert "equal ID: 2 places (alibi) never learned within the bound" in out
    by_epochs = {2: ids(LEAGUE), 4: ids(LEAGUE / "epochs-4")}
    for epochs, made in by_epochs.items():
        assert {(r.task, r.pe) for r in made.values()} == {("cot", "alibi"), ("cot_hidden", "alibi")}
        assert {r.training.optim.epochs for r in made.values()} == {epochs}
        assert {len(r.history) for r in made.values()} == {epochs}  # a whole schedule of its own, from the first epoch
        changed = "" if epochs == 2 else f"+optim.epochs={epochs}"
        assert {r.profile for r in made.values()} == {f"smoke{changed}"}
    assert len(set.union(*map(set, by_epochs.values()))) == 4

    before = {path: path.read_bytes() for path in LEAGUE.rglob("records.jsonl")}
    assert run(*SWEEP) == 0
    assert "trained and measured" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in LEAGUE.rglob("records.jsonl")} == before
    # a rung further: what would be trained is listed and estimated, and nothing is
    assert run(*SWEEP[:-1], "3", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "equal ID, 8 epochs: 2 places" in out
    assert "at most the same trainings again with 16 epochs, 2 times as long in all" in out
    assert not (LEAGUE / "epochs-8").exists()

    assert run("league", "--profile", "smoke", "--equal-id", "--format", "svg") == 0
    out = capsys.readouterr().out
    for head in ("The league, at equal ID accuracy", "The league, hidden answers, at equal ID accuracy"):
        assert f"**{head}.**" in out
    names = {path.name for path in LEAGUE.iterdir() if path.stem.startswith(("equal-id", "league"))}
    assert names == {"equal-id.md", "equal-id.csv", "equal-id-paper.svg", "equal-id-hidden-paper.svg"}
    rows = list(csv.DictReader((LEAGUE / "equal-id.csv").open()))
    assert {(row["epochs"], row["learned"], row["rank"]) for row in rows} == {("4", "False", "")}

    assert run("league", "--profile", "smoke", "--task", "cot_hidden", "--format", "svg") == 0
    assert "**The league.**" not in capsys.readouterr().out
    assert (LEAGUE / "league-hidden-paper.svg").exists()
    assert not (LEAGUE / "league-paper.svg").exists()


def test_before_the_league_is_measured_only_a_bound_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*SWEEP[:-1], "3", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "at most all 2 trainings with 2 to 8 times the epochs, 14 times as long in all" in out
    assert not LEAGUE.exists()


@pytest.mark.parametrize(("words", "line"), [
    (["sweep", "--equal-id"], "--equal-id is for --league"),
    (["sweep", "--league", "--doublings", "2"], "doublings=2: is for --equal-id only"),
    ([*SWEEP[:-1], "11"], "doublings=11: use 0 to 10"),
    ([*SWEEP, "--until", "1"], "until=1: is not for --equal-id"),
    ([*SWEEP, "optim.lr=1e-3,2e-3"], "give every setting one value"),
    (["league", "--profile", "smoke", "--equal-id"], "no records"),
])  # fmt: skip
def test_what_does_not_go_together_is_one_line(
    words: list[str], line: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert line in said
    assert not list(workplace.iterdir())
