"""What a row of the ledger does on the whole: its effects averaged over cells, seed by seed, with the same interval.

Encodings of one seed share data order and, mostly, initial weights, so cells are no independent witnesses: the mean is
taken within each seed first, and only seeds count as repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from eval.ledger.effects import Effect, Effects, Kind, with_differences

MEAN, ALL = "mean", "all"
"""What stands for the encoding, and for the task where the mean goes over them too."""


def pooled(effects: Effects, base: str) -> list[Effect]:
    """For each variant of a base its mean effect on every task and on all of them (task `all`), over the cells that it
    acts on and that were measured. The base's own percentage is told where all these cells have the same seeds."""
    found: list[Effect] = []
    for _, own in groupby(effects.of(base), key=lambda one: one.variant):
        cells = list(own)
        tasks = (*dict.fromkeys(one.task for one in cells), ALL)
        found += [_mean([c for c in cells if task in (c.task, ALL)], task, effects.confidence) for task in tasks]
    return found


def _mean(cells: Sequence[Effect], task: str, confidence: float) -> Effect:
    variant, measured = cells[0].variant, [one for one in cells if one.kind is Kind.measured]
    diverged = tuple(sorted({seed for one in cells for seed in one.diverged}))
    seeds = sorted(set.intersection(*(set(one.seeds) for one in measured))) if measured else []
    if not seeds:
        kinds = {one.kind for one in cells}
        kind = next((k for k in (Kind.missing, Kind.diverged) if k in kinds), Kind.missing if measured else Kind.none)
        return Effect(variant, task, MEAN, kind, diverged=diverged)
    by_seed = [dict(zip(one.seeds, one.differences, strict=True)) for one in measured]
    means = [math.fsum(points[seed] for points in by_seed) / len(by_seed) for seed in seeds]
    where = Effect(variant, task, MEAN, Kind.measured, tuple(seeds), diverged, base_percent=_base(measured))
    return with_differences(where, means, confidence)


def _base(measured: Sequence[Effect]) -> float | None:
    percents = [one.base_percent for one in measured if one.base_percent is not None]
    alike = len({one.seeds for one in measured}) == 1 and len(percents) == len(measured)
    return math.fsum(percents) / len(percents) if alike else None
