"""A sweep end to end: what is on disk afterwards, what survives an interruption, and what W&B was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec import structs
from omegaconf import OmegaConf
from safetensors.torch import load_file

import models.population
from conf.schema import TrackMode
from eval.measuring.planned import PlannedMember
from eval.running.evaluation import evaluate_runs
from eval.running.job import Outcome, RunSettings
from eval.running.plan import plan
from eval.running.sweep import run_sweep
from eval.running.tracker import NoTracker
from eval.running.wandb_tracker import WandbTracker
from eval.store.frame import curves, frame
from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from eval.store.runs import Run
from models.parameters import stacked
from models.spec import EncodingSpec
from posgen.errors import UserError
from tests.eval.running.test_wandb import fresh_wandb, history, inspect, run_files, summary

__all__ = ["fresh_wandb"]  # a fixture: no credentials of whoever runs the tests

PES = ("rope", "yarn")
LENGTHENED = ("optim.epochs=6", "optim.validate_every=2")


def planned(*overrides: str, tasks: Sequence[str] = ("cot",)) -> list[PlannedMember]:
    return plan(tasks, PES, [1, 2], None, "smoke", overrides)


def settings(folder: Path, **changes: Any) -> RunSettings:
    fields: dict[str, Any] = {
        "runs_dir": folder / "runs", "data_dir": folder / "data", "records_path": folder / "records.jsonl",
        "sweep": "test", "profile": "smoke", "threads": 1, "progress": False,
    }  # fmt: skip
    return RunSettings(**{**fields, **changes})


class StopAfter(NoTracker):
    """Presses Ctrl-C, so to speak, when the n-th validation has been logged."""

    def __init__(self, validations: int) -> None:
        self.left = validations

    def log(self, run_id: str, row: Any) -> None:
        import signal

        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


def measured(folder: Path) -> dict[tuple[str, str, int], AccuracyRecord]:
    """Records without what differs between two runs of one thing."""
    return {
        (r.run_id, r.test_encoding, r.length): structs.replace(r, created="", train_seconds=None)
        for r in load(folder / "records.jsonl")
    }


def loss(record: AccuracyRecord) -> float | None:
    assert record.metrics is not None
    return record.metrics.loss


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted sweep of four members."""
    folder = tmp_path_factory.mktemp("whole")
    outcome = run_sweep(planned(*LENGTHENED), settings(folder))
    assert len(outcome.finished) == 4
    return folder


def test_a_run_folder_says_what_was_asked_and_how_it_came_out(whole: Path) -> None:
    for member in planned(*LENGTHENED):
        run = Run(whole / "runs", member.spec.run_id)
        assert run.spec() == member.spec
        assert run.config() == member.config == OmegaConf.to_container(OmegaConf.load(run.path / "config.yaml"))
        info = run.info()
        assert (info["status"], info["epoch"], info["seed"]) == ("finished", 6, member.spec.seed)
        (maker,) = info["trained_by"]
        assert maker["versions"]["torch"] == str(torch.__version__)
        result = run.result()
        past, chosen = result.history, result.chosen
        assert [row["epoch"] for row in past] == [2, 4, 6]
        for label, epoch in chosen.items():
            best = max(past, key=lambda row: row["validation"][label]["id_accuracy"])  # max takes the first
            assert epoch == best["epoch"]
            assert load_file(run.path / f"weights-{label}.safetensors")["embedding"].shape == (10, 32)
        assert not (run.path / "state.pt").exists()


def test_interrupted_and_continued_is_the_same_to_the_bit(whole: Path, tmp_path: Path) -> None:
    first = run_sweep(planned(*LENGTHENED), settings(tmp_path), StopAfter(4))
    assert first.interrupted
    assert not first.finished
    states = [Run(tmp_path / "runs", m.spec.run_id).info()["status"] for m in planned(*LENGTHENED)]
    assert states == ["interrupted"] * 4
    assert not (tmp_path / "records.jsonl").exists()
    assert len(run_sweep(planned(*LENGTHENED), settings(tmp_path)).finished) == 4
    assert measured(tmp_path) == measured(whole)
    for file in (whole / "runs").rglob("*.safetensors"):
        ours, theirs = load_file(tmp_path / file.relative_to(whole)), load_file(file)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_a_state_on_disk_is_enough_after_a_kill(whole: Path, tmp_path: Path) -> None:
    """Periodic states, then a death without warning: the sweep goes on from the last state."""

    class Killed(BaseException):
        pass

    class Dies(StopAfter):
        def log(self, run_id: str, row: Any) -> None:
            self.left -= 1
            if self.left == 0:
                raise Killed

    with pytest.raises(Killed):
        run_sweep(planned(*LENGTHENED), settings(tmp_path, save_seconds=0.0), Dies(6))
    state = Run(tmp_path / "runs", planned(*LENGTHENED)[0].spec.run_id).state()
    assert state is not None
    assert state["steps"] > 0
    assert len(run_sweep(planned(*LENGTHENED), settings(tmp_path)).finished) == 4
    assert measured(tmp_path) == measured(whole)


def test_lost_records_are_measured_again_without_training(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = measured(whole)
    lines = (whole / "records.jsonl").read_text().splitlines()
    lines.remove(next(line for line in lines if line.startswith('{"kind":"accuracy"')))
    (whole / "records.jsonl").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr("eval.running.training._train", lambda *_: pytest.fail("trained again"))
    outcome = run_sweep(planned(*LENGTHENED), settings(whole))
    assert (len(outcome.finished), len(outcome.remeasured), len(outcome.skipped)) == (0, 1, 3)
    assert measured(whole) == before


def test_a_diverged_member_is_recorded_and_its_companions_finish(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(members: Any) -> dict[str, torch.Tensor]:
        weights = stacked(members)
        weights["final_norm"][0] = float("nan")
        return weights

    monkeypatch.setattr(models.population, "stacked", poisoned)
    outcome = run_sweep(planned(*LENGTHENED), settings(tmp_path))
    assert (len(outcome.diverged), len(outcome.finished)) == (1, 3)
    lost = [r for r in load(tmp_path / "records.jsonl") if r.status == "diverged"]
    assert {r.run_id for r in lost} == set(outcome.diverged)
    assert all(r.metrics is None and r.diverged_at is not None and r.diverged_at["epoch"] == 1 for r in lost)
    others = measured(whole)
    for key, found in measured(tmp_path).items():
        if found.status == "finished":
            assert loss(found) == pytest.approx(loss(others[key]), rel=1e-4)
    again = run_sweep(planned(*LENGTHENED), settings(tmp_path))
    assert len(again.skipped) == 4


def test_a_run_that_another_process_trains_is_left_alone(tmp_path: Path) -> None:
    """The others finish meanwhile; it is trained here when the other process has let go of it."""
    first, *others = (Run(tmp_path / "runs", member.spec.run_id) for member in planned())
    assert first.claim()
    found: list[Outcome] = []
    worker = threading.Thread(target=lambda: found.append(run_sweep(planned(), settings(tmp_path))))
    worker.start()
    end = time.monotonic() + 300
    while not all(run.done for run in others) and time.monotonic() < end:
        time.sleep(0.05)
    assert all(run.done for run in others)
    assert (first.done, worker.is_alive(), list(first.path.glob("*.json"))) == (False, True, [])
    first.release()
    worker.join()
    assert sorted(found[0].finished) == sorted(run.run_id for run in (first, *others))


def test_a_damaged_state_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    run_sweep(planned(*LENGTHENED), settings(tmp_path), StopAfter(1))
    (file,) = (tmp_path / "runs" / ".states").glob("*.pt")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, somewhere in the weights
    for damaged in (bytes(content), bytes(content[:1000]), b""):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{file.name} does not have its checksum.*--fresh"):
            run_sweep(planned(*LENGTHENED), settings(tmp_path))
        assert file.read_bytes() == damaged  # nothing is written over it


@pytest.mark.slow
def test_wandb_holds_the_numbers_of_the_records(tmp_path: Path) -> None:
    lines: list[str] = []
    tracker = WandbTracker(tmp_path / "wandb", mode=TrackMode.offline, report=lines.append)
    run_sweep(planned(*LENGTHENED), settings(tmp_path), tracker)
    assert not lines
    found = load(tmp_path / "records.jsonl")
    assert len({r.run_id for r in found}) == 4
    for record in found:
        (file,) = run_files(tmp_path, record.run_id)
        told, label, task = inspect(file), record.test_encoding, record.task
        own = label == record.train_encoding
        rows = [row for row in history(told) if "epoch" in row]
        assert [row["epoch"] for row in rows] == [row.epoch for row in record.history]
        for mine, theirs in zip(rows, record.history, strict=True):
            for name in ("loss", "id_accuracy", "ood_accuracy"):
                shown = f"{'figure3' if name == 'loss' else name}/{task}"
                key = shown if own else f"tested_with_{label}/{task}_{name}"
                assert mine[key] == getattr(theirs, f"validation_{name}")
        assert summary(told)[f"test/{label}/ood_accuracy"] == record.ood_accuracy


def test_evaluate_at_the_trained_length_repeats_the_test(whole: Path) -> None:
    run_id = planned(*LENGTHENED)[0].spec.run_id
    before = measured(whole)
    again = evaluate_runs([run_id], settings(whole))
    assert {r.test_encoding.partition("~")[0] for r in again} == {"rope", "yarn"}
    assert measured(whole) == before
    longer = evaluate_runs([run_id], settings(whole), lengths=[16, 48])
    for record in longer:
        assert len(record.accuracy_by_position or ()) == record.length
        assert (record.ood_accuracy is None) == (record.length == 16)


def test_an_encoding_that_trains_weights_needs_a_member_that_trained_them(whole: Path) -> None:
    run_id = planned(*LENGTHENED)[0].spec.run_id
    bias = EncodingSpec("t5_bias", kind="t5_bias")
    before = (whole / "records.jsonl").read_bytes()
    with pytest.raises(UserError, match=f"pe=t5_bias: needs weights that run {run_id} never trained"):
        evaluate_runs([run_id], settings(whole), encodings=[bias])
    assert (whole / "records.jsonl").read_bytes() == before
    (measured_with,) = evaluate_runs([run_id], settings(whole), encodings=[EncodingSpec("alibi", kind="alibi")])
    assert measured_with.test_encoding.startswith("alibi~")


def test_threads_do_not_change_a_number(whole: Path, tmp_path: Path) -> None:
    found: list[Outcome] = []
    worker = threading.Thread(
        target=lambda: found.append(run_sweep(planned(*LENGTHENED), settings(tmp_path, threads=2)))
    )
    worker.start()  # outside the main thread, where no signal handler can be set
    worker.join()
    torch.set_num_threads(1)
    assert len(found[0].finished) == 4
    for key, record in measured(tmp_path).items():
        assert loss(record) == pytest.approx(loss(measured(whole)[key]), rel=1e-4)


def test_records_as_pandas_tables(whole: Path) -> None:
    found = load(whole / "records.jsonl")
    table = frame(whole / "records.jsonl")
    assert table["ood_accuracy"].dropna().tolist() == [r.ood_accuracy for r in found if r.ood_accuracy is not None]
    assert (table["seed"].tolist(), len(table)) == ([r.seed for r in found], len(found))
    unfolded = curves(whole / "records.jsonl")
    assert unfolded["validation_loss"].tolist() == [row.validation_loss for r in found for row in r.history]


@pytest.mark.slow
def test_runs_that_choose_another_checkpoint_share_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledger row 14: three runs, three records, one trajectory; each as if it had been trained alone."""
    sizes = []
    build = models.population.Population.__init__

    def counted(self: Any, members: Any, *rest: Any) -> None:
        sizes.append(len(members))
        build(self, members, *rest)

    protocols = ["paper", "paper+selection=last", "paper+selection=best_loss"]
    members = plan(["cot"], ["rope"], [1], protocols, "smoke", LENGTHENED)
    monkeypatch.setattr(models.population.Population, "__init__", counted)
    assert len(run_sweep(members, settings(tmp_path)).finished) == 3
    assert sizes == [1]
    for member in members:
        alone = tmp_path / member.spec.run_id
        run_sweep([member], settings(alone))
        (own,) = load(alone / "records.jsonl")
        (shared,) = [r for r in load(tmp_path / "records.jsonl") if r.run_id == member.spec.run_id]
        for key in ("metrics", "history", "checkpoint_epoch", "selection", "protocols"):
            assert getattr(shared, key) == getattr(own, key), key
    assert sizes == [1, 1, 1, 1]
