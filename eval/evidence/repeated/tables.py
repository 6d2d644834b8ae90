"""Repeated trainings as tables: an encoding a row, and a task a row."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from conf import names
from eval.evidence.repeated.pairs import Pairs, difference, spread
from eval.evidence.statistics import holm
from eval.evidence.table import Cell, Column, Document, Table, cells
from eval.evidence.verdict.tables import difference_cell

ALPHA = 0.05

_ENCODINGS = (
    Column("Task", "task"), Column("Encoding", "pe"), Column("Protocol", "protocol"),
    Column("Seeds", "seeds", number=True), Column("First", "first_percent", number=True, decimals=2),
    Column("Again", "again_percent", number=True, decimals=2),
    Column("Again - first", "difference_points", number=True, decimals=2, signed=True),
    Column("p Holm", "p_holm", number=True, decimals=3),
)  # fmt: skip
_TASKS = (
    Column("Task", "task"), Column("Pairs", "pairs", number=True),
    Column("Repeated", "repeated_std_points", number=True, decimals=2),
    Column("Seeds", "seeds_std_points", number=True, decimals=2),
    Column("Correlation", "correlation", number=True, decimals=2),
    Column("Largest difference", "largest_points", number=True, decimals=1),
)  # fmt: skip


def document(pairs: Pairs) -> Document:
    """Both tables for readers."""
    return [by_encoding(pairs), by_task(pairs)]


def by_encoding(pairs: Pairs) -> Table:
    """Mean OOD accuracy in the first place and again, and the difference over seeds with its interval."""
    measured = pairs.cells
    tested = [difference(cell) for cell in measured.values()]
    adjusted = holm([d.p for d in tested])
    rows = []
    for ((task, pe, protocols), cell), d, p in zip(measured.items(), tested, adjusted, strict=True):
        means = (Cell(float(mean), _with_spread(cell[:, k])) for k, mean in enumerate(cell.mean(axis=0)))
        place = (names.task(task), names.encoding(pe), ", ".join(protocols))
        rows.append(cells(*place, len(cell), *means, difference_cell(d, 2), p))
    apart = sum(p is not None and p < ALPHA for p in adjusted)
    profile = pairs.pairs[0].first.profile
    notes = (
        f"Of {len(rows)} differences {apart} are decided (t test paired by seed, Holm-corrected, {100 * ALPHA:g} %).",
        f"Results without a partner: {pairs.alone[0]} of the first file, {pairs.alone[1]} of the second.",
        f"First: {_devices(pairs, 0)}. Again: {_devices(pairs, 1)}.",
    )
    caption = f"OOD accuracy in %, mean ± standard deviation over seeds; differences in points. Profile {profile}."
    return Table(_ENCODINGS, tuple(rows), "The same trainings in two places", caption, notes)


def by_task(pairs: Pairs) -> Table:
    """How far pairs are apart, beside how far seeds are."""
    tasks: dict[str, list[np.ndarray]] = defaultdict(list)
    for (task, _, _), cell in pairs.cells.items():
        tasks[task].append(cell)
    rows = []
    for task, measured in tasks.items():
        found = spread(measured)
        rows.append(cells(names.task(task), found.pairs, found.repeated, found.seeds, found.correlation, found.largest))
    notes = (
        "Repeated: standard deviation of one result, from the differences between the two. Seeds: standard deviation "
        "over seeds within an encoding.",
        "Correlation of a seed's two results, less the mean of their encoding: 1 where the seed decides all, 0 where "
        "it decides nothing.",
    )
    return Table(_TASKS, tuple(rows), "How far apart they end", "Points of OOD accuracy.", notes)


def _with_spread(values: np.ndarray) -> str:
    return f"{values.mean():.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


def _devices(pairs: Pairs, which: int) -> str:
    """Where the first results were trained (0), or those made again (1)."""
    records = ((pair.first, pair.again)[which] for pair in pairs.pairs)
    return "; ".join(sorted({record.training.trained_by[-1].device for record in records}))
