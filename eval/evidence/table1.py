"""Table 1 of the paper from records alone: published and measured OOD accuracy side by side.

Per cell: the mean over seeds in percent; the sample standard deviation (n - 1) in percentage points; the same spread in
the unit that the paper most likely prints after its ± (variance of fractions x 100); n; the difference to the published
mean in points; and the ID accuracy, without which an OOD accuracy misleads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from conf import names
from conf.published import Published, variance_from_std
from eval.evidence.cells import Cell, Collection


@dataclass(frozen=True)
class Measured:
    """One cell under one protocol. Percent and percentage points; None where there is no number."""

    seeds: tuple[int, ...]
    diverged_seeds: tuple[int, ...]
    ood_percent: float | None
    ood_std_points: float | None
    id_percent: float | None
    id_std_points: float | None
    difference_points: float | None
    best: bool = False

    @property
    def variance(self) -> float | None:
        """The spread in the paper's unit."""
        return None if self.ood_std_points is None else variance_from_std(self.ood_std_points)

    @property
    def n_text(self) -> str:
        """`3`, or `2/3` when one of three seeds diverged."""
        attempts = len(self.seeds) + len(self.diverged_seeds)
        return f"{len(self.seeds)}/{attempts}" if self.diverged_seeds else str(attempts)


@dataclass(frozen=True)
class Row:
    """One task and encoding: what the paper printed (None outside its table) and what each protocol measured."""

    task: str
    pe: str
    published: Published | None
    published_best: bool
    measured: Mapping[str, Measured]


@dataclass(frozen=True)
class Table1:
    """The whole table as numbers; eval.evidence.table1_tables lays it out."""

    collection: Collection
    rows: tuple[Row, ...]

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols shown, in their order."""
        return self.collection.protocols


def build(collection: Collection, published: Mapping[tuple[str, str], Published]) -> Table1:
    """The table of a collection. Every published cell has a row; encodings beyond the paper's follow below."""
    places = collection.rows(list(published))
    printed = {place: cell.ood_percent for place, cell in published.items()}
    measured: dict[tuple[str, str], dict[str, Measured]] = {place: {} for place in places}
    for protocol in collection.protocols:
        cells = {place: _measure(collection.cell(protocol, *place), published.get(place)) for place in places}
        best = _best({place: cell.ood_percent for place, cell in cells.items()})
        for place, cell in cells.items():
            measured[place][protocol] = Measured(**{**vars(cell), "best": place in best})
    published_best = _best(printed)
    rows = tuple(Row(*p, published.get(p), p in published_best, measured[p]) for p in places)
    return Table1(collection, rows)


def _measure(cell: Cell, published: Published | None) -> Measured:
    ood, ood_std = _summary(record.ood_accuracy for record in cell.finished)
    within, id_std = _summary(record.id_accuracy for record in cell.finished)
    return Measured(
        seeds=tuple(record.seed for record in cell.finished),
        diverged_seeds=tuple(record.seed for record in cell.diverged),
        ood_percent=ood,
        ood_std_points=ood_std,
        id_percent=within,
        id_std_points=id_std,
        difference_points=None if ood is None or published is None else ood - published.ood_percent,
    )


def _summary(fractions: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Fractions -> mean in percent and sample standard deviation in points; None where it is not defined."""
    values = [100.0 * value for value in fractions if value is not None]
    if not values:
        return None, None
    mean = math.fsum(values) / len(values)  # fsum: the order of the records changes no digit
    if len(values) == 1:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _best(percents: Mapping[tuple[str, str], float | None]) -> set[tuple[str, str]]:
    """The better of each pair (plain, Resonance), with two decimals: both when they tie, none when one is missing."""
    best = set()
    for (task, pe), percent in percents.items():
        counterpart = percents.get((task, names.counterpart(pe)))
        if percent is not None and counterpart is not None and round(percent, 2) >= round(counterpart, 2):
            best.add((task, pe))
    return best


def name(row: Row) -> str:
    """`CoT YaRN`."""
    return f"{names.task(row.task)} {names.encoding(row.pe)}"


def provenance(collection: Collection) -> str:
    """Version, commits and devices that the records were made with; several commits are pointed out."""
    versions, commits, code, devices = set(), set(), set(), set()
    for record in collection.records():
        for maker in record.trained_by:
            versions.add(str(maker.versions.get("posgen", "of unknown version")))
            commit = maker.git_commit
            dirty = " with uncommitted changes" if maker.git_dirty else ""
            # A clean commit says it all; what is not committed is told apart by the hash of its source.
            source = f" (source {maker.source})" if maker.source and maker.git_dirty is not False else ""
            commits.add(commit)
            code.add((f"{commit[:12]}{dirty}" if commit else "an unknown commit") + source)
            devices.add(maker.device)
    mixed = "several commits: " if len(commits) > 1 else "several states of one commit: " if len(code) > 1 else ""
    return f"posgen {', '.join(sorted(versions))} at {mixed}{', '.join(sorted(code))}, on {'; '.join(sorted(devices))}"
