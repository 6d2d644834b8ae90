"""Losses of every encoding on a text, from records alone, and Resonance against its plain form seed by seed.

A loss is in nats a byte. ID: predicted positions below the training length, OOD: those from it on, both in the same
test sequences. What an encoding costs at positions that it was not trained on is OOD - ID, taken within each seed.
Nothing of this was published: the paper's Figure 4 fine-tunes a 7B model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from conf import names
from conf.rules import VerdictRules
from eval.evidence.cells import Cell, Collection
from eval.evidence.statistics import Summary, summary
from eval.evidence.verdict.judge import PairVerdict, pair_verdicts
from eval.evidence.verdict.paired import Place
from eval.store.kinds import AccuracyRecord

BITS = 1.0 / math.log(2.0)
"""Bits in a nat: a loss in nats a byte times this is in bits a byte."""


@dataclass(frozen=True)
class Losses:
    """One encoding under one protocol, over its finished seeds, in nats a byte; None without any. `end`: of the last
    positions, as many as the training length. `best`: the lower OOD loss of its pair, to three decimals."""

    seeds: tuple[int, ...]
    diverged: tuple[int, ...]
    id: Summary | None
    ood: Summary | None
    gap: Summary | None
    end: Summary | None
    best: bool = False

    @property
    def n_text(self) -> str:
        """`3`, or `2/3` when one of three seeds diverged."""
        attempts = len(self.seeds) + len(self.diverged)
        return f"{len(self.seeds)}/{attempts}" if self.diverged else str(attempts)


@dataclass(frozen=True)
class LossTable:
    """(task, pe) -> protocol -> losses, in the order of the tables, and the verdicts on the pairs."""

    collection: Collection
    rows: Mapping[Place, Mapping[str, Losses]]
    pairs: tuple[PairVerdict, ...]
    rules: VerdictRules


def build(collection: Collection, rules: VerdictRules) -> LossTable:
    """The table and the verdicts of a collection whose tasks are texts."""
    places = collection.rows(())
    cells = {
        (protocol, place): _losses(collection.cell(protocol, *place))
        for protocol in collection.protocols
        for place in places
    }
    rows = {
        place: {
            protocol: replace(cells[protocol, place], best=_is_best(cells, protocol, place))
            for protocol in collection.protocols
        }
        for place in places
    }
    pairs = tuple(pair for protocol in collection.protocols for pair in judged(collection, protocol, rules))
    return LossTable(collection, rows, pairs, rules)


def judged(collection: Collection, protocol: str, rules: VerdictRules) -> list[PairVerdict]:
    """A verdict for every Resonance form that was measured beside its plain form, by OOD loss in nats."""
    measured = {(task, pe) for name, task, pe in collection.cells if name == protocol}
    places = [
        (task, pe)
        for task, pe in collection.rows(())
        if pe.startswith(names.RESONANCE) and {(task, pe), (task, names.counterpart(pe))} <= measured
    ]
    return pair_verdicts(collection, protocol, places, _ood, rules, rules.effect_nats, lower_is_better=True)


def by_position(record: AccuracyRecord) -> dict[int, float]:
    """Loss by the first position of its bin; bins without a number are left out."""
    losses = record.loss_by_position
    return {} if losses is None else {i * losses.width: nats for i, nats in enumerate(losses.nats) if nats is not None}


def at_the_end(record: AccuracyRecord) -> float | None:
    """Mean loss over the last positions, as many as the training length; None where the record has none by position."""
    losses = record.loss_by_position
    if losses is None or record.length % losses.width:
        return None
    last = losses.nats[-record.train_length // losses.width :]
    known = [nats for nats in last if nats is not None]
    return math.fsum(known) / len(last) if len(known) == len(last) else None


def _ood(record: AccuracyRecord) -> float | None:
    return record.ood_loss


def _gap(record: AccuracyRecord) -> float | None:
    return None if record.ood_loss is None or record.id_loss is None else record.ood_loss - record.id_loss


def _losses(cell: Cell) -> Losses:
    def over(value: Callable[[AccuracyRecord], float | None]) -> Summary | None:
        numbers = [number for record in cell.finished if (number := value(record)) is not None]
        return summary(numbers) if numbers else None

    return Losses(
        seeds=tuple(record.seed for record in cell.finished),
        diverged=tuple(record.seed for record in cell.diverged),
        id=over(lambda record: record.id_loss),
        ood=over(_ood),
        gap=over(_gap),
        end=over(at_the_end),
    )


def _is_best(cells: Mapping[tuple[str, Place], Losses], protocol: str, place: Place) -> bool:
    own, other = cells[protocol, place], cells.get((protocol, (place[0], names.counterpart(place[1]))))
    if own.ood is None or other is None or other.ood is None:
        return False
    return round(own.ood.mean, 3) <= round(other.ood.mean, 3)
