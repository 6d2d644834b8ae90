"""Tests and intervals for a handful of seeds, and the power of these tests.

What a formula cannot give is None, never a number that looks like one: a single value has no spread, and values that
are all alike have none to test against. Units are those of the values (points of accuracy, or nats).

On scipy.special, imported where it is used: scipy.stats takes a second to import, its t tests give nan without spread,
its bootstrap enumerates nothing and it has no Holm. The tests hold the results against scipy.stats.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_EXACT_RESAMPLES = 50_000  # up to six values have fewer resamples than this: they are enumerated, not drawn
_EXACT_FLIPS = 16  # values: 2^16 sign patterns
_REL_TOL = 1e-9  # rounding noise: equal differences of fractions may differ by this much, relative to their size
_POINTS = 4096  # of the numerical integrals behind the power: right to four decimals


@dataclass(frozen=True)
class Summary:
    """A sample known by its mean, sample standard deviation (n - 1) and size, such as a cell of a printed table."""

    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class Interval:
    """A confidence interval, both ends included."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A mean difference, its confidence interval and two-sided p, with the standard error and degrees of freedom that
    they come from. All but the mean are None when a sample has fewer than two values; without any spread the standard
    error is 0, and p is 1 for a mean of 0 and else None: nothing to test against."""

    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    standard_error: float | None = None
    freedom: float | None = None

    @property
    def interval(self) -> Interval | None:
        """The confidence interval, if there is one."""
        return None if self.low is None or self.high is None else Interval(self.low, self.high)


def summary(values: Sequence[float]) -> Summary:
    """Mean, sample standard deviation (nan for one value) and number of at least one value."""
    return Summary(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan, len(values))


def p_value(difference: Difference | None) -> float | None:
    """The two-sided p of a difference, None where there is no difference or no p."""
    return difference.p if difference else None


def welch(a: Sequence[float] | Summary, b: Sequence[float] | Summary, confidence: float = 0.95) -> Difference | None:
    """mean(a) - mean(b) of independent samples whose variances may differ, by Welch (1947) with Satterthwaite's degrees
    of freedom; None when one of them is empty."""
    samples = [sample if isinstance(sample, Summary) else summary(sample) for sample in (a, b) if sample]
    if len(samples) < 2:
        return None
    mean = samples[0].mean - samples[1].mean
    if min(sample.n for sample in samples) < 2:
        return Difference(mean)
    shares = [(sample.std**2 / sample.n, sample.n - 1) for sample in samples]
    variance = sum(share for share, _ in shares)
    freedom = variance**2 / sum(share**2 / free for share, free in shares) if variance else None
    return _t_test(mean, math.sqrt(variance), freedom, confidence)


def paired_t(differences: Sequence[float], confidence: float = 0.95) -> Difference | None:
    """The mean of paired differences, by Student (1908) with n - 1 degrees of freedom; None without any. It assumes
    normal differences, which a few seeds cannot show; `sign_flip` does not."""
    if not differences:
        return None
    sample = summary(differences)
    if sample.n < 2:
        return Difference(sample.mean)
    return _t_test(sample.mean, sample.std / math.sqrt(sample.n), sample.n - 1, confidence)


def _t_test(mean: float, standard_error: float, freedom: float | None, confidence: float) -> Difference:
    from scipy.special import stdtr, stdtrit

    if freedom is None or standard_error <= _REL_TOL * max(1.0, abs(mean)):
        return Difference(mean, p=1.0 if abs(mean) <= _REL_TOL else None, standard_error=0.0, freedom=freedom)
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * standard_error
    p = 2.0 * float(stdtr(freedom, -abs(mean) / standard_error))
    return Difference(mean, mean - half, mean + half, p, standard_error, float(freedom))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's interval of a mean; None for fewer than two values or values that are all alike."""
    difference = paired_t(values, confidence)
    return difference.interval if difference else None


def tost(difference: Difference, margin: float) -> float | None:
    """p of equivalence: the true difference lies outside ±margin unless this is small. The larger p of two one-sided
    tests (Schuirmann 1987); None without a standard error."""
    from scipy.special import stdtr

    if not difference.standard_error or not difference.freedom:
        return None
    return float(stdtr(difference.freedom, (abs(difference.mean) - margin) / difference.standard_error))


def no_lower(difference: Difference, margin: float) -> float | None:
    """p of no inferiority: the true difference lies below -margin, however far, unless this is small (one-sided t
    test). None without a standard error."""
    from scipy.special import stdtr

    if not difference.standard_error or not difference.freedom:
        return None
    return float(stdtr(difference.freedom, -(difference.mean + margin) / difference.standard_error))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values adjusted for their number, in their order (Holm 1979, step down). What could not be tested (None)
    stays None and still counts: a family does not shrink because a run is missing."""
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p))
        adjusted[index] = highest
    return adjusted


def paired_bootstrap(differences: Sequence[float], confidence: float, resamples: int, seed: int) -> Interval | None:
    """The percentile interval of the mean of paired differences (Efron 1981); None for fewer than two.

    Up to six differences are resampled in every possible way, all n^n of them, so that neither `resamples` nor `seed`
    matters. With so few the interval is too narrow (Hesterberg 2015): it shows the spread and decides nothing.
    """
    if len(differences) < 2:
        return None
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    return Interval(*map(float, np.quantile(_resampled_means(differences, resamples, seed), ends)))


def bootstrap_improvement(differences: Sequence[float], resamples: int, seed: int) -> float | None:
    """The share of bootstrap means above 0, those at 0 counted half; None for fewer than two differences. It concerns
    the sign of the MEAN difference, not the chance that a single seed improves."""
    return None if len(differences) < 2 else _share_above(_resampled_means(differences, resamples, seed))


def _resampled_means(differences: Sequence[float], resamples: int, seed: int) -> np.ndarray:
    values, n = np.array(differences, dtype=float), len(differences)
    if n**n <= _EXACT_RESAMPLES:
        chosen = np.indices((n,) * n).reshape(n, -1).T
    else:
        chosen = np.random.default_rng(seed).integers(0, n, (resamples, n))
    return np.asarray(values[chosen].mean(axis=1))


def improvement(differences: Sequence[float]) -> float | None:
    """P(A > B): the share of pairs whose difference is above 0, those at 0 counted half; None without any. The
    probability of improvement of Agarwal et al. (2021), "Deep RL at the edge of the statistical precipice", there over
    all combinations of independent runs; here a seed pairs the runs, so only pairs count."""
    return _share_above(np.array(differences)) if differences else None


def _share_above(values: np.ndarray) -> float:
    tie = _REL_TOL * max(1.0, float(np.abs(values).max()))
    return float((values > tie).mean() + 0.5 * (np.abs(values) <= tie).mean())


def sign_flip(differences: Sequence[float], resamples: int, seed: int) -> float | None:
    """Two-sided p of the mean difference when each sign is as likely as its opposite (Fisher 1935, The Design of
    Experiments); None without any. Exact for up to 16 differences, above it drawn `resamples` times."""
    if not differences:
        return None
    values = np.array(differences, dtype=float)
    if len(values) <= _EXACT_FLIPS:
        patterns = (np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, (resamples, len(values)))
        patterns = np.vstack([np.zeros(len(values), dtype=int), drawn])  # what was observed is one of the patterns
    means = np.abs((values * (1 - 2 * patterns)).mean(axis=1))
    return float((means >= abs(values.mean()) - _REL_TOL * np.abs(values).max()).mean())


def smallest_sign_flip(n: int) -> float:
    """The smallest p that `sign_flip` can give for n differences: 2 of the 2^n patterns (one, for n = 0)."""
    return min(1.0, 2.0 ** (1 - n))


def difference_power(standard_error: float, freedom: float, true: float, alpha: float) -> float:
    """P(p <= alpha) of the two-sided t test, 0 to 1, for a true difference in the units of `standard_error`."""
    from scipy.special import ndtr, stdtrit

    bound = float(stdtrit(freedom, 1 - alpha / 2)) * _spread(freedom)
    shift = true / standard_error
    return float(np.mean(ndtr(shift - bound) + ndtr(-shift - bound)))


def equivalence_power(standard_error: float, freedom: float, true: float, margin: float, alpha: float) -> float:
    """P(p <= alpha) of the two one-sided tests against ±margin, 0 to 1, for a true difference."""
    from scipy.special import ndtr, stdtrit

    # Equivalent is what lies inside ±margin by t standard errors: |d| < room, nowhere when there is no room.
    room = margin / standard_error - float(stdtrit(freedom, 1 - alpha)) * _spread(freedom)
    shift = true / standard_error
    return float(np.mean(np.where(room > 0, ndtr(room - shift) - ndtr(-room - shift), 0.0)))


def no_lower_power(standard_error: float, freedom: float, true: float, margin: float, alpha: float) -> float:
    """P(p <= alpha) of `no_lower`, 0 to 1, for a true difference."""
    from scipy.special import ndtr, stdtrit

    bound = float(stdtrit(freedom, 1 - alpha)) * _spread(freedom)
    return float(np.mean(ndtr((true + margin) / standard_error - bound)))


def _spread(freedom: float) -> np.ndarray:
    """Measured over true standard error, at midpoints of equal probability."""
    from scipy.special import gammaincinv

    chances = (np.arange(_POINTS) + 0.5) / _POINTS
    return np.asarray(np.sqrt(2.0 * gammaincinv(freedom / 2.0, chances) / freedom))
