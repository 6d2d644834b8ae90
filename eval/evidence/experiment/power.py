"""What an experiment can find, before it runs: its comparisons, and the power of each with so many seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from conf.experiments import DeclaredProfile, Experiment
from conf.hypotheses import Direction, Hypothesis, Rule
from eval.evidence.experiment.contrasts import of_hypothesis
from eval.evidence.experiment.judge import places, power_of
from eval.evidence.statistics import difference_power

LIKELY = 0.8
"""The usual power at which an experiment counts as large enough."""
_LARGEST = 100.0  # points: accuracy has no larger difference


@dataclass(frozen=True)
class Power:
    """One comparison of a hypothesis with so many `seeds`, at Holm's strictest level and the assumed spread
    `std_points`. `power`: the chance to find what the hypothesis says if it is true; `smallest`: the difference in
    points that is found with a chance of `LIKELY`, None where none is or where the hypothesis is no difference."""

    hypothesis: Hypothesis
    comparisons: int
    seeds: int
    std_points: float
    power: float
    smallest: float | None


def comparisons_of(experiment: Experiment, hypothesis: Hypothesis) -> int:
    """How many comparisons a hypothesis makes."""
    return len(of_hypothesis(experiment, hypothesis)) * len(places(experiment.tasks, hypothesis))


def power(experiment: Experiment, profile: DeclaredProfile) -> Iterator[Power]:
    """The power of every hypothesis under a profile's seeds."""
    rule, seeds = experiment.rule, len(profile.seeds)
    family = sum(comparisons_of(experiment, hypothesis) for hypothesis in experiment.hypotheses)
    for hypothesis in experiment.hypotheses:
        std = hypothesis.std_points or rule.std_points
        error = std / seeds**0.5
        smallest = None
        if hypothesis.direction in (Direction.higher, Direction.lower):
            smallest = _smallest(error, seeds - 1, rule, family)
        chance = power_of(hypothesis, rule, error, seeds - 1, family)
        yield Power(hypothesis, comparisons_of(experiment, hypothesis), seeds, std, chance, smallest)


def _smallest(standard_error: float, freedom: float, rule: Rule, family: int) -> float | None:
    """By bisection: power grows with the difference."""
    low, high = 0.0, _LARGEST
    if difference_power(standard_error, freedom, high, rule.alpha / family) < LIKELY:
        return None
    while high - low > 0.01:
        middle = (low + high) / 2
        if difference_power(standard_error, freedom, middle, rule.alpha / family) < LIKELY:
            low = middle
        else:
            high = middle
    return high
