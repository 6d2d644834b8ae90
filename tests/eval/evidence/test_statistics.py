"""Statistics against scipy, textbook examples, brute force and simulation."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from conf.published import largest_std, variance_from_std
from eval.evidence.statistics import (
    Difference,
    Interval,
    Summary,
    bootstrap_improvement,
    difference_power,
    equivalence_power,
    holm,
    improvement,
    mean_interval,
    paired_bootstrap,
    paired_t,
    sign_flip,
    smallest_sign_flip,
    summary,
    tost,
    welch,
)

A = [27.5, 31.25, 22.0, 30.0, 28.125]
PUBLISHED = Summary(65.29, 6.6, 5)


def known(difference: Difference | None) -> tuple[float, float, float]:
    assert difference is not None
    assert difference.low is not None
    assert difference.high is not None
    assert difference.p is not None
    return difference.low, difference.high, difference.p


def test_welch_is_scipys_against_a_printed_mean_and_against_a_sample():
    sample = summary(A)
    assert (sample.mean, sample.std) == pytest.approx((np.mean(A), np.std(A, ddof=1)))
    from_moments = stats.ttest_ind_from_stats(sample.mean, sample.std, 5, 65.29, 6.6, 5, equal_var=False)
    assert known(welch(A, PUBLISHED))[2] == pytest.approx(from_moments.pvalue, rel=1e-9)
    b = [20.0, 35.0, 31.0]
    oracle = stats.ttest_ind(A, b, equal_var=False)
    low, high = oracle.confidence_interval(0.9)
    assert known(welch(A, b, confidence=0.9)) == pytest.approx((low, high, oracle.pvalue), rel=1e-9)


def test_the_paired_t_test_is_scipys():
    differences = [1.5, -0.25, 2.0, 3.25]
    oracle = stats.ttest_1samp(differences, 0.0)
    low, high = oracle.confidence_interval(0.95)
    assert known(paired_t(differences)) == pytest.approx((low, high, oracle.pvalue), rel=1e-9)
    interval = mean_interval(differences)
    assert interval == Interval(*known(paired_t(differences))[:2])


@pytest.mark.parametrize("margin", [2.0, 5.0, 40.0])
def test_tost_is_two_one_sided_welch_tests_by_scipy_with_shifted_means(margin):
    measured = Summary(64.0, 2.0, 4)
    difference = welch(measured, PUBLISHED)
    assert difference is not None
    moments = (measured.std, measured.n)
    below = stats.ttest_ind_from_stats(
        measured.mean + margin,
        *moments,
        PUBLISHED.mean,
        PUBLISHED.std,
        PUBLISHED.n,
        equal_var=False,
        alternative="greater",
    )
    above = stats.ttest_ind_from_stats(
        measured.mean - margin,
        *moments,
        PUBLISHED.mean,
        PUBLISHED.std,
        PUBLISHED.n,
        equal_var=False,
        alternative="less",
    )
    assert tost(difference, margin) == pytest.approx(max(below.pvalue, above.pvalue), rel=1e-9)


def test_equivalence_at_alpha_is_an_interval_of_1_minus_2_alpha_inside_the_margin():
    difference = welch(Summary(66.0, 2.0, 5), PUBLISHED, confidence=0.90)
    low, high, _ = known(difference)
    edge = max(abs(low), abs(high))
    assert difference is not None
    assert tost(difference, edge) == pytest.approx(0.05, rel=1e-9)


def test_holm_by_hand():
    # Holm (1979) by hand: 0.005 * 4, 0.01 * 3, then 0.03 * 2 = 0.06 and 0.04 * 1, which may not fall below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])  # 0.5 * 2 = 1
    assert holm([]) == []


def test_holm_keeps_the_family_when_a_test_could_not_be_made():
    adjusted = holm([None, 0.01, None])
    assert adjusted == [None, pytest.approx(0.03), None]


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_bootstrap_is_exact_for_few_seeds(n):
    differences = [3.0, -1.5, 0.25, 7.0, 2.0][:n]
    means = sorted(math.fsum(chosen) / n for chosen in itertools.product(differences, repeat=n))
    assert len(means) == n**n
    low, high = np.quantile(means, [0.05, 0.95])
    for seed in (0, 1):  # nothing is drawn
        interval = paired_bootstrap(differences, 0.9, 100, seed)
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx((low, high))
    share = (sum(mean > 0 for mean in means) + 0.5 * sum(mean == 0 for mean in means)) / n**n
    assert bootstrap_improvement(differences, 100, 0) == pytest.approx(share)


def test_the_bootstrap_of_many_seeds_is_drawn_from_its_seed_alone():
    differences = list(np.random.default_rng(3).normal(1.0, 1.0, 20))
    first = paired_bootstrap(differences, 0.95, 5000, 7)
    assert first == paired_bootstrap(differences, 0.95, 5000, 7)
    assert first != paired_bootstrap(differences, 0.95, 5000, 8)
    # The bootstrap's variance of a mean is the population variance over n, and 20 means are near enough to normal.
    half = 1.96 * float(np.std(differences)) / math.sqrt(20)
    assert first is not None
    centre = statistics.fmean(differences)
    assert (first.low, first.high) == pytest.approx((centre - half, centre + half), abs=0.1)


def test_the_probability_of_improvement_counts_ties_half():
    assert improvement([1.0, -2.0, 3.0, 0.0]) == pytest.approx(2.5 / 4)
    assert bootstrap_improvement([1.0, -1.0], 100, 0) == pytest.approx(0.5)  # means 1, 0, 0, -1
    assert bootstrap_improvement([2.0, 3.0], 100, 0) == 1.0


@pytest.mark.parametrize("differences", [[1.0, 2.0, 3.0], [1.0, -2.0, 4.0, 0.5], [0.1, 0.1, 0.1, 0.1, 0.1]])
def test_sign_flips_are_scipys_permutation_test(differences):
    oracle = stats.permutation_test(
        [differences], np.mean, permutation_type="samples", n_resamples=10**6, alternative="two-sided"
    )
    assert sign_flip(differences, 100, 0) == pytest.approx(float(oracle.pvalue))


def test_sign_flips_of_many_pairs_are_drawn():
    differences = list(np.random.default_rng(0).normal(0.4, 1.0, 20))
    p = sign_flip(differences, 20_000, 1)
    assert p == sign_flip(differences, 20_000, 1)
    oracle = paired_t(differences)
    assert p == pytest.approx(known(oracle)[2], abs=0.02)  # both tests agree on twenty normal differences


def test_the_smallest_sign_flip_p_is_reached_when_all_signs_agree():
    for n in range(1, 7):
        agreeing = [1.0 + k for k in range(n)]
        assert sign_flip(agreeing, 100, 0) == pytest.approx(smallest_sign_flip(n)) == pytest.approx(2 / 2**n)
    assert smallest_sign_flip(0) == 1.0


def test_what_does_not_exist_is_none():
    assert welch([], A) is None
    assert paired_t([]) is None
    assert (improvement([]), sign_flip([], 100, 0)) == (None, None)
    assert welch([70.0], Summary(65.0, 6.6, 5)) == Difference(5.0)  # a mean, but no interval and no p
    assert paired_t([3.0]) == Difference(3.0)
    assert (mean_interval([3.0]), paired_bootstrap([3.0], 0.95, 100, 0)) == (None, None)
    assert bootstrap_improvement([3.0], 100, 0) is None
    assert tost(Difference(3.0), 5.0) is None


def test_values_without_spread_are_not_tested():
    # 100 * (0.6 - 0.5) and 100 * (0.7 - 0.6) differ in the last bit, which must not become a p value of 0.
    alike = paired_t([100 * (0.6 - 0.5), 100 * (0.7 - 0.6), 100 * (0.3 - 0.2)])
    assert alike is not None
    assert (alike.low, alike.high, alike.p, alike.standard_error) == (None, None, None, 0.0)
    assert alike.mean == pytest.approx(10.0)
    equal = paired_t([0.0, 0.0])
    assert equal is not None
    assert equal.p == 1.0
    assert tost(equal, 5.0) is None
    assert welch([4.0, 4.0], [4.0, 4.0]) == Difference(0.0, p=1.0, standard_error=0.0)
    # Against a printed mean there always is a spread: the published one.
    assert known(welch([100.0] * 5, Summary(99.58, 0.7, 5))) is not None


def test_a_printed_variance_stands_for_the_largest_that_prints_so():
    assert largest_std(0.0) == pytest.approx(0.7071, abs=1e-4)
    for printed in (0.0, 0.03, 0.43):
        just_below = variance_from_std(largest_std(printed)) - 1e-9
        assert f"{just_below:.2f}" == f"{printed:.2f}"
        assert f"{just_below + 1e-6:.2f}" != f"{printed:.2f}"


@pytest.mark.parametrize(("freedom", "true"), [(4.0, 3.0), (7.3, 0.0), (7.3, 8.0), (2.0, 100.0)])
def test_the_power_of_a_difference_is_that_of_the_noncentral_t(freedom, true):
    bound = stats.t.ppf(1 - 0.02 / 2, freedom)
    oracle = stats.nct.sf(bound, freedom, true / 2.0) + stats.nct.cdf(-bound, freedom, true / 2.0)
    assert difference_power(2.0, freedom, true, 0.02) == pytest.approx(float(oracle), abs=2e-4)


@pytest.mark.parametrize(("deviations", "true"), [((2.0, 3.0), 0.0), ((2.0, 3.0), 3.0), ((5.0, 5.0), 1.0)])
def test_power_is_what_a_simulation_finds(deviations, true):
    """Two samples of five with these true deviations, tested by Welch and TOST as the verdicts do."""
    draws, rng = 4000, np.random.default_rng(11)
    means, spreads = [], []
    for deviation, centre in zip(deviations, (true, 0.0), strict=True):
        sample = rng.normal(centre, deviation, (draws, 5))
        means.append(sample.mean(axis=1))
        spreads.append(sample.std(axis=1, ddof=1))
    samples = [
        [Summary(float(mean), float(spread), 5) for mean, spread in zip(means[side], spreads[side], strict=True)]
        for side in (0, 1)
    ]
    differences = [welch(a, b) for a, b in zip(*samples, strict=True)]
    differing = np.mean([known(difference)[2] <= 0.05 for difference in differences])
    equivalent = np.mean([(tost(difference, 5.0) or 0.0) <= 0.05 for difference in differences if difference])
    planned = welch(Summary(0.0, deviations[0], 5), Summary(0.0, deviations[1], 5))
    assert planned is not None
    assert planned.standard_error is not None
    assert planned.freedom is not None
    assert difference_power(planned.standard_error, planned.freedom, true, 0.05) == pytest.approx(differing, abs=0.03)
    predicted = equivalence_power(planned.standard_error, planned.freedom, true, 5.0, 0.05)
    assert predicted == pytest.approx(equivalent, abs=0.03)


def test_power_has_its_limits():
    assert equivalence_power(3.0, 6.0, 0.0, 5.0, 0.05) > equivalence_power(3.0, 6.0, 2.0, 5.0, 0.05)
    # At the margin itself the chance to call it equivalent is at most alpha: that is what the test promises.
    assert equivalence_power(0.5, 8.0, 5.0, 5.0, 0.05) == pytest.approx(0.05, abs=1e-3)
    assert equivalence_power(100.0, 8.0, 0.0, 5.0, 0.05) < 1e-3
    assert difference_power(1.0, 8.0, 0.0, 0.05) == pytest.approx(0.05, abs=1e-3)
