"""W&B tracking against W&B's own reader of offline runs (`wandb leet inspect`), and what happens without a server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb

from conf.schema import TrackMode
from eval.running.tracker import TrackedMember, Tracker
from eval.running.wandb_tracker import WandbTracker, curves

MEMBERS = [
    TrackedMember(
        "0123456789ab", "cot-rope-5549", "quick paper rope", "train", ("cot", "rope"), {"task": {"name": "cot"}},
        task="cot", trained_as="rope",
    ),
    TrackedMember(
        "ba9876543210", "cot-resonance_rope-42", "quick paper resonance_rope", "train", ("cot",),
        {"optim": {"lr": 2e-4}}, task="cot", trained_as="rope",
    ),
]  # fmt: skip


def row(epoch: int, loss: float) -> dict[str, Any]:
    metrics = {"loss": loss + 0.5, "id_accuracy": 0.75, "ood_accuracy": 0.25}
    return {
        "epoch": epoch,
        "step": 79 * epoch,
        "train_loss": loss,
        "train_accuracy": 0.5,
        "lr": 2e-4,
        "validation": {"rope": metrics, "yarn": {**metrics, "loss": loss + 1.0}},
    }


SUMMARY = {"rope": {"ood_accuracy": 0.625, "checkpoint_epoch": 2}, "yarn": {"ood_accuracy": 0.875, "loss": 1.5}}


@pytest.fixture(autouse=True)
def fresh_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No credentials, no settings of whoever runs the tests, and a new W&B service for each test."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "NETRC", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    wandb.teardown()
    yield
    wandb.teardown()


def tracker(tmp_path: Path, lines: list[str], **options: Any) -> WandbTracker:
    return WandbTracker(tmp_path / "wandb", report=lines.append, **options)


def run_files(tmp_path: Path, run_id: str) -> list[Path]:
    return sorted((tmp_path / "wandb").glob(f"offline-run-*-{run_id}*/run-{run_id}.wandb"))


def inspect(file: Path) -> dict[str, list[dict[str, Any]]]:
    """What W&B's own reader finds in an offline run: for every type of record, the records in order."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    found: dict[str, list[dict[str, Any]]] = {}
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        record = json.loads(line)
        found.setdefault(record["type"], []).append(record.get(record["type"]))
    return found


def history(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [record["item"] for record in found["history"]]


def exit_codes(found: dict[str, list[dict[str, Any]]]) -> list[int]:
    return [record["exit_code"] for record in found["exit"]]


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {key: value for record in found["summary"] for key, value in record["update"].items()}


def track(tracked: Tracker, epochs: list[int], status: str) -> None:
    tracked.start(MEMBERS)
    for epoch in epochs:
        for n, member in enumerate(MEMBERS):
            tracked.log(member.run_id, row(epoch, 2.0 / epoch + n))
    for member in MEMBERS:
        tracked.finish(member.run_id, SUMMARY, status)
    tracked.close()


def test_offline_runs_hold_the_curves_and_the_summary(tmp_path: Path) -> None:
    lines: list[str] = []
    track(tracker(tmp_path, lines), [1, 2], "finished")
    assert lines == []
    for n, member in enumerate(MEMBERS):
        (file,) = run_files(tmp_path, member.run_id)
        found = inspect(file)
        first, second = history(found)
        assert [first["_step"], second["_step"]] == [79, 158]
        assert [first["epoch"], second["epoch"]] == [1, 2]
        assert second["train_loss/cot"] == 1.0 + n
        assert second["train_accuracy/cot"] == 0.5
        assert second["train_lr/cot"] == 2e-4
        assert second["figure3/cot"] == 1.5 + n
        assert second["id_accuracy/cot"] == 0.75
        assert second["tested_with_yarn/cot_loss"] == 2.0 + n
        assert second["tested_with_yarn/cot_ood_accuracy"] == 0.25
        run = found["run"][0]
        assert (run["display_name"], run["run_group"], run["job_type"]) == (member.name, member.group, "train")
        assert tuple(run["tags"]) == member.tags
        assert member.config.items() <= run["config"]["update"].items()
        assert exit_codes(found) == [0]
        results = summary(found)
        assert results["status"] == "finished"
        assert results["test/rope/ood_accuracy"] == 0.625
        assert results["test/rope/checkpoint_epoch"] == 2
        assert results["test/yarn/loss"] == 1.5
    # All of W&B's files lie below the given directory.
    assert not (tmp_path / "home").exists()


def test_every_chart_has_the_epoch_on_its_x_axis(tmp_path: Path) -> None:
    track(tracker(tmp_path, []), [1], "finished")
    (file,) = run_files(tmp_path, MEMBERS[0].run_id)
    found = inspect(file)
    over = {metric["glob_name"][:-1]: metric["step_metric"] for metric in found["metric"] if "glob_name" in metric}
    drawn = [name for name in history(found)[0] if not name.startswith("_") and name != "epoch"]
    assert len(drawn) == 9
    for name in drawn:
        assert {step for prefix, step in over.items() if name.startswith(prefix)} == {"epoch"}, name


def test_a_chart_compares_the_encodings_of_one_task_and_a_line_is_the_mean_of_its_seeds() -> None:
    """What W&B draws: of every name a chart, of every group a line over those of its runs that have the name."""
    charts: dict[str, dict[str, list[tuple[str, int]]]] = {}
    for task in ("recursive", "cot"):
        for pe in ("rope", "yarn"):
            for seed in (1, 2, 3):
                member = TrackedMember(
                    f"{task}{pe}{seed}", "", f"quick paper {pe}", "train", (), {}, task=task, trained_as=pe
                )
                for name in curves(member, row(1, 1.0)):
                    charts.setdefault(name, {}).setdefault(member.group, []).append((task, seed))
    assert charts.pop("epoch")
    for task in ("recursive", "cot"):
        runs = [(task, seed) for seed in (1, 2, 3)]
        assert charts[f"figure3/{task}"] == {"quick paper rope": runs, "quick paper yarn": runs}
    assert all(len({task for task, _ in runs}) == 1 for lines in charts.values() for runs in lines.values())


def test_names_that_are_too_long_for_wandb_stay_apart(tmp_path: Path) -> None:
    lines: list[str] = []
    tracked = tracker(tmp_path, lines)
    long = "quick+" + "x" * 130
    tracked.start([replace(MEMBERS[0], tags=(f"{long}1", f"{long}2"), group=f"{long}1")])
    tracked.close()
    assert lines == []
    (file,) = run_files(tmp_path, MEMBERS[0].run_id)
    run = inspect(file)["run"][0]
    assert len(set(run["tags"])) == 2
    assert all(len(tag) == 64 for tag in run["tags"])
    assert len(run["run_group"]) == 128


def test_an_interrupted_run_can_go_on_under_the_same_id(tmp_path: Path) -> None:
    lines: list[str] = []
    interrupted = tracker(tmp_path, lines)
    interrupted.start(MEMBERS)
    interrupted.log(MEMBERS[0].run_id, row(1, 2.0))
    interrupted.close()
    track(tracker(tmp_path, lines), [2], "finished")
    assert lines == []
    before, after = map(inspect, run_files(tmp_path, MEMBERS[0].run_id))
    assert exit_codes(before) == [130]
    assert exit_codes(after) == [0]
    assert [point["_step"] for found in (before, after) for point in history(found)] == [79, 158]


@pytest.mark.slow
def test_a_key_without_a_server_falls_back_to_offline_for_all_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:  # a port that nobody listens on
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    tried: list[str] = []
    init = wandb.init

    def watched(**options: Any) -> wandb.Run:
        tried.append(options["mode"])
        if options["mode"] == "offline":  # a short wait is for the server that never answers, not for a busy machine
            options["settings"] = options["settings"].model_copy(update={"init_timeout": 600.0})
        return init(**options)

    monkeypatch.setattr(wandb, "init", watched)
    lines: list[str] = []
    track(tracker(tmp_path, lines, init_timeout=1.0), [1], "finished")
    assert tried == ["online", "offline", "offline"]
    assert len(lines) == 1
    assert lines[0].startswith("W&B does not answer, tracking offline")
    assert "\n" not in lines[0]
    for n, member in enumerate(MEMBERS):
        (file,) = run_files(tmp_path, member.run_id)
        assert history(inspect(file))[0]["train_loss/cot"] == 2.0 + n


def test_a_netrc_entry_for_the_server_counts_as_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def refuse(**options: Any) -> None:
        modes.append(options["mode"])
        raise ConnectionError("no server in this test")

    monkeypatch.setattr(wandb, "init", refuse)
    (tmp_path / "netrc").write_text(f"machine elsewhere.example login user password {'a' * 40}\n")
    tracker(tmp_path, []).start(MEMBERS)
    assert modes == ["offline"]
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'a' * 40}\n")
    tracker(tmp_path, []).start(MEMBERS)
    assert modes == ["offline", "online", "offline"]


def test_online_without_credentials_never_asks(tmp_path: Path) -> None:
    lines: list[str] = []
    track(tracker(tmp_path, lines, mode=TrackMode.online), [1], "diverged")
    assert len(lines) == 1
    assert "wandb login" in lines[0]
    (file,) = run_files(tmp_path, MEMBERS[0].run_id)
    assert summary(inspect(file))["status"] == "diverged"


@pytest.mark.parametrize("broken", ["init", "Run.log", "Run.finish"])
def test_training_goes_on_whatever_wandb_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise wandb.Error("broken\non purpose")

    monkeypatch.setattr(f"wandb.{broken}", fail)
    lines: list[str] = []
    track(tracker(tmp_path, lines), [1, 2, 3], "finished")
    assert len(lines) == 1
    assert lines[0].startswith("W&B tracking stopped (Error: broken); the rest goes on")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_disabled_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled" if how == "environment" else "online")
    mode = TrackMode.disabled if how == "option" else TrackMode.auto
    track(tracker(tmp_path, [], mode=mode), [1], "finished")
    assert not list(tmp_path.rglob("*.wandb"))
