"""Where and how strongly: the strength that fluency bears is read off two, and the line with most effect there comes first."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_circuits.steering.finding import (
    FARTHEST,
    MARGIN,
    STRENGTHS,
    Line,
    best_places,
    lines,
    refined_places,
)


def table(places, cost, effect, values=("joy", "fear"), repeats=lambda line, k: 0.0):
    """Figures of a model whose cost (nats) and effect at a strength of a line are known."""
    rows = []
    for value in values:
        for line, strength in places:
            at = line.at(strength)
            rows.append(
                {
                    "condition": f"{value} {at}", "kind": "emotion", "emotion": value,
                    "layers": " ".join(map(str, at.layers)), "alpha": at.alpha, "first": at.first,
                    "ratio": float(np.exp(cost(value, line, strength))), "change": effect(line, strength),
                    "p": 0.1 + effect(line, strength), "repetition_gain": repeats(line, strength),
                }
            )  # fmt: skip
    none = {"condition": "none", "kind": "none", "emotion": "", "layers": "", "alpha": 0.0, "first": 0.0}
    return pd.DataFrame([none, *rows])


def screened(along, *how, **more):
    return table([(line, k) for line in along for k in STRENGTHS], *how, **more)


def test_every_layer_or_group_is_tried_with_and_without_the_first_token():
    found = lines([3, (4, 5)])
    assert [(line.layers, line.first > 0) for line in found] == [
        ((3,), False), ((4, 5), False), ((3,), True), ((4, 5), True),
    ]  # fmt: skip
    assert len({line.at(k) for line in found for k in STRENGTHS}) == 2 * len(found)


@settings(max_examples=60, deadline=None)
@given(slope=st.floats(0.05, 3), other=st.floats(1, 3), budget=st.floats(1.2, 3))
def test_the_strength_that_all_bear_costs_what_is_aimed_at(slope, other, budget):
    """Where cost grows in proportion, the strength read off is exact for the value that bears least, or the farthest."""
    along = lines([2])[:1]
    per_unit = {"joy": slope, "fear": slope * other}
    rows = screened(along, lambda value, line, k: per_unit[value] * k, lambda line, k: 0.2 * k)
    places = refined_places(rows, along, budget=budget)
    aim = max(np.log(budget) - MARGIN, 0.02)
    weakest = min(place.alpha for place in places) / along[0].alpha
    assert np.isclose(weakest, min(aim / max(per_unit.values()), FARTHEST), rtol=0.06)


def test_the_line_with_most_effect_at_the_strength_it_bears_comes_first():
    """Layer 1 has the larger effect at full strength, and bears a tenth of it."""
    along = [Line((1,), 0.3), Line((2,), 0.3)]
    dear = lambda value, line, k: (3.0 if line.layers == (1,) else 0.2) * k  # noqa: E731
    effect = lambda line, k: (0.9 if line.layers == (1,) else 0.4) * k  # noqa: E731
    places = refined_places(screened(along, dear, effect), along, count=1)
    assert {place.layers for place in places} == {(2,)}


def test_a_strength_at_which_texts_repeat_is_not_tried_again():
    along = lines([2])[:1]
    rows = screened(along, lambda *_: 0.0, lambda line, k: 0.1, repeats=lambda line, k: 0.3 if k == 1 else 0.0)
    assert max(place.alpha for place in refined_places(rows, along)) < along[0].alpha


def test_collapsed_texts_without_a_ratio_do_not_stop_it():
    along = lines([2, 3])
    rows = screened(along, lambda value, line, k: float("nan") if k == 1 else 0.1, lambda line, k: 0.1)
    assert refined_places(rows, along)


def test_places_that_more_values_bear_come_first_whatever_their_effect():
    along = [Line((1,), 0.3), Line((2,), 0.3)]
    tried = [(line, 1.0) for line in along]
    cost = lambda value, line, k: 1.0 if line.layers == (1,) and value == "fear" else 0.1  # noqa: E731
    rows = table(tried, cost, lambda line, k: 0.9 if line.layers == (1,) else 0.1)
    assert [place.layers for place in best_places(rows)] == [(2,), (1,)]
    assert best_places(rows, count=1) == [along[1].at(1.0)]
