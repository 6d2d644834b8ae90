"""Which share of a model's answers moves, stays or becomes another wrong one when a token that they depend on is
exchanged, from records that `posgen interventions --measure` made.

Within the training length and beyond it apart, and among the answers that were right before as well as among all. A
seed's share pools its tested positions; a cell's is the mean over seeds that have such answers. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from conf import names
from eval.evidence.cells import Collection
from eval.evidence.figures.bands import Series, series_of
from eval.evidence.probed import as_cells
from eval.store.probes import Interventions, InterventionsRecord
from posgen import rules
from posgen.answers import scored_positions
from posgen.errors import BadValue, UserError, nearest
from posgen.spec import Task

SIDES = ("id", "ood")
AMONG = ("right", "all")
LEAST = 10
"""Answers right before that a position needs for a share of its own, of each seed."""


@dataclass(frozen=True)
class Shares:
    """Of `answers` in all seeds, what share moved as the rule says, stayed, or became another wrong one: means over the
    `seeds` that have any, fractions; `lowest` and `highest` of a seed's that moved. None where no seed has any."""

    answers: int
    seeds: int
    moved: float | None
    stayed: float | None
    other: float | None
    lowest: float | None
    highest: float | None


@dataclass(frozen=True)
class Row:
    """One cell: shares by (side of the training length, among which answers), and what moved among the answers right
    before, by the position of the answer. `distances`: from an answer's position to its exchanged token, in tokens."""

    protocol: str
    task: str
    pe: str
    seeds: tuple[int, ...]
    shares: Mapping[tuple[str, str], Shares]
    moved: Series
    distances: Mapping[int, int]
    records: tuple[InterventionsRecord, ...]


@dataclass(frozen=True)
class Measured:
    """All rows of one profile, and what they share. `collection` has the records behind the rows; `phases`: how many
    neighbouring answers are different problems, by task."""

    collection: Collection
    exchange: str
    sequences: int
    train_length: int
    phases: Mapping[str, int]
    rows: tuple[Row, ...]

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols that have rows."""
        return tuple(dict.fromkeys(row.protocol for row in self.rows))


def build(
    records: Sequence[InterventionsRecord], exchange: str = "far", protocols: Sequence[str] | None = None
) -> Measured:
    """The rows of the records of ONE profile in which this token was exchanged, of all protocols or some.

    Raises UserError when there are none, or when they were measured in different ways, and BadValue for a protocol
    without records.
    """
    chosen = [record for record in records if record.interventions.exchange == exchange]
    if not chosen:
        raise UserError(
            f"no record in which the {exchange} token was exchanged; make them with `posgen interventions --measure "
            f"--exchange {exchange}`"
        )
    ways = {(r.interventions.sequences, r.interventions.seed, r.train_length) for r in chosen}
    positions = {(r.task, r.interventions.positions) for r in chosen}
    if len(ways) > 1 or len(positions) > len({task for task, _ in positions}):
        raise UserError(
            "these records were measured with different positions, sequences, seeds or training lengths; measure them "
            "again with `posgen interventions --measure` and one setting"
        )
    known = sorted({name for record in chosen for name in record.protocols}, key=names.protocol_order)
    for name in protocols or ():
        if name not in known:
            raise BadValue("protocol", name, f"no record of it; {nearest(name, known)}")
    ((sequences, _, train_length),) = ways
    rows = tuple(_rows(chosen, protocols))
    return Measured(
        collection=as_cells(chosen, dict.fromkeys(row.protocol for row in rows)),
        exchange=exchange,
        sequences=sequences,
        train_length=train_length,
        phases={record.task: rules.rule(record.training.task.rule).period for record in chosen},
        rows=rows,
    )


def phase(task: Task, period: int, position: int) -> int:
    """Which of the `period` different problems the answer at this position is: 0 for the first answer."""
    scored = scored_positions(task, position + 1)
    return scored.index(position) % period


def _rows(records: Sequence[InterventionsRecord], protocols: Sequence[str] | None) -> Iterator[Row]:
    cells: dict[tuple[str, str, str], dict[int, InterventionsRecord]] = {}
    for record in sorted(records, key=lambda record: record.created):
        for protocol in record.protocols:
            if not protocols or protocol in protocols:
                cells.setdefault((protocol, record.task, record.pe), {})[record.seed] = record
    for place in sorted(cells, key=lambda place: (names.protocol_order(place[0]), names.place_order(*place[1:]))):
        by_seed = cells[place]
        members = tuple(by_seed[seed] for seed in sorted(by_seed))
        first = members[0].interventions
        yield Row(
            *place,
            seeds=tuple(sorted(by_seed)),
            shares={(side, among): _shares(members, side, among) for side in SIDES for among in AMONG},
            moved=series_of(place, {seed: _by_position(record.interventions) for seed, record in by_seed.items()}),
            distances={at: at - source for at, source in zip(first.positions, first.sources, strict=True)},
            records=members,
        )


def _shares(members: Sequence[InterventionsRecord], side: str, among: str) -> Shares:
    counted = [_pooled(record, side, among) for record in members]
    known = [(total, moved / total, stayed / total) for total, moved, stayed in counted if total]
    if not known:
        return Shares(0, 0, None, None, None, None, None)
    moved, stayed = (math.fsum(seed[part] for seed in known) / len(known) for part in (1, 2))
    each = [seed[1] for seed in known]
    other = max(0.0, 1.0 - moved - stayed)
    return Shares(sum(seed[0] for seed in known), len(known), moved, stayed, other, min(each), max(each))


def _pooled(record: InterventionsRecord, side: str, among: str) -> tuple[int, int, int]:
    """(answers, moved, stayed) of one seed, over its positions on one side of the training length."""

    def inside(position: int) -> bool:
        return (position < record.train_length) == (side == "id")

    return _sums(record.interventions, among, inside)


def _sums(done: Interventions, among: str, inside: Callable[[int], bool]) -> tuple[int, int, int]:
    columns = (
        (done.right, done.right_moved, done.right_stayed)
        if among == "right"
        else (done.answers, done.moved, done.stayed)
    )
    lines = [line for at, *line in zip(done.positions, *columns, strict=True) if inside(at)]
    totals = [sum(line[part] for line in lines) for part in range(3)]
    return totals[0], totals[1], totals[2]


def _by_position(done: Interventions) -> dict[int, float]:
    """Share that moved among the answers right before, at every position that has enough of them."""
    counted = zip(done.positions, done.right, done.right_moved, strict=True)
    return {at: moved / right for at, right, moved in counted if right >= LEAST}
