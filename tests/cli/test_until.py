"""`posgen sweep --until EPOCH`: a look at trainings before their end, from which the same command goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from posgen.errors import UserError
from tests.command import run
from tests.eval.store.test_records import with_digest
from tests.sampled import sampled

SIX = ("optim.epochs=6", "optim.validate_every=2", "tracker=none", "paths.data=data")
ONE = ("sweep", "--profile", "smoke", "--task", "cot", "--pe", "rope,yarn", "--threads", "1", *SIX)
NAME = "smoke+optim.epochs=6+optim.validate_every=2"


def records(folder: str, name: str) -> list[AccuracyRecord]:
    found = load(Path(folder) / name / "records.jsonl")
    return sorted(found, key=lambda r: (r.run_id, r.test_encoding))


def sweep(folder: str, *more: str) -> int:
    return run(*ONE, f"paths.results={folder}", f"paths.runs={folder}/runs", *more)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("until")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert sweep("whole") == 0
        assert sweep("part", "--until", "2") == 0
    return folder


@pytest.fixture(autouse=True)
def workplace(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stopped)


def test_records_say_how_far_the_training_came(capsys: pytest.CaptureFixture[str]) -> None:
    found = records("part", f"{NAME}+until=2")
    assert len(found) == 3
    for r in found:
        assert (r.status, r.trained_epochs, r.training.optim.epochs) == ("stopped", 2, 6)
        assert [row.epoch for row in r.history] == [2]
        assert r.training.label.endswith("epoch 2 of 6")
        assert (r.train_seconds or 0.0) > 0
    whole = {(r.run_id, r.test_encoding): r for r in records("whole", NAME)}
    for r in found:  # the same training, seen earlier
        assert r.history == whole[r.run_id, r.test_encoding].history[:1]
    assert run("status", "--runs", "paths.runs=part/runs") == 0
    assert capsys.readouterr().out.count("stopped, epoch 2 of 6") == 2


@pytest.mark.parametrize(
    "command", sampled(["table1", "figure3", "curves", "positions", "verdict"], {"table1", "figure3"})
)
def test_every_table_and_figure_says_so(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--format", "markdown") if command in ("table1", "verdict") else ()
    assert run(command, "--records", f"part/{NAME}+until=2/records.jsonl", "--out", str(tmp_path), *words) == 0
    texts = capsys.readouterr().out + "".join(path.read_text() for path in tmp_path.glob("*.md"))
    assert "epoch 2 of 6" in texts


def test_it_stands_still_and_then_goes_on_to_the_same_end(capsys: pytest.CaptureFixture[str]) -> None:
    states = {path: path.read_bytes() for path in Path("part/runs/.states").glob("*.pt")}
    assert len(states) == 1  # of both, which train together
    assert sweep("part", "--until", "2") == 0
    assert "2 already measured at epoch 2" in capsys.readouterr().out
    (Path("part") / f"{NAME}+until=2" / "records.jsonl").unlink()
    assert sweep("part", "--until", "2") == 0  # measured again, from the states
    assert "2 stopped at epoch 2" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in states} == states
    assert sweep("part", "--until", "4") == 0
    assert {r.trained_epochs for r in records("part", f"{NAME}+until=4")} == {4}
    assert sweep("part") == 0

    def numbers(folder: str) -> list[Any]:
        keys = ("run_id", "test_encoding", "metrics", "history", "checkpoint_epoch", "accuracy_by_position")
        return [{key: getattr(r, key) for key in keys} for r in records(folder, NAME)]

    assert numbers("part") == numbers("whole")
    assert {r.status for r in records("part", NAME)} == {"finished"}
    capsys.readouterr()
    assert sweep("part", "--until", "4", "--fresh") == 0  # begins again: what is past an epoch cannot go back


@pytest.mark.parametrize(
    ("epoch", "words"),
    [
        ("3", "until=3: use a multiple of 2: validations are 2 epochs apart"),
        ("6", "until=6: use an epoch before the last of 6"),
        ("0", "until=0: use an epoch before the last of 6"),
        ("2", "is past it already, at epoch 6, and its state of then is gone; leave it out"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(epoch: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(map(str, Path("whole").rglob("*")))
    assert sweep("whole", "--until", epoch) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("posgen: error: ")
    assert words in error
    assert "\n" not in error
    assert sorted(map(str, Path("whole").rglob("*"))) == before


def test_epochs_are_never_pooled() -> None:
    from eval.evidence.cells import collect

    whole = load(Path("whole") / NAME / "records.jsonl")
    early = [structs.replace(r, status="stopped", trained_epochs=2) for r in whole[:1]]
    with pytest.raises(UserError, match="trained to epoch 2 and to epoch 6"):
        collect([*early, *whole[1:]])


def test_a_record_that_stopped_says_where(tmp_path: Path) -> None:
    training, line, *_ = (Path("whole") / NAME / "records.jsonl").read_text().splitlines()
    stopped = with_digest({**json.loads(line), "status": "stopped"})
    (tmp_path / "records.jsonl").write_text(f"{training}\n{stopped}\n")
    with pytest.raises(UserError, match="trained_epochs should be a whole number"):
        load(tmp_path / "records.jsonl")
