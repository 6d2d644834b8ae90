"""The interface between a training and an experiment tracker; eval.running.wandb_tracker implements it.

A tracker never stops a training: its methods raise nothing but KeyboardInterrupt, and what it shows is only a view. The
numbers that count are the records (eval.store.records).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedMember:
    """One member as a tracker shows it. A `group` holds what differs in task and seed alone; `config` is the full
    resolved configuration; `trained_as` is the test encoding that it trains with, None when that is not measured."""

    run_id: str
    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: dict[str, Any]
    task: str
    trained_as: str | None


class Tracker(Protocol):
    """Follows members that train side by side in one process."""

    def start(self, members: Sequence[TrackedMember]) -> None:
        """These members begin, or go on after an interruption."""

    def log(self, run_id: str, row: Mapping[str, Any]) -> None:
        """A validation of a member: epoch, step, train_loss, train_accuracy, lr, and under `validation` for every
        test encoding its loss (nats), id_accuracy and ood_accuracy (fractions)."""

    def finish(self, run_id: str, summary: Mapping[str, Mapping[str, Any]], status: str) -> None:
        """A member ends: its test metrics for every test encoding; status finished, diverged or interrupted."""

    def close(self) -> None:
        """Nothing more will come; members that have not ended count as interrupted."""


class NoTracker:
    """No-op tracker."""

    def start(self, members: Sequence[TrackedMember]) -> None: ...

    def log(self, run_id: str, row: Mapping[str, Any]) -> None: ...

    def finish(self, run_id: str, summary: Mapping[str, Mapping[str, Any]], status: str) -> None: ...

    def close(self) -> None: ...
