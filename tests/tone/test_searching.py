"""The search for a dose, without a model: it stays in its range, ends, finds what there is, and says reached of nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_circuits.tone.goals import Goal, Wish
from emotion_circuits.tone.searching import TOLERANCE, Score, gap, search, searching, within

share = st.floats(0, 1)
figure = st.one_of(share, st.just(math.nan))
scores = st.builds(
    Score,
    st.fixed_dictionaries({"joy": figure, "fear": figure}),
    st.sampled_from(["joy", "fear", "neutral"]),
    st.one_of(st.floats(0.2, 4), st.just(math.nan), st.just(math.inf)),
    st.one_of(st.none(), st.floats(-1, 1)),
)
wishes = st.builds(Wish, st.just("joy"), st.booleans(), share, st.sampled_from(["probability", "share"]))
others = st.lists(st.builds(Wish, st.just("fear"), st.booleans(), share), max_size=1)
goals = st.builds(
    lambda a, b, f, s: Goal((a, *b), f, s), wishes, others, st.floats(1, 3), st.sampled_from([0.0, 0.4, 0.9])
)


@st.composite
def ranges(draw):
    low, high = sorted((draw(st.floats(0, 2)), draw(st.floats(0, 2))))
    return draw(st.sampled_from([(0.0, high), (low, high), (high, high), (0.0, 0.0)]))


@given(
    st.data(), goals, ranges(), st.lists(st.floats(-3, 3), max_size=3), st.integers(1, 12), st.booleans(), st.booleans()
)
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_it_stays_in_its_range_ends_and_gives_the_best_it_saw(
    data, goal, span, first, tries, redraws, bare
):
    low, high = span
    n = data.draw(st.integers(1, 3))
    asked, seen = [], []

    def read(texts):
        found = data.draw(st.lists(scores, min_size=n, max_size=n))
        seen.extend(found)
        return found

    def write(ask):
        asked.append(ask)
        return ["text"] * n

    made = searching(goal, lambda _: first, low=low, high=high, tries=tries, redraws=redraws, bare=bare)
    found = search(made, write, read)
    assert asked[0].plain
    assert all(low <= ask.dose <= high and not ask.plain for ask in asked[1:])
    assert len(asked) == len(found.tries) <= tries
    texts = [(ask.dose, ask.draw) for ask in asked[1:]]
    assert len(set(texts)) == len(texts), "no text is asked for twice"
    if not redraws:
        assert all(ask.draw == 0 for ask in asked)
    # The best seen is given, and it is called reached where it is, and only there.
    met = [s for s in seen if within(goal, s) and gap(goal, s) == 0]
    if found.reached:
        assert within(goal, found.score)
        assert gap(goal, found.score) == 0
        assert found.best == len(found.tries) - 1
    elif all(wish.of == "probability" for wish in goal.wishes):
        assert not met
    if any(within(goal, s) for s in seen):
        assert within(goal, found.score)
        if not found.reached:
            least = min(
                (gap(goal, s) for s in seen if within(goal, s) and not math.isnan(gap(goal, s))), default=math.nan
            )
            assert math.isnan(least) or gap(goal, found.score) == least
    assert [t.then for t in found.tries].count("stop") == 1


@given(
    st.floats(0.05, 0.95), st.floats(1.3 * TOLERANCE, 0.5), st.floats(0, 1), st.floats(0.3, 4.0), st.booleans(),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_of_a_response_that_rises_the_dose_is_found_within_the_tolerance(threshold, room, start, high, redraws):
    least, most = threshold * high, threshold * high + room
    goal = Goal((Wish("joy", True, 0.5),), fluency=2, similarity=0)

    def read(doses):
        return [Score({"joy": 0.5 + (d - least)}, "joy", 2 + (d - most) if d else 1.0) for d in doses]

    tries = 4 + math.ceil(math.log2(high / TOLERANCE))
    made = searching(goal, lambda _: [start], high=high, tries=tries, redraws=redraws)
    found = search(made, lambda ask: [ask.dose], read)
    if least <= high:
        assert found.reached
        assert least - 1e-9 <= found.tries[found.best].ask.dose <= most + 1e-9


@given(st.floats(0.01, 0.49), st.floats(0.0, 1.0), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_target_that_no_dose_reaches_is_said_as_such(top, start, redraws):
    goal = Goal((Wish("joy", True, 0.5),), similarity=0)
    made = searching(goal, lambda _: [start], tries=5, redraws=redraws)
    found = search(made, lambda ask: [ask.dose], lambda doses: [Score({"joy": d * top}, "joy", 1.0) for d in doses])
    assert not found.reached
    assert found.stopped == ("tries" if redraws else "range")
    assert max(tried.ask.dose for tried in found.tries) == 1.0, "it went as far as it may before it gave up"


def test_bounds_that_come_before_the_target_are_said_as_such():
    goal = Goal((Wish("joy", True, 0.9),), fluency=1.5, similarity=0)

    def read(doses):
        return [Score({"joy": d}, "joy", 1 + d) for d in doses]

    found = search(searching(goal, lambda _: [1.0], tries=20, redraws=False), lambda ask: [ask.dose], read)
    assert (found.reached, found.stopped) == (False, "bound")
    assert 0.5 - TOLERANCE <= found.score.values["joy"] <= 0.5
    assert [t.then for t in found.tries[:3]] == ["stronger", "between", "between"]


def test_an_unsteered_text_that_does_is_given_as_it_is():
    found = search(
        searching(Goal((Wish("joy", True, 0.5),)), lambda _: [0.7]), lambda _: ["a", "b"],
        lambda _: [Score({"joy": p}, "joy", 1.0, 1.0) for p in (0.2, 0.6)],
    )  # fmt: skip
    assert (found.reached, found.best, found.score.values["joy"]) == (True, 0, 0.6)


def test_a_share_is_of_the_texts_of_one_dose_and_the_text_is_one_of_them():
    goal = Goal((Wish("joy", True, 0.5, "share"),), similarity=0)

    def read(doses):
        return [
            Score({"joy": 0.9 if i / 4 < d else 0.4}, "joy" if i / 4 < d else "neutral", 1.0)
            for i, d in enumerate(doses)
        ]

    found = search(searching(goal, lambda _: [0.2]), lambda ask: [ask.dose] * 4, read)
    assert [(t.ask.dose, t.verdict) for t in found.tries] == [(0.0, "weak"), (0.2, "weak"), (1.0, "reached")]
    assert found.score.label == "joy"


def test_words_alone_that_break_a_bound_are_not_steered_further():
    goal = Goal((Wish("joy", True, 0.9),), similarity=0.5)
    doses = []

    def read(texts):
        doses.extend(texts)
        return [Score({"joy": 0.3}, "neutral", 1.0, 1.0 if len(doses) == 1 else 0.2) for _ in texts]

    found = search(searching(goal, lambda _: [0.0, 0.6], tries=5, bare=False), lambda ask: [ask.dose], read)
    assert doses == [0.0] * 5
    assert found.best == 0


@pytest.mark.parametrize(("more", "best"), [(True, 0.5), (False, 0.2)])
def test_of_several_texts_the_one_nearest_to_the_wish_counts(more, best):
    goal = Goal((Wish("joy", more, 0.9 if more else 0.1),), similarity=0)
    found = search(
        searching(goal, lambda _: [], high=0.0, tries=1), lambda _: [0, 1, 2],
        lambda _: [Score({"joy": p}, "", r) for p, r in ((0.2, 1.0), (0.5, 1.2), (0.95 if more else 0.0, 9.0))],
    )  # fmt: skip
    assert found.score.values["joy"] == best
