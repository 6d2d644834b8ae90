"""What each row of the ledger does, from records alone: how OOD accuracy changes when a switch is set otherwise.

A change is row set minus base in percentage points, the mean over seeds paired between the two (members of one seed
share data order, dropout masks and, where shapes are equal, initial weights), with Student's interval. Where the row
leaves the very training and test as they are, the records hold equal settings: no effect by construction. What a row
does on the whole is the mean over cells taken within each seed first: encodings of one seed share data order and,
mostly, initial weights, so that only seeds count as repetitions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from typing import Any

from conf import names
from conf.ledger import BASES, Ledger, Variant
from eval.evidence.cells import Cell, Collection, collect, whole
from eval.evidence.statistics import mean_interval, summary
from eval.evidence.verdict.paired import ood_points, paired_cells
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError

Place = tuple[str, str]
"""(task, pe)"""


class Kind(Enum):
    """What is known of an effect: a number; that there is none, by construction; that members diverged, so that no seed
    is left; nothing."""

    measured = "measured"
    none = "none"
    diverged = "diverged"
    missing = "missing"


@dataclass(frozen=True)
class Effect:
    """One variant in one cell. Percent and percentage points over the paired `seeds`; None where there is no number.

    `low` and `high` are None for a single seed, and where all seeds changed alike. `differences` are the points of
    `seeds`. `diverged` has the seeds of which the base's or the variant's member diverged.
    """

    variant: Variant
    task: str
    pe: str
    kind: Kind
    seeds: tuple[int, ...] = ()
    diverged: tuple[int, ...] = ()
    base_percent: float | None = None
    points: float | None = None
    low: float | None = None
    high: float | None = None
    differences: tuple[float, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0.0 or self.high < 0.0)


@dataclass(frozen=True)
class Effects:
    """All effects, by base and row of the ledger; `collection` holds the bases' own cells."""

    collection: Collection
    ledger: Ledger
    confidence: float
    bases: tuple[str, ...]
    effects: tuple[Effect, ...]

    def of(self, base: str) -> tuple[Effect, ...]:
        """The effects of one base."""
        return tuple(effect for effect in self.effects if effect.variant.base == base)


def build(records: Sequence[AccuracyRecord], ledger: Ledger, published: Sequence[Place], confidence: float) -> Effects:
    """The effects in the records of ONE profile's ledger sweep (results/<profile>/ledger/records.jsonl).

    Every published cell has an effect of every variant, missing where it was not measured; other encodings have one
    where they were. Raises UserError when no base has a record, and as eval.evidence.cells.collect does.
    """
    measured = {name for record in records for name in record.protocols}
    bases = tuple(base for base in BASES if base in measured)
    if not bases:
        raise UserError("the records hold no cell of preset paper or released; run `posgen sweep --ledger`")
    modes = {mode: collect(records, None, mode) for mode in sorted({str(r.accuracy_mode) for r in records})}
    effects = []
    for base in bases:
        unchanged = modes[_mode(ledger, base, None)]
        for variant in ledger.variants(base):
            changed = modes.get(_mode(ledger, base, variant))
            for task, pe in unchanged.rows(published):
                cell = changed.cell(variant.protocol, task, pe) if changed else Cell()
                if (task, pe) in published or _all(cell):
                    effects.append(_effect(variant, task, pe, unchanged.cell(base, task, pe), cell, confidence))
    collection = collect(records, bases, _mode(ledger, bases[0], None))
    return Effects(collection, ledger, confidence, bases, tuple(effects))


def _mode(ledger: Ledger, base: str, variant: Variant | None) -> str:
    """How the cells of a base or a variant are measured: row 16, which no training depends on."""
    return str(variant.value if variant and variant.key == "accuracy" else ledger.preset(base)["accuracy"])


def _effect(variant: Variant, task: str, pe: str, base: Cell, changed: Cell, confidence: float) -> Effect:
    if not _all(base) or not _all(changed):
        return Effect(variant, task, pe, Kind.missing)
    if _same(base, changed):
        return Effect(variant, task, pe, Kind.none)
    # paired_cells takes first - second.
    pairs = paired_cells(changed, base, ood_points)
    if not pairs.seeds:
        return Effect(variant, task, pe, Kind.diverged if pairs.diverged else Kind.missing, diverged=pairs.diverged)
    before = [p for r in base.finished if r.seed in pairs.seeds and (p := ood_points(r)) is not None]
    where = Effect(variant, task, pe, Kind.measured, pairs.seeds, pairs.diverged, base_percent=summary(before).mean)
    return with_differences(where, pairs.differences, confidence)


def with_differences(effect: Effect, differences: Sequence[float], confidence: float) -> Effect:
    """The effect with the points of its seeds, their mean and its interval."""
    interval = mean_interval(differences, confidence)
    return replace(
        effect,
        points=summary(differences).mean,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        differences=tuple(differences),
    )


def _all(cell: Cell) -> tuple[AccuracyRecord, ...]:
    return (*cell.finished, *cell.diverged)


def _same(base: Cell, changed: Cell) -> bool:
    """Whether the seeds of both cells are, setting by setting, one training and one test."""
    before, after = ({record.seed: _settings(record) for record in _all(cell)} for cell in (base, changed))
    common = set(before) & set(after)
    return bool(common) and all(before[seed] == after[seed] for seed in common)


def _settings(record: AccuracyRecord) -> Mapping[str, Any]:
    """Everything that a number depends on, the seed aside: what eval.running.plan hashes into a run's identity."""
    config = record.config
    nodes = ("task", "data", "model", "optim", "train_encoding", "pe")
    return {
        **{f"config.{name}": whole(name, config[name]) for name in nodes if isinstance(config.get(name), Mapping)},
        **{name: getattr(record, name) for name in ("train_encoding", "selection", "accuracy_mode", "length")},
    }


def title(variant: Variant) -> str:
    """`8 Depth: layers=6`."""
    return f"{variant.row.number} {variant.row.topic}: {variant.setting}"


def columns(effects: Sequence[Effect]) -> list[Place]:
    """The (task, pe) of the effects, in their order."""
    return list(dict.fromkeys((effect.task, effect.pe) for effect in effects))


def cell_name(task: str, pe: str) -> str:
    """`CoT YaRN`."""
    return f"{names.task(task)} {names.encoding(pe)}"


def encoding_groups(effects: Sequence[Effect]) -> list[list[Effect]]:
    """The effects parted by which rows their encoding has: those of every row first, then the others."""
    rows_of: dict[str, list[str]] = {}
    for effect in effects:
        rows_of.setdefault(effect.pe, []).append(effect.variant.protocol)
    groups: dict[tuple[str, ...], list[Effect]] = {}
    for effect in effects:
        groups.setdefault(tuple(dict.fromkeys(rows_of[effect.pe])), []).append(effect)
    return list(groups.values())


MEAN, ALL = "mean", "all"
"""What stands for the encoding, and for the task where the mean goes over them too."""


def pooled(effects: Effects, base: str) -> list[Effect]:
    """For each variant of a base its mean effect on every task and on all of them (task `all`), over the cells that it
    acts on and that were measured. The base's own percentage is there where all these cells have the same seeds."""
    means: list[Effect] = []
    for _, group in groupby(effects.of(base), key=lambda effect: effect.variant):
        cells = list(group)
        tasks = (*dict.fromkeys(cell.task for cell in cells), ALL)
        means += [_mean([c for c in cells if task in (c.task, ALL)], task, effects.confidence) for task in tasks]
    return means


def _mean(cells: Sequence[Effect], task: str, confidence: float) -> Effect:
    variant, measured = cells[0].variant, [cell for cell in cells if cell.kind is Kind.measured]
    diverged = tuple(sorted({seed for cell in cells for seed in cell.diverged}))
    seeds = sorted(set.intersection(*(set(cell.seeds) for cell in measured))) if measured else []
    if not seeds:
        kinds = {cell.kind for cell in cells}
        kind = next((k for k in (Kind.missing, Kind.diverged) if k in kinds), Kind.missing if measured else Kind.none)
        return Effect(variant, task, MEAN, kind, diverged=diverged)
    by_seed = [dict(zip(cell.seeds, cell.differences, strict=True)) for cell in measured]
    means = [math.fsum(points[seed] for points in by_seed) / len(by_seed) for seed in seeds]
    where = Effect(variant, task, MEAN, Kind.measured, tuple(seeds), diverged, base_percent=_base(measured))
    return with_differences(where, means, confidence)


def _base(measured: Sequence[Effect]) -> float | None:
    percents = [cell.base_percent for cell in measured if cell.base_percent is not None]
    alike = len({cell.seeds for cell in measured}) == 1 and len(percents) == len(measured)
    return math.fsum(percents) / len(percents) if alike else None
