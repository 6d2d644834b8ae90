"""The same trainings in two files of records, result by result, and how far apart they end.

Seed and step give every random number of a training, but not its rounding: another device, or another number of members
side by side, sums in another order. What that does to where a training ends is measured here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from conf import names
from eval.evidence.statistics import Difference, paired_t
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError

Place = tuple[str, str, tuple[str, ...]]
"""(task, encoding, protocols)."""


@dataclass(frozen=True)
class Pair:
    """Two results of one training; both have numbers."""

    first: AccuracyRecord
    again: AccuracyRecord

    @property
    def points(self) -> tuple[float, float]:
        """OOD accuracies in %."""
        return 100 * (self.first.ood_accuracy or 0.0), 100 * (self.again.ood_accuracy or 0.0)


@dataclass(frozen=True)
class Pairs:
    """All pairs of two collections of records. `alone` counts the results of either that have no partner."""

    pairs: tuple[Pair, ...]
    alone: tuple[int, int]

    @cached_property
    def cells(self) -> dict[Place, np.ndarray]:
        """OOD accuracies in %, [seeds, 2], by task, encoding and the protocols of the first result, in order."""
        points: dict[Place, list[tuple[float, float]]] = defaultdict(list)
        for pair in self.pairs:
            points[pair.first.task, pair.first.pe, pair.first.protocols].append(pair.points)

        def order(place: Place) -> Any:
            return names.place_order(*place[:2]), [names.protocol_order(name) for name in place[2]]

        return {place: np.array(points[place]) for place in sorted(points, key=order)}


@dataclass(frozen=True)
class Spread:
    """How far the pairs of one task are apart, in points of OOD accuracy.

    `repeated`: standard deviation of one result, the root mean square of the differences over the root of 2. `seeds`:
    standard deviation over seeds within an encoding, pooled over encodings and both results. `correlation`: of the two
    results of a seed, less the means of their encoding: 1 where the seed decides all, 0 where it decides nothing; nan
    without any spread. `largest`: the largest difference of a pair.
    """

    pairs: int
    repeated: float
    seeds: float
    correlation: float
    largest: float


def paired(first: Iterable[AccuracyRecord], again: Iterable[AccuracyRecord]) -> Pairs:
    """What both have: the same profile, task, encoding in training and test, seed and measurement. Where several of the
    first would fit (rows of the ledger), the one that shares a protocol.

    Raises UserError when nothing is in both, when a task is a text (it has losses, no accuracy), or when the settings
    of a pair differ although their profiles have one name.
    """
    known: dict[Hashable, list[AccuracyRecord]] = defaultdict(list)
    earlier, later = _measured(first), _measured(again)
    for record in earlier:
        known[_place(record)].append(record)
    pairs, used = [], set()
    for record in later:
        fitting = known[_place(record)]
        if len(fitting) > 1:
            fitting = [other for other in fitting if set(other.protocols) & set(record.protocols)]
        if len(fitting) == 1:
            _same_settings(fitting[0], record)
            pairs.append(Pair(fitting[0], record))
            used.add(id(fitting[0]))
    if not pairs:
        raise UserError(
            "no training is in both files of records: a pair has one profile, task, encoding, seed and length in common"
        )
    return Pairs(tuple(pairs), (len(earlier) - len(used), len(later) - len(pairs)))


def spread(cells: Sequence[np.ndarray]) -> Spread:
    """Of the cells of one task, each [seeds, 2] OOD accuracies in %."""
    apart = np.concatenate([cell[:, 0] - cell[:, 1] for cell in cells])
    around = np.concatenate([cell - cell.mean(axis=0) for cell in cells])
    several = [cell for cell in cells if len(cell) > 1]
    return Spread(
        pairs=len(apart),
        repeated=math.sqrt((apart**2).mean() / 2),
        seeds=math.sqrt(np.mean([cell.var(axis=0, ddof=1) for cell in several])) if several else math.nan,
        correlation=float(np.corrcoef(around.T)[0, 1]) if (around.std(axis=0) > 0).all() else math.nan,
        largest=float(np.abs(apart).max()),
    )


def difference(cell: np.ndarray) -> Difference:
    """The second result minus the first, points, paired by seed."""
    tested = paired_t([float(again - first) for first, again in cell])
    assert tested is not None, "a cell has at least one seed"
    return tested


def _measured(records: Iterable[AccuracyRecord]) -> list[AccuracyRecord]:
    """Those with an accuracy on the test split."""
    every = list(records)
    if any(record.of_text for record in every):
        raise UserError("the records are of a text, which is measured by its losses: `posgen table1` shows them")
    return [record for record in every if record.split == "test" and record.ood_accuracy is not None]


def _place(record: AccuracyRecord) -> Hashable:
    r = record
    return (r.profile, r.task, r.pe, r.train_encoding, r.test_encoding, r.seed, r.accuracy_mode, r.length, r.status)


def _same_settings(first: AccuracyRecord, again: AccuracyRecord) -> None:
    for node in ("task", "data", "model", "optim"):
        specs: list[Any] = [getattr(record.training, node) for record in (first, again)]
        for field in fields(specs[0]):
            values = [getattr(spec, field.name) for spec in specs]
            if values[0] != values[1]:
                raise UserError(
                    f"profile {first.profile}: the two files differ in {node}.{field.name} ({values[0]}, {values[1]}), "
                    "so that their trainings are not the same"
                )
