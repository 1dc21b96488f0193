"""What is wanted, in words and numbers, and the first dose from a run's curve."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import available_attributes, load_attribute
from emotion_circuits.tone.goals import LESS, MORE, Goal, Wish, goal_of, names_of
from emotion_circuits.tone.planning import planned

EN = load_attribute("emotion-en")
NAMES = names_of(EN, EN.values)


def said(words, *targets, names=NAMES):
    return {w.value: (w.more, w.target, w.of) for w in goal_of(words, targets, names).wishes}


UP, DOWN = (True, MORE, "probability"), (False, LESS, "probability")


@pytest.mark.parametrize(
    ("words", "wishes"),
    [
        ("more gratitude", {"gratitude": UP}),
        ("gratitude", {"gratitude": UP}),
        ("More Gratitude, less anger", {"gratitude": UP, "anger": DOWN}),
        ("more grateful, less angry, keep the meaning", {"gratitude": UP, "anger": DOWN}),
        ("more gratitude and no anger", {"gratitude": UP, "anger": DOWN}),
        ("without anger; more apology.", None),
        ("感謝を多めに、怒りを減らして", {"gratitude": UP, "anger": DOWN}),
        ("もっと謝罪、意味はそのまま", {"apology": UP}),
        (
            "gratitude >= 0.7, anger<=.2",
            {"gratitude": (True, 0.7, "probability"), "anger": (False, 0.2, "probability")},
        ),
        ("more gratitude = 1", {"gratitude": (True, 1.0, "probability")}),
        ("more joyfulness", None),
        ("much more gratitude", None),
        ("more gratitude, less gratitude", None),
        ("gratitude >= 2", None),
        ("more gratitude <= 0.2", None),
        ("gratitude >= nan", None),
        ("gratitude = -1", None),
        (",;", None),
        ("keep the meaning", None),
        ("more <b>gratitude</b>", None),
        ("more", None),
    ],
)
def test_a_goal_in_words(words, wishes):
    if wishes is None:
        with pytest.raises(EmotionCircuitsError, match=r"goal|target"):
            goal_of(words, (), NAMES)
    else:
        assert said(words) == wishes


@pytest.mark.parametrize(
    ("words", "targets", "wishes"),
    [
        (None, ["gratitude=0.8"], {"gratitude": (True, 0.8, "probability")}),
        (
            None,
            ["感謝=0.8", "anger<=0.05"],
            {"gratitude": (True, 0.8, "probability"), "anger": (False, 0.05, "probability")},
        ),
        ("less anger", ["anger=0.3"], {"anger": (False, 0.3, "probability")}),
        ("more gratitude", ["share:gratitude=0.75"], {"gratitude": (True, 0.75, "share")}),
        ("less anger", ["anger>=0.3"], {"anger": (True, 0.3, "probability")}),
        (None, ["gratitude"], None),
        (None, ["gratitude=much"], None),
        (None, ["gratitude=0.2", "thankful=0.3"], None),
        (None, ["joy=0.2"], None),
        (None, ["more gratitude=0.2"], None),
    ],
)
def test_a_goal_in_numbers(words, targets, wishes):
    if wishes is None:
        with pytest.raises(EmotionCircuitsError, match="target"):
            goal_of(words, targets, NAMES)
    else:
        assert said(words, *targets) == wishes


@given(st.text(max_size=40))
def test_any_other_text_is_refused_by_name_or_read(text):
    try:
        goal = goal_of(text, (), NAMES)
    except EmotionCircuitsError:
        return
    assert {w.value for w in goal.wishes} <= set(EN.values)


@pytest.mark.parametrize("name", available_attributes())
def test_every_attributes_values_can_be_named_and_no_word_names_two(name):
    about = load_attribute(name)
    names = names_of(about, about.values)
    assert {v: names[v.lower()] for v in about.values} == {v: v for v in about.values}
    for value, called in about.words.get("ja", {}).items():
        if value in about.values:
            assert names[called.lower()] == value
    lexicon = about.lexicon_words() or {}
    for word, value in names.items():
        if word not in map(str.lower, about.values):
            assert sum(word in map(str.lower, lexicon.get(v, ())) for v in about.values) <= 1 or value in about.values


@pytest.mark.parametrize(
    "bounds",
    [{"fluency": 0.9}, {"fluency": math.nan}, {"fluency": math.inf}, {"similarity": -0.1}, {"similarity": 1.1}],
)
def test_bounds_that_bound_nothing_are_refused(bounds):
    with pytest.raises(EmotionCircuitsError, match=next(iter(bounds))):
        Goal((Wish("joy", True, 0.5),), **bounds)


def point(dose, change, ratio, **more):
    ends = {"low": change - 0.1, "high": change + 0.1, "ratio_low": ratio - 0.1, "ratio_high": ratio + 0.1}
    return {"dose": dose, "as_dosed": True, "change": change, "ratio": ratio, **ends, **more}


def test_the_first_dose_is_the_least_that_should_do_with_the_interval_of_the_curve():
    curve = [point(0.5, 0.2, 1.1), point(1.0, 0.6, 1.4)]
    found = planned("joy", curve, 0.4, fluency=1.5)
    assert (found.dose, found.enough) == (pytest.approx(0.75), True)
    assert (found.low, found.high) == (pytest.approx(0.625), pytest.approx(0.875))
    assert found.change == pytest.approx((0.4, 0.3, 0.5))
    assert found.ratio == pytest.approx((1.25, 1.15, 1.35))


def test_what_the_curve_does_not_give_is_said_and_the_most_that_is_fluent_is_begun_with():
    curve = [point(0.5, 0.2, 1.2), point(1.0, 0.4, 2.0), point(2.0, 0.9, 9.0)]
    found = planned("joy", curve, 0.8, fluency=1.6)
    assert (found.dose, found.enough, found.low, found.high) == (pytest.approx(0.75), False, None, None)
    assert planned("joy", curve, 0.8, fluency=99, limit=2.0).enough
    assert planned("joy", curve, 0.0, fluency=1.6).dose == 0


def test_without_a_curve_the_run_s_own_dose_is_begun_with():
    for curve in ([], [point(0.5, 0.2, 1.1, as_dosed=False)], [point(0.5, math.nan, 1.1)], [point(3.0, 0.2, 1.1)]):
        found = planned("joy", curve, 0.4, fluency=1.5, otherwise=0.6)
        assert (found.dose, found.change, found.enough) == (0.6, None, False)
