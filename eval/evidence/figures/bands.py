"""The seeds of a cell along an axis of whole numbers (epochs, positions): their mean, their lowest and highest."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.evidence.cells import Cell
from eval.store.kinds import AccuracyRecord


@dataclass(frozen=True)
class Series:
    """One cell's numbers at the points `at` that all its finished seeds have. Empty when there is no such point."""

    protocol: str
    task: str
    pe: str
    seeds: tuple[int, ...]
    diverged: int
    at: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def series(place: tuple[str, str, str], by_seed: Mapping[int, Mapping[int, float]], diverged: int = 0) -> Series:
    """The series of a cell at `place` (protocol, task, pe). `by_seed`: seed -> the value at each point that it has."""
    values = [by_seed[seed] for seed in sorted(by_seed)]
    at = sorted(set.intersection(*map(set, values))) if values else []
    columns = [[points[point] for points in values] for point in at]
    return Series(
        *place,
        seeds=tuple(sorted(by_seed)),
        diverged=diverged,
        at=tuple(at),
        mean=tuple(math.fsum(column) / len(column) for column in columns),
        low=tuple(min(column) for column in columns),
        high=tuple(max(column) for column in columns),
    )


def cell_series(
    place: tuple[str, str, str], cell: Cell, numbers: Callable[[AccuracyRecord], Mapping[int, float]]
) -> Series:
    """The series of a cell's finished seeds. `numbers` gives a record's value at each point that it has."""
    return series(place, {record.seed: numbers(record) for record in cell.finished}, len(cell.diverged))


def seeds_text(found: Iterable[Series]) -> str:
    """`3 seeds`, or `2 to 3 seeds` when cells differ."""
    counts = sorted({len(one.seeds) for one in found if one.at})
    if not counts:
        return "no seeds"
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{number} seed{'' if number == '1' else 's'}"


def tidy_csv(head: Sequence[str], lines: Iterable[tuple[Sequence[object], Series]]) -> str:
    """One line a point: protocol, task, pe, then what `head` names, then mean, lowest, highest and the counts of seeds.

    `lines` pairs each series with its values for all of `head` but the last, which is the point itself.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("protocol", "task", "pe", *head, "mean", "lowest", "highest", "n", "n_diverged"))
    for words, one in lines:
        first, last = (one.protocol, one.task, one.pe, *words), (len(one.seeds), one.diverged)
        for point, *values in zip(one.at, one.mean, one.low, one.high, strict=True):
            writer.writerow((*first, point, *(f"{value:.6g}" for value in values), *last))
    return out.getvalue()
