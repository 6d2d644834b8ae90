"""Measured against published: a verdict for each cell of the paper's Table 1 under one protocol.

The published side is a mean over five seeds with a variance printed to two decimals, of which the largest that prints
so is taken. Both tests are Welch's: the difference against 0, and its equivalence within the declared margin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from conf.published import Published, largest_std
from conf.rules import VerdictRules
from eval.evidence.cells import Collection
from eval.evidence.statistics import (
    Difference,
    Summary,
    difference_power,
    equivalence_power,
    holm,
    p_value,
    tost,
    welch,
)
from eval.evidence.verdict.paired import Place, below, ood_points


class CellOutcome(StrEnum):
    """`reproduced`: equivalent within the margin. `contradicted`: different, and not equivalent. Else undecided."""

    reproduced = "reproduced"
    contradicted = "contradicted"
    inconclusive = "inconclusive"


@dataclass(frozen=True)
class CellVerdict:
    """One cell. `difference` is measured - published in points, None when nothing was measured.

    `power_equal` is the chance of `reproduced` were the true difference 0, `power_effect` the chance to find a true
    difference of the declared effect; both at the strictest level that Holm asks for, so that they are lower bounds.
    """

    protocol: str
    task: str
    pe: str
    seeds: tuple[int, ...]
    diverged: tuple[int, ...]
    difference: Difference | None
    p_adjusted: float | None
    p_equivalence: float | None
    p_equivalence_adjusted: float | None
    power_equal: float | None
    power_effect: float | None
    outcome: CellOutcome


def cells(
    collection: Collection, protocol: str, published: Mapping[Place, Published], rules: VerdictRules
) -> list[CellVerdict]:
    """A verdict for every published cell. Holm's adjustment spans all of them, separately for the two tests.

    Only for runs of the paper's sizes: eval.evidence.verdict.judge decides that.
    """
    differences = [_difference(collection, protocol, place, cell, rules) for place, cell in published.items()]
    equivalences = [tost(difference, rules.margin_points) if difference else None for difference in differences]
    different = holm([p_value(difference) for difference in differences])
    equivalent = holm(equivalences)
    found = []
    for index, (task, pe) in enumerate(published):
        cell = collection.cell(protocol, task, pe)
        outcome = CellOutcome.inconclusive
        if below(equivalent[index], rules.alpha):
            outcome = CellOutcome.reproduced
        elif below(different[index], rules.alpha):
            outcome = CellOutcome.contradicted
        found.append(
            CellVerdict(
                protocol, task, pe,
                tuple(record.seed for record in cell.finished if ood_points(record) is not None),
                tuple(record.seed for record in cell.diverged),
                differences[index], different[index], equivalences[index], equivalent[index],
                *_powers(differences[index], rules, len(published)),
                outcome,
            )
        )  # fmt: skip
    return found


def _difference(
    collection: Collection, protocol: str, place: Place, published: Published, rules: VerdictRules
) -> Difference | None:
    values = [ood_points(record) for record in collection.cell(protocol, *place).finished]
    printed = Summary(published.ood_percent, largest_std(published.variance), rules.published_seeds)
    return welch([value for value in values if value is not None], printed, rules.confidence)


def _powers(difference: Difference | None, rules: VerdictRules, family: int) -> tuple[float | None, float | None]:
    if not difference or not difference.standard_error or not difference.freedom:
        return None, None
    error, freedom, alpha = difference.standard_error, difference.freedom, rules.alpha / family
    return (
        equivalence_power(error, freedom, 0.0, rules.margin_points, alpha),
        difference_power(error, freedom, rules.effect_points, alpha),
    )
