"""Power of the verdict: what is simulated is what the judge does, and it needs more than the test alone."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp
from statsmodels.stats.multitest import multipletests

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import (
    About,
    Verdicts,
    corrected,
    draft,
    mean_interval,
    power,
    rank_p,
    required_n,
    verdict_effect,
    verdict_n,
    verdict_power,
)
from emotion_circuits.statistics.verdict_power import _corrected


def test_families_are_corrected_as_statsmodels_does():
    ps = np.random.default_rng(0).uniform(size=(50, 7)) ** 2
    ps[0] = 0.5
    for row, q in zip(ps, _corrected(ps), strict=True):
        np.testing.assert_allclose(q, multipletests(row, method="fdr_bh")[1])


def test_a_claim_by_itself_has_nearly_the_power_of_its_test():
    for d, n in ((0.5, 34), (0.35, 60), (0.2, 200)):
        assert verdict_power(d, n).rate == pytest.approx(power(d, n), abs=0.05)


@pytest.mark.parametrize(
    ("family", "n"),
    [(Verdicts(6, 2, 99, 0.0), 34), (Verdicts(12, 3, 199, 0.1), 40), (Verdicts(1, 1, 20, 0.2), 34)],
)
def test_it_is_what_drafts_and_the_judge_give(family, n):
    """The same families made one by one of normal data, drafted, corrected and judged."""
    rng, supported, families = np.random.default_rng(5), 0, 250

    def one(index, effect):
        x = rng.normal(effect, 1, n)
        shown = rng.normal(0, family.null_spread, family.draws) * bool(effect) + rng.normal(0, n**-0.5, family.draws)
        found = mean_interval(x)
        # The paired test of a claim without an effect is of its own draw; only its share of low p-values matters here.
        p = max(float(ttest_1samp(x, 0).pvalue), rank_p(found.estimate, shown))
        return draft(
            str(index), "t.t", About(), family="t", estimate=found.estimate, interval=(found.low, found.high), p=p, n=n
        )

    for _ in range(families):
        claims = corrected([one(i, 0.6 if i < family.true else 0.0) for i in range(family.tests)])
        supported += sum(c.verdict == "supported" for c in claims[: family.true])
    trials = families * family.true
    expected = verdict_power(0.6, n, family).rate
    assert supported / trials == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / trials) + 0.03)


def test_no_effect_is_hardly_ever_supported():
    for family in (Verdicts(), Verdicts(1, 1, 99), Verdicts(4, 4, 99, 0.2)):
        assert verdict_power(0.0, 34, family).rate <= 0.035  # one side of a two-sided level


def test_what_a_verdict_asks_for_costs_power():
    alone = verdict_power(0.5, 34).rate
    differing = verdict_power(0.5, 34, Verdicts(1, 1, 99, 0.2)).rate
    family = verdict_power(0.5, 34, Verdicts(12, 3, 199)).rate
    assert alone > differing + 0.05
    assert alone > family + 0.2
    assert verdict_power(0.5, 34, Verdicts(1, 1, 19, 0.2)).rate < differing  # the best of few is a coarse reference
    assert verdict_power(0.5, 65, Verdicts(12, 3, 199)).rate > 0.8 > family


def test_the_number_of_prompts_is_the_smallest_that_suffices():
    for d, family in ((0.5, Verdicts()), (0.5, Verdicts(12, 3, 199)), (0.8, Verdicts(1, 1, 99, 0.2))):
        n = verdict_n(d, family)
        assert n >= min(8, required_n(d))
        assert verdict_power(d, n, family).rate >= 0.8
        assert n == 8 or verdict_power(d, n - max(1, n // 50) - 1, family).rate < 0.82
    assert verdict_effect(verdict_n(0.5)) == pytest.approx(0.5, abs=0.03)


def test_plans_that_cannot_be_are_refused():
    with pytest.raises(EmotionCircuitsError, match="at least 239 draws"):
        verdict_power(3.0, 100, Verdicts(12, 1, 20))
    with pytest.raises(EmotionCircuitsError, match="4 cannot have an effect"):
        verdict_n(0.5, Verdicts(3, 4))
    with pytest.raises(EmotionCircuitsError, match="stand out among them"):
        verdict_n(0.2, Verdicts(1, 1, 99, 0.5))
    for bad in (0.0, -0.5):
        with pytest.raises(EmotionCircuitsError, match="claimed side"):
            verdict_n(bad)
    with pytest.raises(EmotionCircuitsError, match="finite"):
        verdict_power(float("nan"), 20)
    with pytest.raises(EmotionCircuitsError, match="at least 2"):
        verdict_power(0.5, 1)
