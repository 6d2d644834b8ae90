"""The league: every encoding of the suite on every task, ranked by the mean of its OOD accuracies, from records alone.

An encoding has a rank only when all tasks were measured for it. Differences to the first are tested over seeds (paired
t, Holm's correction, eval.evidence.statistics).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from conf import names
from conf.league import FAMILIES, LeagueRules, family, league_rules
from eval.evidence.cells import Cell, Collection
from eval.evidence.league.ceilings import Ceiling, ceiling
from eval.evidence.league.predictions import Prediction, judged, learned, predicted
from eval.evidence.statistics import Difference, Summary, holm, paired_t, summary
from posgen.errors import nearest, require

ALPHA = 0.05
"""Two-sided error rate of the comparisons with the first, all of them together."""


@dataclass(frozen=True)
class Place:
    """One encoding on one task: what its finished seeds reached, fractions by seed, and who diverged. `epochs`: of
    their trainings; `learned`: whether their mean ID accuracy reaches its declared share of the task's ceiling."""

    id_accuracy: Mapping[int, float]
    ood_accuracy: Mapping[int, float]
    diverged: tuple[int, ...]
    epochs: int | None = None
    learned: bool = False
    prediction: Prediction | None = None

    @property
    def id(self) -> Summary | None:
        """Of the ID accuracies, in percent."""
        return _percent(self.id_accuracy)

    @property
    def ood(self) -> Summary | None:
        """Of the OOD accuracies, in percent."""
        return _percent(self.ood_accuracy)

    @property
    def n_text(self) -> str:
        """`3`, or `2/3` when one of three seeds diverged."""
        finished, attempts = len(self.ood_accuracy), len(self.ood_accuracy) + len(self.diverged)
        return f"{finished}/{attempts}" if self.diverged else str(attempts)


@dataclass(frozen=True)
class Entry:
    """One encoding in one protocol's league. `mean` is that of its tasks' mean OOD accuracies in percent, None when a
    task is missing, and then there is no `rank` (1 is the highest mean). `p`: of the difference to the first over seeds
    that both have on all tasks, adjusted; None where no test is possible."""

    pe: str
    places: Mapping[str, Place]
    mean: float | None
    rank: int | None
    p: float | None = None


@dataclass(frozen=True)
class League:
    """The leagues of all protocols of a collection whose tasks are of one family; entries by rank, those without one
    last. `ceilings` by task. `equal_id`: slow learners were trained for more epochs, and what never learned a task has
    no rank."""

    collection: Collection
    tasks: tuple[str, ...]
    entries: Mapping[str, tuple[Entry, ...]]
    rules: LeagueRules
    ceilings: Mapping[str, Ceiling]
    family: str
    equal_id: bool = False

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols shown, in their order."""
        return tuple(self.entries)


def by_family(collection: Collection) -> dict[str, Collection]:
    """The cells of every family of tasks apart, in the order of conf.league.FAMILIES."""
    of_task = {record.task: family(record.training.task) for record in collection.records()}
    parts: dict[str, Collection] = {}
    for name in FAMILIES:
        cells = {place: cell for place, cell in collection.cells.items() if of_task[place[1]] == name}
        protocols = tuple(p for p in collection.protocols if any(place[0] == p for place in cells))
        if cells:
            parts[name] = replace(collection, protocols=protocols, cells=cells)
    return parts


def of_tasks(collection: Collection, tasks: Sequence[str] | None) -> Collection:
    """The cells of some tasks; None: of all. BadValue for one without records."""
    measured = dict.fromkeys(task for _, task, _ in collection.cells)
    for task in tasks or ():
        require(task in measured, "task", task, f"no record of it; {nearest(task, measured)}")
    kept = {place: cell for place, cell in collection.cells.items() if place[1] in (tasks or measured)}
    return replace(collection, cells=kept)


Measured = tuple[int, Collection]
"""Trainings of so many epochs, and their cells."""


def build(collection: Collection, further: Sequence[Measured] = (), rules: LeagueRules | None = None) -> League:
    """The league of every protocol of a collection, whose tasks are of one family.

    `further`: trainings of more epochs, rising. With any, a place is that of the fewest epochs with which the
    encoding learned the task, or of the most where it never did: the equal-ID league. `rules`: those declared.
    """
    rules = rules or league_rules()
    tasks = sorted({task for _, task, _ in collection.cells}, key=lambda task: names.place_order(task, ""))
    first = {record.task: record for record in collection.records()}
    ceilings = {task: ceiling(first[task].training.task, first[task].training.data, rules) for task in tasks}
    return League(
        collection, tuple(tasks),
        {name: _entries(collection, name, tasks, ceilings, further, rules) for name in collection.protocols},
        rules, ceilings, family(first[tasks[0]].training.task), bool(further),
    )  # fmt: skip


@dataclass(frozen=True)
class Resonance:
    """What Resonance changes over a whole league: its encodings minus their counterparts in points of OOD accuracy,
    the mean over pairs and tasks taken within each seed. `ahead` of `places` pairs on a task have the higher mean."""

    pairs: int
    ahead: int
    places: int
    difference: Difference


def resonance(entries: Sequence[Entry]) -> Resonance | None:
    """Over the pairs of which both sides have finished seeds on every task; None without one, or with no seed that all
    of them share."""
    ranked = {entry.pe: entry for entry in entries if entry.rank is not None}
    pairs = [
        (entry, ranked[plain])
        for pe, entry in ranked.items()
        if (plain := names.counterpart(pe)) in ranked and pe.startswith(names.RESONANCE)
    ]
    if not pairs:
        return None
    by_seed = [(_by_seed(with_it.places), _by_seed(without.places)) for with_it, without in pairs]
    seeds = sorted(set.intersection(*(with_it.keys() & without.keys() for with_it, without in by_seed)))
    gains = [100 * math.fsum(with_it[s] - without[s] for with_it, without in by_seed) / len(pairs) for s in seeds]
    difference = paired_t(gains)
    means = [(with_it.places[t].ood, without.places[t].ood) for with_it, without in pairs for t in with_it.places]
    ahead = sum(with_it.mean > without.mean for with_it, without in means if with_it and without)
    return Resonance(len(pairs), ahead, len(means), difference) if difference else None


def _entries(
    collection: Collection, protocol: str, tasks: list[str], ceilings: Mapping[str, Ceiling],
    further: Sequence[Measured], rules: LeagueRules,
) -> tuple[Entry, ...]:  # fmt: skip
    pes = {pe for name, _, pe in collection.cells if name == protocol}

    def place(task: str, pe: str) -> Place:
        """Of the fewest epochs with which it is learned, else of the most."""
        cells = [part.cell(protocol, task, pe) for part in (collection, *(more for _, more in further))]
        measured = [_place(cell, ceilings[task], rules) for cell in cells if cell.finished or cell.diverged]
        return next((each for each in measured if each.learned), (measured or [Place({}, {}, ())])[-1])

    places = {
        pe: {task: place(task, pe) for task in tasks} for pe in sorted(pes, key=lambda pe: names.place_order("", pe))
    }
    ranks = [pe for pe in places if not further or all(each.learned for each in places[pe].values())]
    means = {pe: mean for pe in ranks if (mean := _mean(places[pe])) is not None}
    ranked = sorted(means, key=lambda pe: -means[pe])
    p_values = _compared(ranked, places)
    entries = [
        Entry(pe, places[pe], means[pe], 1 + sum(mean > means[pe] for mean in means.values()), p_values[pe])
        for pe in ranked
    ]
    return (*entries, *(Entry(pe, places[pe], None, None) for pe in places if pe not in means))


def _compared(ranked: list[str], places: Mapping[str, Mapping[str, Place]]) -> dict[str, float | None]:
    """Encoding -> adjusted p of its difference to the first; None for the first itself."""
    by_seed = {pe: _by_seed(places[pe]) for pe in ranked}
    p_values: list[float | None] = []
    for pe in ranked[1:]:
        first, other = by_seed[ranked[0]], by_seed[pe]
        difference = paired_t([first[seed] - other[seed] for seed in sorted(first.keys() & other.keys())])
        p_values.append(difference.p if difference else None)
    return {**dict.fromkeys(ranked), **dict(zip(ranked[1:], holm(p_values), strict=True))}


def _by_seed(places: Mapping[str, Place]) -> dict[int, float]:
    """Seed -> mean OOD accuracy of the tasks, of the seeds that finished on all of them."""
    shared = set.intersection(*(set(place.ood_accuracy) for place in places.values()))
    return {seed: math.fsum(p.ood_accuracy[seed] for p in places.values()) / len(places) for seed in shared}


def _place(cell: Cell, top: Ceiling, rules: LeagueRules) -> Place:
    within = {r.seed: r.id_accuracy for r in cell.finished if r.id_accuracy is not None}
    beyond = {r.seed: r.ood_accuracy for r in cell.finished if r.ood_accuracy is not None}
    return Place(
        within,
        beyond,
        tuple(record.seed for record in cell.diverged),
        (*cell.finished, *cell.diverged)[0].training.optim.epochs,
        learned(within, top, rules),
        judged(predicted(cell, rules), within, beyond, top, rules),
    )


def _mean(places: Mapping[str, Place]) -> float | None:
    means = [place.ood.mean for place in places.values() if place.ood]
    return math.fsum(means) / len(means) if len(means) == len(places) else None


def _percent(fractions: Mapping[int, float]) -> Summary | None:
    return summary([100 * value for value in fractions.values()]) if fractions else None
