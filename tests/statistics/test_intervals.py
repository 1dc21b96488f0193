"""Intervals of means: as statsmodels and scipy have them where those do the same, never without width, and covering the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import bootstrap, norm, ttest_1samp
from statsmodels.stats.proportion import proportion_confint

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import (
    draft,
    interval_coverage,
    mean_interval,
    mean_intervals,
    paired_difference,
    rate,
)
from emotion_circuits.statistics.claims import About, judge
from emotion_circuits.statistics.families import corrected


@pytest.mark.parametrize(("k", "n"), [(0, 8), (4, 8), (8, 8), (5, 31), (26, 31), (60, 200)])
def test_shares_are_wilsons(k, n):
    found = mean_interval([1.0] * k + [0.0] * (n - k))
    low, high = proportion_confint(k, n, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_few_successes_reach_nearer_to_zero_than_wilsons_interval():
    found = mean_interval([1.0] + [0.0] * 7)
    assert 0 < found.low == pytest.approx(-np.log(0.95) / 8)  # Brown, Cai & DasGupta 2001
    assert found.low < proportion_confint(1, 8, method="wilson")[0]
    mirrored = mean_interval([0.0] + [1.0] * 7)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - found.high, 1 - found.low))


def tango(b, c, n):
    """By its definition: the differences at which the score test with the likeliest nuisance parameter does not reject."""

    def score(at):
        def minus_log_likelihood(below):
            cells = np.array([below + at, below, 1 - 2 * below - at])
            return -float((np.array([b, c, n - b - c]) * np.log(np.maximum(cells, 1e-300))).sum())

        bounds = (max(0.0, -at) + 1e-12, (1 - at) / 2 - 1e-12)
        below = minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        return (b - c - n * at) / np.sqrt(n * (2 * below + at - at**2))

    z, mean = norm.ppf(0.975), (b - c) / n
    return brentq(lambda at: score(at) - z, -1 + 1e-6, mean), brentq(lambda at: score(at) + z, mean, 1 - 1e-6)


@pytest.mark.parametrize(("b", "c", "n"), [(5, 2, 20), (1, 0, 12), (9, 3, 31), (0, 6, 34), (30, 10, 200)])
def test_differences_of_paired_shares_are_tangos(b, c, n):
    treated = np.array([1.0] * b + [0.0] * c + [0.0] * (n - b - c))
    control = np.array([0.0] * b + [1.0] * c + [0.0] * (n - b - c))
    found = paired_difference(treated, control, resamples=10)
    assert (found.low, found.high) == pytest.approx(tango(b, c, n), abs=2e-4)
    # As McNemar's test: the interval leaves 0 out exactly where (b - c)² / (b + c) is beyond its quantile.
    assert (found.low > 0 or found.high < 0) == ((b - c) ** 2 / (b + c) > norm.ppf(0.975) ** 2)


def test_an_all_zero_difference_has_width_and_is_no_null_result_by_itself():
    found = paired_difference(np.zeros(31), np.zeros(31))
    z2 = norm.ppf(0.975) ** 2
    assert (found.low, found.high) == pytest.approx((-z2 / (31 + z2), z2 / (31 + z2)))
    made = draft("t", "t.t", About(), family="t", estimate=0.0, interval=(found.low, found.high), p=found.p, n=31)
    assert corrected([made])[0].verdict == "inconclusive"


def test_constant_values_have_the_width_of_a_share_in_their_unit():
    rng = np.random.default_rng(0)
    arm = rng.uniform(0.2, 0.7, size=31)
    same = paired_difference(arm, arm)
    z2 = norm.ppf(0.975) ** 2
    assert same.high == pytest.approx(np.ptp(arm) * z2 / (31 + z2))
    assert same.low == -same.high
    moved = paired_difference(arm + 0.1, arm)
    assert moved.low < 0.1 < moved.high
    five = mean_interval(np.full(20, 5.0))
    assert five.low < 5.0 == five.estimate <= five.high
    # Where both arms are one constant that is no share, there is no unit to say a width in, and the judge knows no verdict.
    nothing = paired_difference(np.full(20, 7.0), np.full(20, 7.0))
    assert (nothing.low, nothing.high) == (0.0, 0.0)
    assert judge_of(nothing) == "inconclusive"


def judge_of(found):
    made = draft(
        "t", "t.t", About(), family="t", estimate=found.estimate, interval=(found.low, found.high), p=found.p, n=20
    )
    (claim,) = corrected([made])
    assert judge(claim.figures).verdict == claim.verdict
    return claim.verdict


def test_symmetric_values_have_the_t_interval_skewed_ones_reach_further_where_the_tail_is():
    values = np.random.default_rng(1).normal(size=15)
    symmetric = np.concatenate([values, -values])
    ends = ttest_1samp(symmetric, 0).confidence_interval(0.95)
    found = mean_interval(symmetric)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=1e-6)
    skewed = np.exp(np.random.default_rng(2).normal(size=20))
    ends, found = ttest_1samp(skewed, 0).confidence_interval(0.95), mean_interval(skewed)
    assert found.low == pytest.approx(ends.low)
    assert found.high > ends.high
    mirrored = mean_interval(-skewed)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_agrees_with_scipys_bca_on_a_large_sample():
    values = np.random.default_rng(1).exponential(size=2000)
    theirs = bootstrap((values,), np.mean, method="BCa", n_resamples=10_000, rng=2).confidence_interval
    ours, width = mean_interval(values), theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.05 * width
    assert abs(ours.high - theirs.high) < 0.05 * width


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.floats(0.01, 100), st.floats(-100, 100))
def test_the_interval_holds_the_mean_and_moves_with_the_unit(values, factor, shift):
    x = np.array(values)
    e = mean_interval(x)
    assert e.low <= e.estimate + 1e-9 * abs(e.estimate) and e.estimate <= e.high + 1e-9 * abs(e.estimate)  # noqa: PT018
    spread = np.ptp(x)
    if spread > 1e-3 * (1 + np.abs(x).max()) and np.abs(x).max() > 2:  # neither shares nor constant
        moved = mean_interval(factor * x)
        if np.abs(factor * x).max() > 2:
            assert moved.low == pytest.approx(factor * e.low, abs=1e-6 * factor * spread)
            assert moved.high == pytest.approx(factor * e.high, abs=1e-6 * factor * spread)


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.data())
def test_shares_stay_in_their_range_and_always_have_width(n, k, data):
    a, b = (np.array(data.draw(st.lists(st.integers(0, k), min_size=n, max_size=n))) / k for _ in range(2))
    share = mean_interval(a)
    assert 0 <= share.low <= share.estimate + 1e-12
    assert share.estimate - 1e-12 <= share.high <= 1
    assert share.high > share.low
    d = paired_difference(a, b, resamples=10)
    assert -1 <= d.low <= d.estimate + 1e-12
    assert d.estimate - 1e-12 <= d.high <= 1
    assert d.high > d.low
    other = paired_difference(b, a, resamples=10)
    assert (other.low, other.high) == pytest.approx((-d.high, -d.low), abs=1e-6)


def test_every_condition_has_the_method_of_its_own_values():
    rng = np.random.default_rng(3)
    columns = [
        rng.normal(size=20),
        rng.integers(0, 2, 20),
        rng.integers(-1, 2, 20),
        np.full(20, 3.0),
        rng.integers(0, 4, 20) / 3,
    ]
    together = mean_intervals(np.stack(columns, axis=1))
    for column, found in zip(columns, together, strict=True):
        assert found == pytest.approx(mean_interval(column))


def test_bad_values_are_named():
    for bad in ([], [1.0, float("nan")], [[[1.0]]], [1.0]):
        with pytest.raises(EmotionCircuitsError):
            mean_intervals(bad)
    with pytest.raises(EmotionCircuitsError, match="confidence"):
        mean_interval([1.0, 2.0], confidence=95)
    with pytest.raises(EmotionCircuitsError, match="plural"):
        mean_interval([[1.0, 2.0]] * 3)
    with pytest.raises(EmotionCircuitsError, match="at least 1 trial"):
        rate(0, 0)


# -- coverage ----------------------------------------------------------------------------------------------------------

CONTINUOUS = ("normal", "heavy tails", "exponential", "lognormal", "mostly zero", "clusters")
LEAST = {
    # What no distribution-free interval reaches: the tail that decides is not in so few values.
    ("lognormal", 8): 0.90, ("lognormal", 12): 0.915, ("lognormal", 20): 0.92, ("lognormal", 34): 0.925, ("mostly zero", 8): 0.86,
}  # fmt: skip


@pytest.mark.parametrize("n", [8, 34])
def test_coverage_of_the_interval(n):
    for (name, size), found in interval_coverage((n,), repeats=400).items():
        assert found.high >= LEAST.get((name, size), 0.93), (name, size, found)
        if name in ("normal", "heavy tails", "clusters"):
            assert found.low <= 0.97, (name, size, found)


@pytest.mark.slow
def test_coverage_in_full():
    for (name, n), found in interval_coverage(repeats=4000).items():
        assert found.rate >= LEAST.get((name, n), 0.93) - 0.005, (name, n, found)
        if name in CONTINUOUS:
            assert found.rate <= 0.985, (name, n, found)
