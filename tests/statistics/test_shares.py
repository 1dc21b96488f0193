"""Shares of dependent units."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.statistics import About, clustered_share, corrected, draft, supported_shares


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_independent_units_get_the_exact_interval_or_a_wider_one(hits):
    found = clustered_share(hits, range(len(hits)))
    exact = binomtest(sum(hits), len(hits)).proportion_ci(0.95)
    assert found.rate == pytest.approx(sum(hits) / len(hits))
    assert found.low <= exact.low + 1e-9
    assert found.high >= exact.high - 1e-9
    assert found.low <= found.rate <= found.high


def test_claims_of_one_draw_that_go_together_widen_the_interval():
    alone = clustered_share([i % 20 == 0 for i in range(200)], range(200))
    # Ten clusters of twenty: one of them is all hits.
    together = clustered_share([i < 10 for i in range(200)], [i // 10 for i in range(200)])
    assert alone.rate == together.rate == 0.05
    assert together.high > alone.high + 0.05
    assert together.clusters == 20


def test_no_hit_counts_clusters():
    found = clustered_share([False] * 300, [i // 3 for i in range(300)])
    assert found.high == pytest.approx(binomtest(0, 100).proportion_ci(0.95).high)


def test_coverage_of_clustered_units():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        rates = rng.beta(0.6, 5.4, 60)  # mean 0.1, units of a cluster alike
        hits = rng.random((60, 5)) < rates[:, None]
        found = clustered_share(hits.ravel().tolist(), np.repeat(np.arange(60), 5).tolist())
        covered += found.low <= 0.1 <= found.high
    assert covered / 400 >= 0.93


def test_nothing_to_share():
    with pytest.raises(EmotionCircuitsError, match="cannot be given"):
        clustered_share([], [])


def claim(kind, value, p):
    made = draft(
        f"{kind}.{value}", kind, About(), family=kind, estimate=1.0, interval=(0.5, 1.5), p=p, n=30, chance=0.0
    )
    return corrected([made])[0]


def test_supported_claims_are_counted_by_kind_with_the_draws_as_clusters():
    draws = [
        [claim("a.b", "x", 0.001), claim("a.b", "y", 0.9), claim("c.d", "x", 0.9)],
        [claim("a.b", "x", 0.9), claim("a.b", "y", 0.9)],
        [],
    ]
    found = supported_shares(draws)
    assert (found["a.b"].hits, found["a.b"].n, found["a.b"].clusters) == (1, 4, 2)
    assert (found["c.d"].hits, found["c.d"].n) == (0, 1)
    assert supported_shares([]) == {}
