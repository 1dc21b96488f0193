from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import permutation_test

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import (
    bootstrap_means,
    cluster_means,
    mean_interval,
    paired_difference,
    paired_differences,
    permutation_p,
    permutation_ps,
)


def test_ten_thousand_resamples_of_200_prompts_and_100_conditions_within_ten_seconds() -> None:
    values = np.random.default_rng(0).normal(size=(200, 100))
    started = time.process_time()
    draws = bootstrap_means(values, resamples=10_000)
    assert time.process_time() - started < 10
    assert draws.shape == (10_000, 100)
    # The bootstrap's standard deviation of a mean is known: population sd / sqrt(n).
    np.testing.assert_allclose(draws.std(axis=0), values.std(axis=0) / np.sqrt(200), rtol=0.05)
    np.testing.assert_allclose(draws.mean(axis=0), values.mean(axis=0), atol=5e-3)


def test_resamples_are_means_of_drawn_units() -> None:
    # With values 4^i the mean of a resample reveals its counts exactly.
    values = 4.0 ** np.arange(4)
    draws = bootstrap_means(values, resamples=500, seed=3)[:, 0] * 4
    for total in np.round(draws, 3):
        whole = round(float(total))
        assert abs(whole - total) < 1e-2
        found = [sum(c) for c in _counts(whole)]
        assert 4 in found


def _counts(total: int) -> list[tuple[int, int, int, int]]:
    r = range(5)
    return [(a, b, c, d) for a in r for b in r for c in r for d in r if a + 4 * b + 16 * c + 64 * d == total]


def test_clusters_count_once_however_many_samples_they_have() -> None:
    values = [1.0, 1.0, 1.0, 0.0, 2.0]
    means, names = cluster_means(values, ["a", "a", "a", "b", "c"])
    assert names == ["a", "b", "c"]
    assert means[:, 0].tolist() == [1.0, 0.0, 2.0]
    e = mean_interval(values, clusters=["a", "a", "a", "b", "c"])
    assert e.n == 3
    assert e.estimate == 1.0


def test_copies_of_a_prompt_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(5).normal(size=30)
    once = mean_interval(values)
    copied = mean_interval(np.repeat(values, 10), clusters=np.repeat(np.arange(30), 10).tolist())
    assert copied == pytest.approx(once)


def test_large_offsets_lose_no_precision() -> None:
    values = np.random.default_rng(6).normal(size=50)
    assert mean_interval(values + 1e6).high - 1e6 == pytest.approx(mean_interval(values).high, abs=1e-5)


def test_exact_sign_flip_equals_scipy() -> None:
    x = np.random.default_rng(7).normal(0.5, 1, size=10)
    theirs = permutation_test(
        (x, np.zeros(10)), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", vectorized=True
    ).pvalue
    assert permutation_p(x) == pytest.approx(theirs)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
def test_monte_carlo_agrees_with_exact(alternative: str) -> None:
    x = np.random.default_rng(8).normal(0.4, 1, size=13)
    exact = permutation_p(x, resamples=2**13, alternative=alternative)  # type: ignore[arg-type]
    sampled = permutation_p(x, resamples=8000, alternative=alternative)  # type: ignore[arg-type]
    assert sampled == pytest.approx(exact, abs=0.015)


def test_p_is_never_zero_and_no_difference_gives_one() -> None:
    assert permutation_p(np.full(60, 3.0), resamples=999) == pytest.approx(1 / 1000)
    assert permutation_p(np.zeros(40)) == 1.0


def test_null_p_values_are_uniform() -> None:
    ps = permutation_ps(np.random.default_rng(9).normal(size=(30, 2000)), resamples=2000)
    for level in (0.05, 0.2, 0.5):
        assert abs((ps <= level).mean() - level) < 0.025


def test_paired_difference_reports_both_arms_and_the_wrong_way_share() -> None:
    control = np.zeros(20)
    treated = np.array([1.0] * 15 + [-1.0] * 5)
    d = paired_difference(treated, control)
    assert d.estimate == 0.5
    assert d.treated == 0.5
    assert d.control == 0.0
    assert d.wrong_way == 0.25
    assert d.low < 0.5 < d.high
    down = paired_difference(treated, control, direction=-1)
    assert down.wrong_way == 0.75


def test_pairing_removes_what_prompts_share() -> None:
    rng = np.random.default_rng(11)
    prompt = rng.normal(0, 10, size=40)
    d = paired_difference(prompt + rng.normal(0.5, 0.3, 40), prompt)
    assert d.low > 0
    assert d.p < 0.01


def test_many_conditions_against_one_control() -> None:
    rng = np.random.default_rng(12)
    control = rng.normal(size=24)
    treated = np.stack([control + 1, control], axis=1)
    up, same = paired_differences(treated, control)
    assert up.estimate == pytest.approx(1)
    assert up.dz > 100
    assert same.p == 1.0
    assert same.dz == 0.0


def test_unequal_arms_are_refused() -> None:
    with pytest.raises(EmotionCircuitsError, match="same rows"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
