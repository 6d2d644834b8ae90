"""Resonance against its plain form: a verdict for each pair of the paper's Table 1 under one protocol.

A pair is compared seed by seed, which takes out what the seed itself brings. The paired t test decides, adjusted by
Holm for the number of pairs; bootstrap, probability of improvement and sign flips stand beside it, since with a few
seeds each of them misleads in another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from conf import names
from conf.rules import VerdictRules
from eval.evidence.cells import Collection
from eval.evidence.statistics import (
    Difference,
    Interval,
    bootstrap_improvement,
    difference_power,
    holm,
    improvement,
    p_value,
    paired_bootstrap,
    paired_t,
    sign_flip,
    smallest_sign_flip,
)
from eval.evidence.verdict.paired import Place, below, ood_points, paired


class PairOutcome(StrEnum):
    """Which of the two has the higher OOD accuracy, if the seeds decide it."""

    better = "resonance better"
    worse = "resonance worse"
    undecided = "undecided"


@dataclass(frozen=True)
class PairVerdict:
    """One pair. `difference` is Resonance - plain in points of OOD accuracy over the paired `seeds`.

    `bootstrap` is an interval of the same mean, `bootstrap_improvement` the share of bootstrap means above 0 and
    `improvement` that of the seeds. `smallest_sign_flip` is what the sign-flip p cannot fall below with these seeds.
    `power` is the chance to find a true difference of the declared effect, at the strictest level that Holm asks for.
    """

    protocol: str
    task: str
    pe: str
    seeds: tuple[int, ...]
    diverged: tuple[int, ...]
    alone: tuple[int, ...]
    difference: Difference | None
    p_adjusted: float | None
    bootstrap: Interval | None
    bootstrap_improvement: float | None
    improvement: float | None
    sign_flip: float | None
    smallest_sign_flip: float
    power: float | None
    outcome: PairOutcome


def resonance_places(published: Iterable[Place]) -> list[Place]:
    """The published (task, Resonance form) whose plain form is published too."""
    places = list(published)
    return [(t, pe) for t, pe in places if pe.startswith(names.RESONANCE) and (t, names.counterpart(pe)) in places]


def pairs(collection: Collection, protocol: str, published: Iterable[Place], rules: VerdictRules) -> list[PairVerdict]:
    """A verdict for every published pair; Holm's adjustment spans all of them."""
    places = resonance_places(published)
    matched = [
        paired(collection, protocol, (task, pe), (task, names.counterpart(pe)), ood_points) for task, pe in places
    ]
    differences = [paired_t(one.differences, rules.confidence) for one in matched]
    adjusted = holm([p_value(difference) for difference in differences])
    found = []
    for (task, pe), one, difference, p in zip(places, matched, differences, adjusted, strict=True):
        outcome = PairOutcome.undecided
        if difference and below(p, rules.alpha):
            outcome = PairOutcome.better if difference.mean > 0 else PairOutcome.worse
        values, drawn = one.differences, (rules.resamples, rules.seed)
        found.append(
            PairVerdict(
                protocol, task, pe, one.seeds, one.diverged, one.alone, difference, p,
                bootstrap=paired_bootstrap(values, rules.confidence, *drawn),
                bootstrap_improvement=bootstrap_improvement(values, *drawn),
                improvement=improvement(values),
                sign_flip=sign_flip(values, *drawn),
                smallest_sign_flip=smallest_sign_flip(len(values)),
                power=_power(difference, rules, len(places)),
                outcome=outcome,
            )
        )  # fmt: skip
    return found


def _power(difference: Difference | None, rules: VerdictRules, family: int) -> float | None:
    if not difference or not difference.standard_error or not difference.freedom:
        return None
    return difference_power(difference.standard_error, difference.freedom, rules.effect_points, rules.alpha / family)
