"""What theory predicts for an encoding on a task, and what the records say of it: held, failed, or undecided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conf.league import GENERALISES, LeagueRules, Rule
from eval.evidence.cells import Cell
from eval.evidence.league.ceilings import Ceiling
from eval.evidence.league.facts import facts_of
from eval.evidence.statistics import mean_interval

HELD, FAILED, UNDECIDED = "held", "failed", "undecided"


@dataclass(frozen=True)
class Prediction:
    """The rule that makes it, and the verdict on it. `learned`: whether mean ID accuracy reaches its share of the
    ceiling; where it does not the verdict is undecided."""

    rule: Rule
    verdict: str
    learned: bool

    @property
    def text(self) -> str:
        """`generalises: held`."""
        return f"{self.rule.predicts}: {self.verdict}" + ("" if self.learned else " (not learned)")


def predicted(cell: Cell, rules: LeagueRules) -> Rule | None:
    """The first rule whose facts all hold; None where there is none, and without a record to read them from."""
    records = (*cell.finished, *cell.diverged)
    facts = facts_of(records[0], rules.gap) if records else None
    return None if facts is None else next((rule for rule in rules.rules if facts.issuperset(rule.when)), None)


def judged(
    rule: Rule | None, id_accuracy: Mapping[int, float], ood_accuracy: Mapping[int, float], top: Ceiling,
    rules: LeagueRules,
) -> Prediction | None:  # fmt: skip
    """The verdict on a rule's prediction, from fractions by seed. None without a rule or without seeds."""
    if rule is None or not ood_accuracy or not id_accuracy:
        return None
    if not learned(id_accuracy, top, rules):
        return Prediction(rule, UNDECIDED, False)
    shares = [100 * value / top.ood for value in ood_accuracy.values()]
    interval = mean_interval(shares, rules.confidence)
    if interval is not None:
        low, high = interval.low, interval.high
    elif len(shares) > 1:  # all alike
        low = high = shares[0]
    else:
        return Prediction(rule, UNDECIDED, True)
    if low < rules.holds <= high:
        return Prediction(rule, UNDECIDED, True)
    generalises = low >= rules.holds
    return Prediction(rule, HELD if generalises == (rule.predicts == GENERALISES) else FAILED, True)


def learned(id_accuracy: Mapping[int, float], top: Ceiling, rules: LeagueRules) -> bool:
    """Whether the mean ID accuracy over seeds (fractions) reaches its share of the ceiling."""
    return bool(id_accuracy) and 100 * sum(id_accuracy.values()) / len(id_accuracy) >= rules.share * top.id
