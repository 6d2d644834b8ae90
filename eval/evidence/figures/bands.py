"""The seeds of a cell along an axis of whole numbers (epochs, positions): their mean, their lowest and highest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from eval.evidence.cells import Cell
from eval.evidence.table import Column, Table, Value, cells
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


def series_of(place: tuple[str, str, str], by_seed: Mapping[int, Mapping[int, float]], diverged: int = 0) -> Series:
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
    return series_of(place, {record.seed: numbers(record) for record in cell.finished}, len(cell.diverged))


def seeds_text(series: Iterable[Series]) -> str:
    """`3 seeds`, or `2 to 3 seeds` when cells differ."""
    counts = sorted({len(curve.seeds) for curve in series if curve.at})
    if not counts:
        return "no seeds"
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{number} seed{'' if number == '1' else 's'}"


def numbers(
    keys: Sequence[str],
    lines: Iterable[tuple[Sequence[Value], Series]],
    values: Sequence[str] = ("mean", "lowest", "highest"),
) -> Table:
    """A row a point: protocol, task, pe, then what `keys` names, then `values` and the numbers of seeds.

    `lines` pairs each series with its values for all of `keys` but the last, which is the point itself.
    """
    head = ("protocol", "task", "pe", *keys, *values, "n", "n_diverged")
    rows = [
        cells(s.protocol, s.task, s.pe, *labels, point, mean, low, high, len(s.seeds), s.diverged)
        for labels, s in lines
        for point, mean, low, high in zip(s.at, s.mean, s.low, s.high, strict=True)
    ]
    return Table(tuple(map(Column, head)), tuple(rows))
