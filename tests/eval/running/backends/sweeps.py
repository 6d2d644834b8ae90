"""A sweep of a few chunks for all backends, and what disturbs it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from eval.measuring.planned import PlannedMember
from eval.running.sweep import run_sweep
from eval.store.kinds import AccuracyRecord
from eval.store.leases import Lease
from tests.eval.running.test_sweep import measured, planned, settings

LONG = ("optim.epochs=60", "optim.validate_every=20")
TASKS = ("cot", "recursive")


def plan() -> list[PlannedMember]:
    """Eight members, which `small_chunks` makes two chunks of."""
    return planned(*LONG, tasks=TASKS)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four trainings a chunk, and packages that the processes of a backend find from wherever the tests run."""
    monkeypatch.setattr("eval.running.populations.TOGETHER", 4)
    monkeypatch.setattr("eval.running.sweep.TOGETHER", 4)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # a backend adds to it


_EXPECTED: dict[str, dict[tuple[str, str, int], AccuracyRecord]] = {}


def expected(folder: Path) -> dict[tuple[str, str, int], AccuracyRecord]:
    """The records of that sweep in this process, made once."""
    if not _EXPECTED:
        assert len(run_sweep(plan(), settings(folder / "here")).finished) == 8
        _EXPECTED["here"] = measured(folder / "here")
    return _EXPECTED["here"]


@contextmanager
def disturbed(folder: Path, signals: Sequence[signal.Signals]) -> Iterator[list[int]]:
    """While this lasts: the signals, one each to processes that train below `folder`, once each has saved a state.
    Yields the process numbers that were met."""
    met: list[int] = []
    over = threading.Event()

    def disturb() -> None:
        left = list(signals)
        while left and not over.is_set():
            for run in (folder / "runs").glob("*"):
                holder = Lease(run).holder() if run.is_dir() and not (run / "history.json").exists() else None
                if not holder or holder.pid in (*met, os.getpid()) or not list((folder / "runs").glob(".states/*.pt")):
                    continue
                if '"running"' in (run / "run.json").read_text():
                    met.append(holder.pid)
                    os.kill(holder.pid, left.pop(0))
                    break
            time.sleep(0.005)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        yield met
    finally:
        over.set()
        thread.join()
