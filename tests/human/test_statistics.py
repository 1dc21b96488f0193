"""Agreement, strengths and intervals: known answers, other programs', and simulated truth."""

import numpy as np
import pytest
from scipy.special import expit

from emotion_circuits.human.against_judges import icc
from emotion_circuits.human.agreeing import alpha, alpha_with_intervals
from emotion_circuits.human.preferring import bradley_terry, strengths
from emotion_circuits.human.two_ways import difference, mean

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section E: 4 observers, 12 units.
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
) - 1  # fmt: skip


@pytest.mark.parametrize(("scale", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_the_published_one(scale, value):
    assert alpha(PUBLISHED, scale) == pytest.approx(value, abs=5e-4)


def test_alpha_is_one_in_agreement_and_about_zero_by_chance():
    rng = np.random.default_rng(0)
    same = np.tile(rng.integers(0, 5, 40), (3, 1))
    assert alpha(same, "ordinal") == 1
    assert abs(alpha(rng.integers(0, 5, (6, 400)), "ordinal")) < 0.05
    assert np.isnan(alpha(np.zeros((3, 5), dtype=int), "nominal"))


def test_a_rater_drawn_twice_is_no_second_opinion():
    """Resampled raters keep the figure where it is; counting a rater's agreement with themselves would raise it."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 7, 60)
    table = np.clip(truth + rng.integers(-3, 4, (12, 60)), 0, 6)
    table[rng.random(table.shape) < 0.5] = -1
    found = alpha_with_intervals(table, "ordinal")
    for low, high in (found.by_text, found.by_rater):
        assert low < found.alpha < high
        assert (low + high) / 2 == pytest.approx(found.alpha, abs=0.05)


def test_alpha_of_hardly_any_ratings_is_no_figure():
    found = alpha_with_intervals(np.array([[0, 1, -1], [-1, -1, 1]]), "ordinal")
    assert np.isnan(found.alpha)
    assert np.isnan(found.by_text).all()


def test_strengths_are_those_of_evalica():
    evalica = pytest.importorskip("evalica", reason="evalica is not installed; it comes with the extra 'oracles'")
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 4, 400), rng.integers(0, 4, 400)
    first, second = first[first != second], second[first != second]
    score = rng.choice([0, 0.5, 1], len(first), p=[0.3, 0.2, 0.5])
    wins = np.zeros((4, 4))
    np.add.at(wins, (first, second), score)
    np.add.at(wins, (second, first), 1 - score)
    kinds = {1: evalica.Winner.X, 0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
    found = evalica.bradley_terry(
        list(map(str, first)), list(map(str, second)), [kinds[s] for s in score], tolerance=1e-12, limit=10000
    )
    logs = np.log([found.scores[str(i)] for i in range(4)])
    assert bradley_terry(wins) == pytest.approx(logs - logs[0], abs=1e-4)


def test_strengths_are_found_again_and_one_that_always_won_is_finite():
    rng = np.random.default_rng(3)
    truth = np.array([0, 1.0, -0.5])
    first, second = rng.integers(0, 3, (2, 6000))
    first, second = first[first != second], second[first != second]
    score = (rng.random(len(first)) < expit(truth[first] - truth[second])).astype(float)
    groups = np.arange(len(first))
    found = strengths(first, second, score, groups % 60, groups % 53, 3)
    for row, at in zip(found[1:], truth[1:], strict=True):
        assert row.low < at < row.high
        assert row.estimate == pytest.approx(at, abs=0.15)
    always = strengths(np.ones(30, int), np.zeros(30, int), np.ones(30), np.arange(30) % 10, np.arange(30) % 8, 2)
    assert 2 < always[1].estimate < 6
    assert strengths(np.array([0]), np.array([1]), np.ones(1), np.zeros(1, int), np.zeros(1, int), 3) is None


def test_the_two_way_interval_is_what_the_two_way_bootstrap_tends_to():
    """Raters, openings and single ratings resampled: the closed form has the variance of the three bootstraps together."""
    rng = np.random.default_rng(4)
    raters, openings = np.repeat(np.arange(20), 25), np.tile(np.arange(25), 20)
    treated = (raters + openings) % 2
    y = rng.normal(0, 1, 20)[raters] * treated + rng.normal(0, 0.7, 25)[openings] * treated + rng.normal(0, 1, 500)

    def drawn(groups):
        n = groups.max() + 1
        weights = rng.multinomial(n, np.full(n, 1 / n), size=4000)[:, groups]
        on, off = weights * treated, weights * (1 - treated)
        return np.var((on @ y) / on.sum(axis=1) - (off @ y) / off.sum(axis=1))

    variance = drawn(raters) + drawn(openings) - drawn(np.arange(500))
    found = difference(y, treated, raters, openings)
    half = (found.high - found.low) / 2
    from scipy.stats import t

    assert (half / t.ppf(0.975, 19)) ** 2 == pytest.approx(variance, rel=0.12)
    assert found.estimate == pytest.approx(y[treated == 1].mean() - y[treated == 0].mean())


def test_ratings_that_are_all_the_same_have_an_interval():
    who, what = np.arange(40) % 8, np.arange(40) % 10
    found = mean(np.zeros(40), who, what)
    assert found.low < 0 < found.high < 0.4
    both = difference(np.zeros(40), np.arange(40) % 2, who, what)
    assert both.low < 0 < both.high
    assert 0.9 < both.p <= 1


def test_the_interval_and_the_p_value_say_the_same():
    rng = np.random.default_rng(5)
    for shift in np.linspace(0, 1, 12):
        y = rng.normal(shift, 1, 60)
        found = mean(y, np.arange(60) % 12, np.arange(60) % 15)
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05)


def test_icc_is_one_for_equal_measures_and_falls_with_bias_and_noise():
    rng = np.random.default_rng(6)
    x = rng.random(300)
    once = np.ones((1, 300))
    assert icc(x, x, once)[0] == pytest.approx(1)
    assert icc(x, np.clip(x + 0.3, 0, 2), once)[0] < 0.75
    assert abs(icc(x, rng.permutation(x), once)[0]) < 0.15
    assert np.isnan(icc(np.zeros(300), np.zeros(300), once)[0])
