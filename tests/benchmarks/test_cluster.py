"""The simulated cluster gives out parts as an engine does: none is lost, none waits while a card is idle."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from bench_cluster import Cluster, simulate, whole

PIECES = st.lists(st.floats(0.5, 500), min_size=1, max_size=4)
STUDIES = st.lists(st.lists(st.lists(PIECES, min_size=0, max_size=5), min_size=1, max_size=4), min_size=1, max_size=6)


def total(studies):
    return sum(part for study in studies for station in study for piece in station for part in piece)


@given(STUDIES, st.integers(1, 20))
@settings(deadline=None)
def test_time_lies_between_what_must_be_and_what_greedy_scheduling_may_take(studies, cards):
    found = simulate(studies, Cluster(cards, load=0.0))
    if not total(studies):
        assert found.seconds == 0
        return
    longest = max(sum(max(map(sum, station), default=0.0) for station in study) for study in studies)
    assert found.seconds >= max(total(studies) / cards, longest) - 1e-6
    # Graham's bound of list scheduling under precedence.
    assert found.seconds <= total(studies) / cards + longest + 1e-6
    assert found.lost == found.failures == 0
    assert found.busy == pytest.approx(total(studies) / found.seconds / cards)


@given(STUDIES.filter(total), st.integers(1, 20), st.integers(0, 5))
@settings(deadline=None)
def test_a_node_that_goes_costs_time_and_no_part(studies, cards, seed):
    plain = simulate(studies, Cluster(cards))
    failing = simulate(studies, Cluster(cards, hours_to_failure=0.5, down=60.0), seed=seed)
    # All parts come back, or it would not end; what was thrown away is paid for.
    assert failing.busy * failing.seconds * cards == pytest.approx(total(studies))
    assert failing.seconds >= total(studies) / cards - 1e-6
    if not failing.failures:
        assert failing == plain


def test_one_card_takes_the_sum_and_one_load():
    found = simulate([[[[10.0], [20.0]], [[5.0]]], [[[7.0]]]], Cluster(1, load=60.0))
    assert (found.seconds, found.loads) == (102.0, 1)


def test_a_study_given_out_whole_is_one_piece_of_work():
    assert whole([[[[1.0], [2.0]], [[3.0]]], [[[9.0]]]]) == [[[[9.0]]], [[[1.0, 2.0, 3.0]]]]


def test_a_node_costs_the_parts_of_its_cards_however_they_were_given_out():
    studies = [[[[60.0]] * 120]] * 8
    for given_out in (studies, whole(studies)):
        found = [simulate(given_out, Cluster(8, 1.0), seed=seed) for seed in range(30)]
        failures = sum(o.failures for o in found)
        assert failures > 30
        assert all(o.lost <= o.failures * 8 * 60 for o in found)
        # On average half a part on every card that works.
        assert 0.2 * 8 * 60 < sum(o.lost for o in found) / failures < 0.7 * 8 * 60
