"""The equal-ID league: encodings that have not learned a task train again with twice the epochs, and again, within the
declared bound. Each rung's records lie below the league's, in epochs-<number>/records.jsonl.

A longer training is a training of its own, with its own schedule from the first step: the learning rate of one that is
over has fallen to nothing, and going on from there would be another experiment than training longer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from conf.league import LeagueRules
from eval.evidence.cells import Collection, collect
from eval.evidence.league.predictions import learned
from eval.evidence.league.standings import Measured, build, by_family
from eval.running.plan import plan_places, settings
from eval.running.request import PlannedSweep, SweepRequest, settings_of
from eval.store.kinds import AccuracyRecord
from eval.store.records import load
from posgen.errors import UserError
from posgen.plain import digest

Place = tuple[str, str, str]
"""(task, encoding, protocol)."""
FOLDER, RECORDS, EPOCHS = "epochs-", "records.jsonl", "optim.epochs"


def rungs(epochs: int, rules: LeagueRules) -> list[int]:
    """The epochs of the rungs above a league's own."""
    return [epochs * 2**doubling for doubling in range(1, rules.doublings + 1)]


def rung_records(league: Path, epochs: int) -> Path:
    """Where the records of a rung lie, of the league whose records are at `league`."""
    return league.parent / f"{FOLDER}{epochs}" / RECORDS


def measured(league: Path, epochs: int, protocols: Sequence[str] | None, rules: LeagueRules) -> list[Measured]:
    """The rungs that have records, rising; `protocols` None: all."""
    found: list[Measured] = []
    for count in rungs(epochs, rules):
        path = rung_records(league, count)
        if not path.exists():
            continue
        records = load(path)
        if wrong := {record.training.optim.epochs for record in records} - {count}:
            raise UserError(f"{path}: holds trainings of {min(wrong)} epochs; name another folder, or remove the file")
        collection = collect(records)
        kept = {place: cell for place, cell in collection.cells.items() if place[0] in (protocols or (place[0],))}
        found.append((count, dataclasses.replace(collection, cells=kept)))
    return found


def unlearned(
    collection: Collection, further: Sequence[Measured], asked: Container[Place], rules: LeagueRules
) -> list[Place]:
    """What is asked for and no training of these has learned, to be trained with more epochs.

    An encoding of which every seed diverged is not among it: it says nothing about how long it would take. Neither is
    one that is applied at test time only, to weights that have learned the task with the encoding that they were
    trained with: what its ID accuracy lacks, no training brings.
    """
    places = []
    for part in by_family(collection).values():
        league = build(part, further, rules)
        measured_last = [more for _, more in reversed(further)] + [part]
        own = _own_accuracy([part, *(more for _, more in further)])
        for protocol, entries in league.entries.items():
            for entry in entries:
                for task, place in entry.places.items():
                    if not place.ood_accuracy or place.learned or (task, entry.pe, protocol) not in asked:
                        continue
                    cells = (each.cell(protocol, task, entry.pe) for each in measured_last)
                    last = next(cell for cell in cells if cell.finished)
                    trained = {r.seed: own[key] for r in last.finished if (key := _training(r)) in own}
                    if not learned(trained, league.ceilings[task], rules):
                        places.append((task, entry.pe, protocol))
    return sorted(places)


def _own_accuracy(parts: Iterable[Collection]) -> dict[str, float]:
    """Training -> ID accuracy with the encoding that it was trained with."""
    return {
        _training(record): record.id_accuracy
        for part in parts
        for record in part.records()
        if record.test_encoding == record.train_encoding and record.id_accuracy is not None
    }


def _training(record: AccuracyRecord) -> str:
    """Which training of its league a record is of. Not the run: older ones were one for each test encoding."""
    trained = record.training.config.get("train_encoding", record.train_encoding)
    return digest([record.task, trained, record.seed, record.training.optim.epochs])


def planned_places(sweep: PlannedSweep) -> set[Place]:
    """What a planned league measures."""
    return {
        (member.spec.task.name, target.pe, target.protocol) for member in sweep.members for target in member.targets
    }


def plan_rung(request: SweepRequest, league: PlannedSweep, epochs: int, places: Iterable[Place]) -> PlannedSweep:
    """The trainings of some places of a league with more epochs; what the request overrides else stays. Raises as
    `eval.running.request.plan_sweep` does."""
    overrides = (*(text for text in request.overrides if text.partition("=")[0] != EPOCHS), f"{EPOCHS}={epochs}")
    base = settings(request.profile, overrides, request.seeds)
    typed = {name.rpartition(":")[2]: name for name in request.pes}  # a record has the name of a user's own class alone
    named = [(task, typed.get(pe, pe), protocol) for task, pe, protocol in places]
    members = plan_places(named, request.seeds, request.profile, overrides, base.profile)
    records = rung_records(league.settings.records_path, epochs)
    name = f"{league.settings.sweep}-{FOLDER}{epochs}"
    return PlannedSweep(base, members, settings_of(base, name, base.profile.name, records))
