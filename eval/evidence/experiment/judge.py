"""Whether the hypotheses of a declared experiment hold, by its declared rule, from records alone.

A hypothesis is one comparison or several: a contrast of cells on each of its tasks, seed by seed. Every comparison is
tested for a difference from 0 (paired t, two-sided) and, where the hypothesis has a margin, for lying within it (two
one-sided tests, or one for `not_lower`). Holm's adjustment spans all comparisons of the experiment, separately for the
two kinds of test. No hypothesis is judged before all of its seeds are there: looking earlier would be another rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from conf.hypotheses import Direction, Hypothesis, Over, Rule
from eval.evidence.experiment.contrasts import effects, of_hypothesis
from eval.evidence.experiment.measured import ALL, Estimate, Measured, estimate, over_tasks
from eval.evidence.statistics import (
    difference_power,
    equivalence_power,
    holm,
    no_lower,
    no_lower_power,
    p_value,
    tost,
)
from eval.evidence.verdict.paired import significant


class Outcome(StrEnum):
    """Of a hypothesis, and of each of its comparisons. `incomplete`: records of declared seeds are missing."""

    held = "held"
    refuted = "refuted"
    undecided = "undecided"
    incomplete = "incomplete"


@dataclass(frozen=True)
class Comparison:
    """One test of a hypothesis. `p_adjusted`: of a difference from 0; `p_margin`, `p_margin_adjusted`: of lying outside
    the margin, None without one. `power`: the chance to find what the hypothesis says, at the strictest level that Holm
    asks for and the measured spread: a true difference of the rule's size, or none for `equal` and `not_lower`."""

    hypothesis: Hypothesis
    estimate: Estimate
    p_margin: float | None = None
    p_adjusted: float | None = None
    p_margin_adjusted: float | None = None
    power: float | None = None
    outcome: Outcome = Outcome.incomplete


@dataclass(frozen=True)
class Verdict:
    """A hypothesis with its comparisons."""

    hypothesis: Hypothesis
    comparisons: tuple[Comparison, ...]
    outcome: Outcome


@dataclass(frozen=True)
class Judged:
    """An experiment under one profile: what every hypothesis came to, and all effects, by task and over all tasks, for
    which nothing is adjusted."""

    measured: Measured
    verdicts: tuple[Verdict, ...]
    effects: tuple[Estimate, ...]

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """All comparisons, which one adjustment spans."""
        return tuple(c for verdict in self.verdicts for c in verdict.comparisons)


def judge(measured: Measured) -> Judged:
    """The verdicts of an experiment, and its effects."""
    experiment = measured.experiment
    raw = [c for hypothesis in experiment.hypotheses for c in _comparisons(measured, hypothesis)]
    differences = holm([p_value(c.estimate.difference) for c in raw])
    margins = holm([c.p_margin for c in raw])
    rule, family = experiment.rule, len(raw)
    decided = [
        _decided(replace(c, p_adjusted=p, p_margin_adjusted=q), rule, family)
        for c, p, q in zip(raw, differences, margins, strict=True)
    ]
    verdicts = tuple(
        _verdict(hypothesis, tuple(c for c in decided if c.hypothesis is hypothesis))
        for hypothesis in experiment.hypotheses
    )
    tasks = (*experiment.tasks, *([ALL] if len(experiment.tasks) > 1 else []))
    shown = tuple(estimate(measured, contrast, task) for contrast in effects(experiment) for task in tasks)
    return Judged(measured, verdicts, shown)


def places(experiment_tasks: tuple[str, ...], hypothesis: Hypothesis) -> list[tuple[str, tuple[str, ...]]]:
    """(name, tasks) of what a hypothesis is compared on: each of its tasks, or their mean."""
    tasks = hypothesis.tasks or experiment_tasks
    if hypothesis.over is Over.each:
        return [(task, (task,)) for task in tasks]
    return [(ALL if set(tasks) == set(experiment_tasks) else "+".join(tasks), tasks)]


def _comparisons(measured: Measured, hypothesis: Hypothesis) -> Iterator[Comparison]:
    for contrast in of_hypothesis(measured.experiment, hypothesis):
        for name, tasks in places(measured.experiment.tasks, hypothesis):
            found = over_tasks(measured, contrast, tasks, name)
            yield Comparison(hypothesis, found, p_margin=_p_margin(found, hypothesis))


def _p_margin(found: Estimate, hypothesis: Hypothesis) -> float | None:
    difference, margin = found.difference, hypothesis.margin
    if difference is None or margin is None:
        return None
    if difference.standard_error == 0.0:
        # All seeds agree to the last token, such as at 100 % of both: their spread is below that of rounding.
        difference = replace(difference, standard_error=found.rounding / math.sqrt(len(found.seeds)))
    return (no_lower if hypothesis.direction is Direction.not_lower else tost)(difference, margin)


def _decided(comparison: Comparison, rule: Rule, family: int) -> Comparison:
    found, hypothesis = comparison.estimate, comparison.hypothesis
    power = None
    if found.difference and found.difference.standard_error and found.difference.freedom:
        power = power_of(hypothesis, rule, found.difference.standard_error, found.difference.freedom, family)
    if found.missing:
        return replace(comparison, power=power)
    if found.difference is None:  # every seed diverged
        return replace(comparison, outcome=Outcome.undecided)
    differs = significant(comparison.p_adjusted, rule.alpha)
    within = significant(comparison.p_margin_adjusted, rule.alpha)
    above = differs and found.difference.mean > 0
    below = differs and found.difference.mean < 0
    held, refuted = {
        Direction.higher: (above, below or within),
        Direction.lower: (below, above or within),
        Direction.equal: (within, differs),
        Direction.not_lower: (within, below),
    }[hypothesis.direction]
    outcome = Outcome.held if held else Outcome.refuted if refuted else Outcome.undecided
    return replace(comparison, power=power, outcome=outcome)


def power_of(hypothesis: Hypothesis, rule: Rule, standard_error: float, freedom: float, family: int) -> float:
    """The chance, 0 to 1, that one comparison comes out as the hypothesis says if it is true: by a difference of the
    rule's size, or of nothing for `equal` and `not_lower`. At level alpha / family, Holm's strictest step."""
    alpha = rule.alpha / family
    if hypothesis.direction is Direction.equal and hypothesis.margin is not None:
        return equivalence_power(standard_error, freedom, 0.0, hypothesis.margin, alpha)
    if hypothesis.direction is Direction.not_lower and hypothesis.margin is not None:
        return no_lower_power(standard_error, freedom, 0.0, hypothesis.margin, alpha)
    return difference_power(standard_error, freedom, rule.effect_points, alpha)


def _verdict(hypothesis: Hypothesis, comparisons: tuple[Comparison, ...]) -> Verdict:
    outcomes = {comparison.outcome for comparison in comparisons}
    order = (Outcome.incomplete, Outcome.refuted, Outcome.undecided, Outcome.held)
    return Verdict(hypothesis, comparisons, next(outcome for outcome in order if outcome in outcomes))
