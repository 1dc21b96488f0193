"""Drafts become claims: one q per declared family, p for the claimed side, and verdicts that never contradict their figures."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import About, corrected, draft, interval_p, rank_p, rank_ps, together
from emotion_circuits.statistics.claims import ALPHA


def some(id, p, *, family="one", **figures):
    base = dict(estimate=0.3, interval=(0.1, 0.5), n=20, p=p)
    return draft(id, "test.some", About(), family=family, **{**base, **figures})


def test_each_family_is_corrected_by_itself():
    ps = [0.001, 0.02, 0.04, 0.3]
    found = corrected([*(some(str(i), p) for i, p in enumerate(ps)), some("alone", 0.04, family="other")])
    np.testing.assert_allclose([c.figures.q for c in found[:4]], multipletests(ps, method="fdr_bh")[1])
    assert [c.figures.tests for c in found] == [4, 4, 4, 4, 1]
    assert [c.figures.family for c in found] == ["one"] * 4 + ["other"]
    assert found[4].figures.q == found[4].figures.p == 0.04


def test_what_was_not_computed_is_in_its_family_but_no_test_of_it():
    first, second = corrected([some("a", 0.04), some("b", None, interval=None)])
    assert (second.verdict, second.reason, second.figures.family) == ("inconclusive", "uncomputed", "one")
    assert (first.figures.q, first.figures.tests) == (0.04, 1)


def test_a_draft_may_rest_on_another_one():
    whole = some("whole", 0.2)
    part = some("part", 0.001, given="whole")
    assert [c.reason for c in corrected([part, whole])] == ["given", "level"]
    with pytest.raises(EmotionCircuitsError, match="'whole', which is not among"):
        corrected([part])
    with pytest.raises(EmotionCircuitsError, match="rests on itself: a → b → a"):
        corrected([some("a", 0.1, given="b"), some("b", 0.1, given="a")])


def test_incomplete_drafts_are_refused():
    with pytest.raises(EmotionCircuitsError, match="no p: test it"):
        some("a", None)
    with pytest.raises(EmotionCircuitsError, match="name the family"):
        some("a", 0.1, family=" ")
    with pytest.raises(EmotionCircuitsError, match="give no q"):
        some("a", 0.1, q=0.1)
    with pytest.raises(EmotionCircuitsError, match="two claims are called 'a'"):
        corrected([some("a", 0.1), some("b", 0.1), some("a", 0.2)])
    with pytest.raises(EmotionCircuitsError, match="estimate"):
        some("a", 0.1, estimate=float("nan"))


@pytest.mark.parametrize("side", ["greater", "less", "different"])
def test_a_figure_at_chance_speaks_for_no_side(side):
    """Whatever its p says: an interval that ends at chance would contradict a small q."""
    (claim,) = corrected([some("a", 0.0, estimate=0.0, interval=(0.0, 0.5), n=8, side=side, smallest=None)])
    assert claim.figures.p == claim.figures.q == 1.0
    assert claim.verdict != "supported"


@st.composite
def drafts(draw):
    number = st.floats(-1, 1)
    found = []
    for index in range(draw(st.integers(1, 6))):
        low = draw(number)
        high = low + draw(st.floats(0, 0.5))
        found.append(
            some(
                str(index),
                draw(st.floats(0, 1)),
                family=draw(st.sampled_from(["one", "two"])),
                estimate=low + draw(st.floats(0, 1)) * (high - low),
                interval=(low, high),
                chance=draw(st.none() | st.floats(-0.5, 0.5)),
                null=draw(st.none() | st.just((-0.2, 0.2))),
                n=draw(st.integers(4, 30)),
                side=draw(st.sampled_from(["greater", "less", "different"])),
                smallest=draw(st.none() | st.floats(0.01, 0.5)),
                reach=draw(st.booleans()),
                given="0" if index and draw(st.booleans()) else None,
            )
        )
    return found


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(drafts())
@example([some("0", 0.0, estimate=0.0, interval=(0.0, 0.5), n=8, side="less", smallest=None)])
def test_no_verdict_contradicts_its_figures(made):
    for claim in corrected(made):
        f = claim.figures
        low, high, zero = *f.interval, f.zero
        assert f.q >= f.p
        assert f.q > ALPHA or f.towards >= 0
        beyond = (f.side != "less" and low > zero) or (f.side != "greater" and high < zero)
        if claim.verdict == "supported":
            assert beyond
            assert f.q <= ALPHA
            assert f.n >= 8
        if claim.verdict == "not supported":
            inside = f.smallest is not None and (
                (f.side == "less" or high < zero + f.smallest) and (f.side == "greater" or low > zero - f.smallest)
            )
            other = (f.side == "greater" and high <= zero) or (f.side == "less" and low >= zero)
            assert {"smallest": inside, "opposite": other and f.q > ALPHA, "given": f.q <= ALPHA}[claim.reason]
        if f.q <= ALPHA and beyond and f.n >= 8:
            assert claim.reason in ("above", "below", "given", "size", "smallest")


def test_p_of_the_claimed_side():
    two_sided = 0.01
    assert some("a", two_sided).figures["p"] == two_sided
    assert some("a", two_sided, estimate=-0.3, interval=(-0.5, -0.1)).figures["p"] == 1 - two_sided / 2
    assert some("a", two_sided, side="less").figures["p"] == 1 - two_sided / 2
    assert some("a", two_sided, estimate=-0.3, interval=(-0.5, -0.1), side="different").figures["p"] == two_sided
    assert some("a", 0.9, side="less").figures["p"] == 0.9


# -- p-values of nulls and of intervals --------------------------------------------------------------------------------


def test_a_rank_counts_the_figure_itself():
    null = np.arange(99.0)
    assert rank_p(200, null) == 0.01
    assert rank_p(-200, null) == 1.0
    assert rank_p(-200, null, side="less") == 0.01
    assert rank_p(98, null) == 0.02  # ties count
    assert rank_p(200, null, side="different") == rank_p(-200, null, side="different") == 0.01


@pytest.mark.parametrize("side", ["greater", "less", "different"])
@pytest.mark.parametrize("pooled", [False, True])
def test_ranks_of_exchangeable_figures_are_uniform(side, pooled):
    rng = np.random.default_rng(3)
    scale, place = rng.uniform(0.1, 10, 4000), rng.normal(0, 5, 4000)
    drawn = place + scale * rng.normal(size=(200, 4000))
    ps = rank_ps(drawn[0], drawn[1:], side=side, pooled=pooled)
    for level in (0.01, 0.05, 0.5):
        assert abs((ps <= level).mean() - level) < 4 * np.sqrt(level / 4000) + 0.004
    assert ps.min() < 1e-3 or not pooled


def test_a_null_without_spread():
    assert rank_ps([0.0, 1.0], np.zeros((9, 2)), pooled=True).tolist() == [1.0, 1 / 19]
    assert rank_ps([0.0, 1.0], np.zeros((9, 2))).tolist() == [1.0, 0.1]
    with pytest.raises(EmotionCircuitsError, match="2 figures, but the null has 3"):
        rank_ps([0.0, 1.0], np.zeros((9, 3)))


@given(st.floats(-1, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(3, 300))
def test_p_of_an_interval_agrees_with_the_interval(estimate, below, above, n):
    low, high = estimate - below, estimate + above
    p = interval_p(estimate, (low, high), n=n)
    if min(abs(low), abs(high)) > 1e-9:
        assert (p <= 0.05) == (low > 0 or high < 0)


def test_p_of_a_t_interval_is_that_of_the_t_test():
    from scipy.stats import ttest_1samp

    values = np.random.default_rng(5).normal(0.5, 1, 25)
    test = ttest_1samp(values, 0)
    ends = test.confidence_interval(0.95)
    assert interval_p(values.mean(), (ends.low, ends.high), n=25) == pytest.approx(test.pvalue)
    # An estimate outside its interval (a biased bootstrap): the interval decides.
    assert interval_p(0.9, (0.1, 0.5), n=25) <= 0.05 < interval_p(0.9, (-0.1, 0.5), n=25)


def test_claims_of_several_pieces_of_work_are_corrected_together():
    """One family of five: what was alone is one of five now, and none becomes supported by company."""
    alone = [
        corrected([draft(f"a{i}", "test.a", About(), family="test.a", estimate=0.3, interval=(0.01, 0.6), p=p, n=40)])[
            0
        ]
        for i, p in enumerate((0.03, 0.2, 0.4, 0.6, 0.9))
    ]
    assert [claim.verdict for claim in alone].count("supported") == 1
    found = together(alone)
    assert [claim.id for claim in found] == [claim.id for claim in alone]
    assert found[0].figures.q == pytest.approx(0.15)
    assert found[0].figures.tests == 5
    assert {claim.verdict for claim in found} == {"inconclusive"}
    assert together(found) == found
    strong = [claim.model_copy(update={"figures": claim.figures.model_copy(update={"p": 0.001})}) for claim in alone]
    assert all(a.figures.q >= b.figures.q for a, b in zip(together(strong), alone, strict=True))
