"""Verdicts from records alone: cells against the paper, Resonance against its plain form, and the paper's claims.

The rules are declared in conf/verdict.yaml. Published values are compared only with runs of the paper's sizes; pairs
and claims compare runs of one size with each other, and say nothing beyond it.

A cell is tested by Welch's t test, for a difference from the published mean and for equivalence with it. The published
side is a mean over five seeds with a variance printed to two decimals, of which the largest that prints so is taken. A
pair is compared seed by seed, which removes what the seed contributes to both. The paired t test decides; bootstrap,
probability of improvement and sign flips stand beside it, since with a few seeds each misleads in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from conf import names
from conf.published import Published, largest_std
from conf.rules import VerdictRules
from eval.evidence.cells import Collection, settings_that_differ
from eval.evidence.statistics import (
    Difference,
    Interval,
    Summary,
    bootstrap_improvement,
    difference_power,
    equivalence_power,
    holm,
    improvement,
    p_value,
    paired_bootstrap,
    paired_t,
    sign_flip,
    smallest_sign_flip,
    tost,
    welch,
)
from eval.evidence.verdict.claims import Claim, claims
from eval.evidence.verdict.paired import Place, ood_points, other_places, paired, resonance_places, significant
from eval.store.kinds import AccuracyRecord

_PUBLISHED_MODE = "teacher_forced"  # how the released code measures what the paper prints


class CellOutcome(StrEnum):
    """`reproduced`: equivalent within the margin. `contradicted`: different, and not equivalent. Else inconclusive."""

    reproduced = "reproduced"
    contradicted = "contradicted"
    inconclusive = "inconclusive"


class PairOutcome(StrEnum):
    """Which of the two has the higher OOD accuracy, or on a text the lower loss, if the seeds decide it."""

    better = "resonance better"
    worse = "resonance worse"
    undecided = "undecided"


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


@dataclass(frozen=True)
class PairVerdict:
    """One pair. `difference` is Resonance - plain over the paired `seeds`, points of OOD accuracy or nats of OOD loss.

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


@dataclass(frozen=True)
class Verdicts:
    """All verdicts on a collection, by protocol. `no_cells` says why no cell is compared with the paper; else empty.

    `declared` are the rules of conf/verdict.yaml, from which `rules` may differ.
    """

    collection: Collection
    rules: VerdictRules
    declared: VerdictRules
    no_cells: str
    cells: tuple[CellVerdict, ...]
    pairs: tuple[PairVerdict, ...]
    claims: tuple[Claim, ...]


def judge(
    collection: Collection,
    published: Mapping[Place, Published],
    rules: VerdictRules,
    declared: VerdictRules | None = None,
) -> Verdicts:
    """The verdicts on every protocol of a collection. `declared`: what was declared, where `rules` were changed."""
    no_cells = _no_cells(collection)
    protocols, here = collection.protocols, {place: published[place] for place in collection.of_the_paper(published)}
    return Verdicts(
        collection,
        rules,
        declared or rules,
        no_cells,
        tuple(cell for name in protocols if not no_cells for cell in _cells(collection, name, here, rules)),
        tuple(pair for name in protocols for pair in accuracy_pairs(collection, name, published, rules)),
        tuple(claim for name in protocols if here for claim in claims(collection, name, here, rules)),
    )


def _no_cells(collection: Collection) -> str:
    if any(setting.size for setting in settings_that_differ(collection)):
        return f"the sizes of profile {collection.profile} are not the paper's"
    if collection.accuracy_mode != _PUBLISHED_MODE:
        return f"the published accuracies are {_PUBLISHED_MODE}, these are {collection.accuracy_mode}"
    return ""


def _cells(
    collection: Collection, protocol: str, published: Mapping[Place, Published], rules: VerdictRules
) -> list[CellVerdict]:
    """A verdict for every published cell. Holm's adjustment spans all of them, separately for the two tests."""
    differences = [_from_published(collection, protocol, place, cell, rules) for place, cell in published.items()]
    equivalences = [tost(difference, rules.margin_points) if difference else None for difference in differences]
    p_different = holm([p_value(difference) for difference in differences])
    p_equivalent = holm(equivalences)
    verdicts = []
    for i, (task, pe) in enumerate(published):
        cell, difference = collection.cell(protocol, task, pe), differences[i]
        outcome = CellOutcome.inconclusive
        if significant(p_equivalent[i], rules.alpha):
            outcome = CellOutcome.reproduced
        elif significant(p_different[i], rules.alpha):
            outcome = CellOutcome.contradicted
        power_equal = None
        if difference and difference.standard_error and difference.freedom:
            power_equal = equivalence_power(
                difference.standard_error, difference.freedom, 0.0, rules.margin_points, rules.alpha / len(published)
            )
        verdicts.append(
            CellVerdict(
                protocol, task, pe,
                seeds=tuple(record.seed for record in cell.finished if ood_points(record) is not None),
                diverged=tuple(record.seed for record in cell.diverged),
                difference=difference, p_adjusted=p_different[i],
                p_equivalence=equivalences[i], p_equivalence_adjusted=p_equivalent[i],
                power_equal=power_equal, power_effect=_power(difference, rules, rules.effect_points, len(published)),
                outcome=outcome,
            )
        )  # fmt: skip
    return verdicts


def _from_published(
    collection: Collection, protocol: str, place: Place, published: Published, rules: VerdictRules
) -> Difference | None:
    values = [ood_points(record) for record in collection.cell(protocol, *place).finished]
    printed = Summary(published.ood_percent, largest_std(published.variance), rules.published_seeds)
    return welch([value for value in values if value is not None], printed, rules.confidence)


def accuracy_pairs(
    collection: Collection, protocol: str, published: Iterable[Place], rules: VerdictRules
) -> list[PairVerdict]:
    """A verdict for every published pair, by OOD accuracy, and for every pair that was measured on another task. These
    are families of their own: what else was measured changes no verdict on the paper's."""
    places = list(published)
    families = collection.of_the_paper(places), other_places(collection, protocol, places)
    return [
        verdict
        for family in map(resonance_places, families)
        for verdict in pair_verdicts(collection, protocol, family, ood_points, rules, rules.effect_points)
    ]


def pair_verdicts(
    collection: Collection,
    protocol: str,
    places: Sequence[Place],
    value: Callable[[AccuracyRecord], float | None],
    rules: VerdictRules,
    effect: float,
    lower_is_better: bool = False,
) -> list[PairVerdict]:
    """A verdict for every Resonance form of `places` against its plain form, by a `value` of their records; `effect`:
    the true difference that the power is for, in its unit. Holm's adjustment spans all of them."""
    by_seed = [paired(collection, protocol, (task, pe), (task, names.counterpart(pe)), value) for task, pe in places]
    differences = [paired_t(pair.differences, rules.confidence) for pair in by_seed]
    adjusted = holm([p_value(difference) for difference in differences])
    verdicts = []
    for (task, pe), pair, difference, p in zip(places, by_seed, differences, adjusted, strict=True):
        outcome = PairOutcome.undecided
        if difference and significant(p, rules.alpha):
            outcome = PairOutcome.better if (difference.mean > 0) is not lower_is_better else PairOutcome.worse
        values, drawn = pair.differences, (rules.resamples, rules.seed)
        verdicts.append(
            PairVerdict(
                protocol, task, pe, pair.seeds, pair.diverged, pair.alone, difference, p,
                bootstrap=paired_bootstrap(values, rules.confidence, *drawn),
                bootstrap_improvement=bootstrap_improvement(values, *drawn),
                improvement=improvement(values),
                sign_flip=sign_flip(values, *drawn),
                smallest_sign_flip=smallest_sign_flip(len(values)),
                power=_power(difference, rules, effect, len(places)),
                outcome=outcome,
            )
        )  # fmt: skip
    return verdicts


def _power(difference: Difference | None, rules: VerdictRules, effect: float, family: int) -> float | None:
    """The chance to find a true difference of the declared effect, at the strictest level in a family of tests."""
    if not difference or not difference.standard_error or not difference.freedom:
        return None
    return difference_power(difference.standard_error, difference.freedom, effect, rules.alpha / family)
