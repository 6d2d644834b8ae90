"""What the JSON files of a run folder hold (eval.store.runs): fields and types, against which they are read."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from eval.store.kinds import Maker


class RunInfo(Struct):
    """What run.json may hold; the fields that are read."""

    status: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    population: str | None = None
    profile: str | None = None
    sweep: str | None = None
    task: str | None = None
    train_encoding: str | None = None
    seed: int | None = None
    cells: list[tuple[str, str, str, str]] | None = None
    trained_by: list[Maker] | None = None
    train_seconds: float | None = None
    diverged_at: dict[str, Any] | None = None
    updated: str | None = None
    host: str | None = None
    pid: int | None = None
    since: str | None = None
    reason: str | None = None
    recorded: list[str] | None = None
    weights_removed: str | None = None


class Row(Struct):
    """A validation in history.json: under each test encoding its loss (nats) and accuracies (fractions)."""

    epoch: int
    step: int
    train_loss: float | None
    train_accuracy: float | None
    validation: dict[str, dict[str, float | None]]


class Outcome(Struct):
    """What history.json holds."""

    history: list[Row]
    chosen: dict[str, int | None]
    weights_sha256: dict[str, str]
    status: str | None = None
