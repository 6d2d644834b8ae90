"""From records to the numbers of an experiment: OOD and ID accuracy by cell, task and seed, and what each contrast is
in every seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conf.experiments import DeclaredProfile, Experiment
from conf.hypotheses import Against
from eval.evidence.cells import Cell, Collection, collect
from eval.evidence.experiment.contrasts import Contrast
from eval.evidence.statistics import Difference, paired_t
from eval.evidence.verdict.paired import ood_points
from eval.store.declared import check_declaration
from eval.store.kinds import AccuracyRecord
from posgen.errors import UserError

ALL = "all"
"""The task of a mean over all tasks, taken within each seed."""

Place = tuple[str, str]
"""(cell, task)"""


@dataclass(frozen=True)
class Value:
    """One member's test, in percent. `resolution`: what one token more or less right beyond L changes, in points."""

    ood: float
    id: float | None
    chance: float
    resolution: float


@dataclass(frozen=True)
class Measured:
    """The records of an experiment under one profile. `declared` None: it is none of the declared ones, and `seeds` are
    those that were measured. `values`, `diverged`: by place."""

    experiment: Experiment
    profile: str
    label: str
    seeds: tuple[int, ...]
    declared: DeclaredProfile | None
    values: Mapping[Place, Mapping[int, Value]]
    diverged: Mapping[Place, tuple[int, ...]]
    others: tuple[int, ...]
    """Seeds that were measured and are not declared: no number of theirs counts."""
    collections: Mapping[str, Collection]
    """The records themselves, by cell."""

    @property
    def records(self) -> list[AccuracyRecord]:
        """Every record that counts."""
        return [record for collection in self.collections.values() for record in collection.records()]

    def missing(self) -> dict[Place, tuple[int, ...]]:
        """The seeds without a record, by place; places with all of them are left out."""
        absent = {
            place: tuple(s for s in self.seeds if s not in self.values[place] and s not in self.diverged[place])
            for place in self.values
        }
        return {place: seeds for place, seeds in absent.items() if seeds}


@dataclass(frozen=True)
class Estimate:
    """A contrast on a task: its value in points in each of `seeds`, and their mean with interval and p (None without
    any). `diverged` and `missing`: seeds of which a member that takes part diverged, or has no record. `rounding`: the
    standard deviation of its value by rounding to whole tokens alone, in points."""

    contrast: Contrast
    task: str
    seeds: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    difference: Difference | None = None
    diverged: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    rounding: float = 0.0


def measured(experiment: Experiment, records: Sequence[AccuracyRecord], place: str) -> Measured:
    """The numbers in records of ONE profile, from a `place` that messages name.

    Raises UserError where records belong to another declaration or to none, or where records that would be pooled
    differ in their settings.
    """
    check_declaration(experiment, records, place)
    by_cell: dict[str, list[AccuracyRecord]] = {cell.name: [] for cell in experiment.cells}
    for record in records:
        if record.pe not in by_cell or record.task not in experiment.tasks:
            raise UserError(f"{place}: holds {record.pe} on {record.task}, which {experiment.name} does not declare")
        by_cell[record.pe].append(record)
    # Cell by cell: settings may differ between cells, that is what a factor is, and never within one.
    collections = {
        name: collect(of_cell, accuracy_mode=of_cell[0].accuracy_mode) for name, of_cell in by_cell.items() if of_cell
    }
    profile = records[0].profile
    declared = next((p for p in experiment.profiles if p.recorded == profile), None)
    found = sorted({record.seed for record in records})
    seeds = declared.seeds if declared else tuple(found)
    values: dict[Place, dict[int, Value]] = {}
    diverged: dict[Place, tuple[int, ...]] = {}
    for name in by_cell:
        for task in experiment.tasks:
            cell = _cell(collections.get(name), task, name)
            values[name, task] = {r.seed: v for r in cell.finished if r.seed in seeds and (v := _value(r))}
            diverged[name, task] = tuple(r.seed for r in cell.diverged if r.seed in seeds)
    others = tuple(seed for seed in found if seed not in seeds)
    label = records[0].training.label
    return Measured(experiment, profile, label, seeds, declared, values, diverged, others, collections)


def _cell(collection: Collection | None, task: str, name: str) -> Cell:
    # A cell has one protocol: that of the experiment, with the switches of its levels.
    return collection.cell(collection.protocols[0], task, name) if collection else Cell()


def _value(record: AccuracyRecord) -> Value | None:
    ood = ood_points(record)
    if ood is None:
        return None
    fraction = record.id_accuracy
    data = record.training.data
    tokens = data.test_size * max(1, record.length - data.train_length)
    percent = None if fraction is None else 100.0 * fraction
    return Value(ood, percent, 100.0 / record.training.task.modulus, 100.0 / tokens)


def estimate(measured: Measured, contrast: Contrast, task: str) -> Estimate:
    """The contrast on a task, or on all of them: then the mean over tasks within each seed. Only seeds count as
    repetitions, since the cells and tasks of one seed share data order and, mostly, initial weights."""
    tasks = measured.experiment.tasks if task == ALL else (task,)
    return over_tasks(measured, contrast, tasks, task)


def over_tasks(measured: Measured, contrast: Contrast, tasks: Sequence[str], name: str) -> Estimate:
    """The mean over some tasks within each seed, called by a `name`."""
    places = [(cell, task) for cell in contrast.weights for task in tasks]
    diverged = {seed for place in places for seed in measured.diverged[place]}
    values, seeds, missing = list[float](), list[int](), list[int]()
    for seed in measured.seeds:
        if seed in diverged:
            continue
        by_task = [_of_seed(measured, contrast, task, seed) for task in tasks]
        known = [value for value in by_task if value is not None]
        if len(known) < len(tasks):
            missing.append(seed)
        else:
            seeds.append(seed)
            values.append(math.fsum(known) / len(known))
    difference = paired_t(values, measured.experiment.rule.confidence)
    ends = tuple(sorted(diverged)), tuple(missing), _rounding(measured, contrast, tasks)
    return Estimate(contrast, name, tuple(seeds), tuple(values), difference, *ends)


def _rounding(measured: Measured, contrast: Contrast, tasks: Sequence[str]) -> float:
    """Of a uniform error, independent between the tests that take part."""
    values = (value for cell in contrast.weights for task in tasks for value in measured.values[cell, task].values())
    widest = max((value.resolution for value in values), default=0.0)
    share = math.fsum(weight**2 for weight in contrast.weights.values()) / len(tasks)
    return widest * math.sqrt(share / 12)


def _of_seed(measured: Measured, contrast: Contrast, task: str, seed: int) -> float | None:
    terms = []
    for cell, weight in contrast.weights.items():
        value = measured.values[cell, task].get(seed)
        if value is None:
            return None
        if contrast.against is Against.id_accuracy and value.id is None:
            return None
        reference = {None: 0.0, Against.chance: value.chance, Against.id_accuracy: value.id}[contrast.against]
        terms.append(weight * (value.ood - (reference or 0.0)))
    return math.fsum(terms)
