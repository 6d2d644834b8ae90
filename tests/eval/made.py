"""Records for tests, made up: round numbers that no training would give. Tests get their makers as fixtures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from msgspec import structs

from eval.store.kinds import AccuracyRecord, Maker, Metrics, PosGenRecord, Training, Validation
from eval.store.probes import Interventions, InterventionsRecord, LengthsRecord, Windows

TASKS = ("recursive", "cot", "semi_recursive")
PES = ("rope", "resonance_rope", "yarn", "resonance_yarn")
MAKER = Maker(git_commit="0123456789abcdef", git_dirty=False, versions={"posgen": "0.1.0"}, device="cpu: synthetic")

Made = TypeVar("Made", bound=PosGenRecord)


def _shared(task: str, pe: str, seed: int, protocols: tuple[str, ...], nodes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that records of every kind have; `nodes` replace nodes of the training's configuration."""
    config = {
        "task": {"name": task, "rule": task, "modulus": 7, "far": 1, "near": 3, "h": "sum_mod"},
        "data": {"train_length": 64, "test_length": 256, "train_size": 10_000},
        "model": {"layers": 2, "d_model": 64},
        "optim": {"epochs": 6, "batch_size": 64},
        "profile": {"name": "quick", "label": "synthetic numbers_only"},
        **nodes,
    }
    return {
        "run_id": hashlib.sha256(f"{task} {pe} {seed} {protocols}".encode()).hexdigest()[:12],
        "sweep": "quick", "profile": "quick", "created": "2026-01-01T00:00:00Z", "measured_by": MAKER,
        "training": Training(config, (MAKER,)), "protocols": protocols, "task": task, "pe": pe, "train_encoding": pe,
        "test_encoding": pe, "seed": seed, "split": "test", "accuracy_mode": "teacher_forced",
        "selection": "first_best_id", "checkpoint_epoch": 4, "length": 256, "train_length": 64, "train_seconds": 1.0,
        "encoding": {"name": pe},
    }  # fmt: skip


def validations(losses: Sequence[float | None]) -> tuple[Validation, ...]:
    """A history with a validation every other epoch."""
    return tuple(Validation(epoch=2 * (i + 1), step=i, validation_loss=loss) for i, loss in enumerate(losses))


def synthetic_record(
    task: str = "cot",
    pe: str = "rope",
    seed: int = 42,
    ood: float | None = 0.5,
    protocols: tuple[str, ...] = ("paper",),
    losses: tuple[float | None, ...] = (3.0, 2.0, 1.0),
    config: Mapping[str, Any] | None = None,
    **fields: Any,
) -> AccuracyRecord:
    """A whole record; `ood=None` makes it a diverged one. `config` replaces nodes of the training's configuration,
    `fields` those of the record."""
    diverged = ood is None
    made = {
        **_shared(task, pe, seed, protocols, config or {}),
        "status": "diverged" if diverged else "finished",
        "checkpoint_epoch": None if diverged else 4,
        "metrics": None if diverged else Metrics(id_accuracy=0.875, ood_accuracy=ood, loss=1.25),
        "diverged_at": {"epoch": 2, "step": 3, "reason": "nan"} if diverged else None,
        "history": validations(losses),
    }
    return AccuracyRecord(**{**made, **fields})


def synthetic_lengths(
    pe: str,
    seed: int,
    ends: Mapping[int, float],
    fitted_to: int | None,
    protocols: tuple[str, ...] = ("paper",),
    **fields: Any,
) -> LengthsRecord:
    """A measurement by length on CoT: accuracy by the end of its window of 64 tokens."""
    windows = Windows(width=64, ends=tuple(ends), accuracy=tuple(ends.values()), sequences=32, fitted_to=fitted_to)
    made = {
        **_shared("cot", pe, seed, protocols, {}),
        "status": "finished",
        "metrics": Metrics(id_accuracy=0.875, ood_accuracy=0.5, loss=1.25),
        "length": max(ends),
        "test_encoding": f"{pe}~{fitted_to}-{max(ends)}",
        "windows": windows,
    }
    return LengthsRecord(**{**made, **fields})


def synthetic_interventions(
    task: str,
    pe: str,
    seed: int,
    lines: Mapping[int, tuple[int, int, int]],
    exchange: str = "far",
    protocols: tuple[str, ...] = ("paper",),
) -> InterventionsRecord:
    """An exchanged token of 100 sequences: by position of the answer how many of 100 answers are right, and how many of
    these move and stay. Wrong answers stay."""
    start = {"recursive": lambda at: at - 4, "cot": lambda at: 0, "semi_recursive": lambda at: (at - 4) // 2}[task]
    right, moved, stayed = zip(*lines.values(), strict=True)
    done = Interventions(
        exchange=exchange,  # type: ignore[arg-type]
        sequences=100,
        seed=0,
        positions=tuple(lines),
        sources=tuple(start(at) if exchange == "far" else at - 1 for at in lines),
        answers=(100,) * len(lines),
        moved=moved,
        stayed=tuple(100 - known + kept for known, kept in zip(right, stayed, strict=True)),
        right=right,
        right_moved=moved,
        right_stayed=stayed,
    )
    metrics = Metrics(id_accuracy=0.875, ood_accuracy=0.5, loss=None)
    shared = _shared(task, pe, seed, protocols, {})
    return InterventionsRecord(**shared, status="finished", metrics=metrics, interventions=done)


def synthetic_sweep(seeds: tuple[int, ...] = (1, 2, 3)) -> list[AccuracyRecord]:
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


def with_config(record: Made, **nodes: Any) -> Made:
    """The record of a training whose configuration has other nodes."""
    training = Training({**record.training.config, **nodes}, record.training.trained_by)
    return structs.replace(record, training=training)


def with_metrics(record: Made, **numbers: Any) -> Made:
    """The record with other numbers in its metrics."""
    assert record.metrics is not None
    return structs.replace(record, metrics=structs.replace(record.metrics, **numbers))
