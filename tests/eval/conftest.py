"""Records for tests, made up: round numbers that no training would give. Tests get their makers as fixtures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

TASKS = ("recursive", "cot", "semi_recursive")
PES = ("rope", "resonance_rope", "yarn", "resonance_yarn")


def synthetic_record(
    task: str = "cot",
    pe: str = "rope",
    seed: int = 42,
    ood: float | None = 0.5,
    protocols: tuple[str, ...] = ("paper",),
    losses: tuple[float | None, ...] = (3.0, 2.0, 1.0),
    **fields: Any,
) -> dict[str, Any]:
    """A whole record; `ood=None` makes it a diverged one. `fields` replace top-level keys."""
    config = {
        "task": {"name": task, "rule": task, "modulus": 7, "far": 1, "near": 3, "h": "sum_mod"},
        "data": {"train_length": 64, "test_length": 256, "train_size": 10_000},
        "model": {"layers": 2, "d_model": 64},
        "optim": {"epochs": 6, "batch_size": 64},
        "pe": {"name": pe},
        "profile": {"name": "quick", "label": "synthetic numbers_only"},
    }
    run = hashlib.sha256(f"{task} {pe} {seed} {protocols}".encode()).hexdigest()[:12]
    made = {
        "schema": 1, "run_id": run, "sweep": "quick", "profile": "quick", "protocols": list(protocols), "task": task,
        "pe": pe, "train_encoding": pe, "test_encoding": pe, "seed": seed,
        "status": "diverged" if ood is None else "finished", "split": "test", "accuracy_mode": "teacher_forced",
        "selection": "first_best_id", "checkpoint_epoch": None if ood is None else 4, "length": 256, "train_length": 64,
        "metrics": None if ood is None else {"id_accuracy": 0.875, "ood_accuracy": ood, "loss": 1.25},
        "accuracy_by_position": None,
        "history": [{"epoch": 2 * (i + 1), "step": i, "validation_loss": loss} for i, loss in enumerate(losses)],
        "diverged_at": {"epoch": 2, "step": 3, "reason": "nan"} if ood is None else None,
        "config": config, "git_commit": "0123456789abcdef", "git_dirty": False, "versions": {"posgen": "0.1.0"},
        "device": "cpu: synthetic", "created": "2026-01-01T00:00:00Z", "train_seconds": 1.0,
    }  # fmt: skip
    return {**made, **fields}


def synthetic_sweep(seeds: tuple[int, ...] = (1, 2, 3)) -> list[dict[str, Any]]:
    """All 12 cells under paper and zero_shot: the RoPE rows are one training for both."""
    made = []
    for column, task in enumerate(TASKS):
        for row, pe in enumerate(PES):
            for seed in seeds:
                ood = 0.2 + 0.15 * row + 0.05 * column + 0.01 * seed
                losses = tuple(0.5 + 2.2 / (epoch + 1) + 0.3 * column - 0.1 * row + 0.03 * seed for epoch in range(8))
                shared = ("paper", "zero_shot") if "rope" in pe else ("paper",)
                made.append(synthetic_record(task, pe, seed, ood, shared, losses))
                if "rope" not in pe:
                    made.append(
                        synthetic_record(task, pe, seed, ood + 0.1, ("zero_shot",), tuple(x - 0.2 for x in losses))
                    )
    return made


@pytest.fixture
def record() -> Callable[..., dict[str, Any]]:
    """Maker of one record."""
    return synthetic_record


@pytest.fixture
def full_sweep() -> Callable[..., list[dict[str, Any]]]:
    """Maker of a whole sweep: 12 cells, two protocols."""
    return synthetic_sweep
