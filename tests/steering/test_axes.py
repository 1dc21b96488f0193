"""Steering along ratings: the direction in which they rise, and what is claimed of texts that were pushed along it."""

import numpy as np
import pandas as pd
import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.stations.axes.claims import axes_drafts
from emotion_circuits.statistics import corrected
from emotion_circuits.steering import SteeringVectors
from emotion_circuits.steering.axes import (
    axis_arms,
    axis_directions,
    axis_effects,
    permuted_ratings,
    with_ratings,
)
from emotion_circuits.steering.finding import Place

RATINGS = {
    "valence": {"joy": 8.0, "calm": 7.0, "fear": 2.0, "anger": 3.0, "boredom": 4.0, "love": 8.5, "shame": 2.5},
    "arousal": {"joy": 7.0, "calm": 2.0, "fear": 6.0, "anger": 7.0, "boredom": 1.5, "love": 5.0, "shame": 4.0},
}
DRAWS = [f"permuted {i}" for i in range(39)]


def vectors():
    """Two layers: values lie at their ratings, in a plane of eight dimensions."""
    generator = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(8, 2, generator=generator)).Q.T
    rows = {
        value: (RATINGS["valence"][value] - 5) * plane[0] + (RATINGS["arousal"][value] - 5.5) * plane[1]
        for value in RATINGS["valence"]
    }
    return SteeringVectors.from_raw({v: torch.stack([row, row]) for v, row in rows.items()}, torch.ones(2)), plane


def texts(moved, *, seed=0, openings=24):
    """Scores of texts whose probability of pleasant values rises with how far their push lies along the ratings' own order."""
    rng, rows = np.random.default_rng(seed), []

    def write(condition, toward):
        for opening in range(openings):
            p = rng.dirichlet([*([1.0] * len(RATINGS["valence"])), 12.0])[:-1]
            wanted = np.array([toward.get(value, 0.0) for value in RATINGS["valence"]])
            p = np.clip(p + moved * wanted, 0.001, 0.9)
            found = dict(zip((f"p_{v}" for v in RATINGS["valence"]), p, strict=True))
            rows.append({"condition": condition, "prompt_id": f"o{opening}", "nats": rng.normal(3, 0.3), **found})

    write("none", {})
    for draw in [None, *range(len(DRAWS))]:
        given = RATINGS if draw is None else permuted_ratings(RATINGS, draw)
        for dimension, ratings in given.items():
            name = dimension if draw is None else f"{dimension} | {DRAWS[draw]}"
            middle = np.mean(list(ratings.values()))
            for side, sign in (("+", 1), ("−", -1)):
                write(f"{name} {side}", {v: sign * (r - middle) / 10 for v, r in ratings.items()})
    return pd.DataFrame(rows)


def test_the_direction_is_the_one_along_which_ratings_rise():
    known, plane = vectors()
    found = axis_directions(known, RATINGS)
    along = {name: torch.nn.functional.normalize(rows[0], dim=0).float() for name, rows in found.items()}
    for dimension, ratings in RATINGS.items():
        places = {v: float(known.unit[v][0] @ along[dimension]) for v in ratings}
        assert np.corrcoef([places[v] for v in ratings], list(ratings.values()))[0, 1] > 0.8
    assert abs(float(along["valence"] @ plane[0])) > 0.8


def test_a_constant_added_to_all_ratings_changes_nothing():
    known, _ = vectors()
    shifted = {d: {v: r + 3 for v, r in own.items()} for d, own in RATINGS.items()}
    for name, rows in axis_directions(known, RATINGS).items():
        assert torch.allclose(rows, axis_directions(known, shifted)[name])


def test_permuted_ratings_are_the_same_figures_on_other_values():
    drawn = [permuted_ratings(RATINGS, i)["valence"] for i in range(20)]
    assert all(sorted(own.values()) == sorted(RATINGS["valence"].values()) for own in drawn)
    assert len({tuple(own.values()) for own in drawn}) > 5
    assert permuted_ratings(RATINGS, 3) == permuted_ratings(RATINGS, 3)


def test_both_sides_are_pushed_as_hard_as_a_value():
    up, down = axis_arms(["valence"], Place((3,), 0.1, 5.0))
    assert (up.alpha, up.first, down.alpha, down.first) == (0.1, 5.0, -0.1, -5.0)
    assert (up.name, down.name) == ("valence +", "valence −")


def claims_of(scored):
    found = axis_effects(with_ratings(scored, RATINGS), list(RATINGS), DRAWS)
    costs = pd.DataFrame([{"axis": d, "side": "+", "ratio": 1.1, "low": 1.0, "high": 1.2} for d in RATINGS])
    span = {d: max(own.values()) - min(own.values()) for d, own in RATINGS.items()}
    return found, corrected(axes_drafts(found, costs, layers=(3,), span=span, given=None))


def test_texts_that_move_along_the_ratings_are_found():
    found, claims = claims_of(texts(0.6))
    assert {claim.about.metric: claim.verdict for claim in claims} == {"valence": "supported", "arousal": "supported"}
    own = found[(found["axis"] == "valence") & (found["read"] == "valence")].iloc[0]
    assert own["change"] > own["null_high"]
    assert own["up"] > 0 > own["down"]


@pytest.mark.parametrize("seed", range(5))
def test_texts_that_do_not_move_claim_nothing(seed):
    _, claims = claims_of(texts(0.0, seed=seed))
    assert not [claim for claim in claims if claim.verdict == "supported"]


def test_a_push_that_moves_texts_whichever_ratings_it_has_claims_nothing():
    """Every direction, permuted ones too, makes texts pleasant on one side: only the order of the ratings may count."""
    scored = texts(0.0)
    up = scored["condition"].str.endswith("+")
    scored.loc[up, "p_joy"] = 0.6
    _, claims = claims_of(scored)
    assert not [claim for claim in claims if claim.verdict == "supported"]


def test_words_are_read_beside_the_judge():
    scored = texts(0.0, openings=2).assign(**{f"n_{v}": {"joy": 2, "fear": 1}.get(v, 0) for v in RATINGS["valence"]})
    found = with_ratings(scored, RATINGS)
    assert found["words valence"].tolist() == pytest.approx([(2 * 3.0 - 3.0) / 3] * len(scored))  # the mean rating is 5
    silent = with_ratings(scored.assign(n_joy=0, n_fear=0), RATINGS)
    assert not silent["words valence"].any()


def test_what_cannot_be_asked_is_refused():
    known, _ = vectors()
    with pytest.raises(EmotionCircuitsError, match="no direction of envy"):
        axis_directions(known, {"valence": {"envy": 2.0, "joy": 8.0}})
    with pytest.raises(EmotionCircuitsError, match="all values have the same rating"):
        axis_directions(known, {"valence": {"fear": 2.0, "joy": 2.0}})
    with pytest.raises(EmotionCircuitsError, match="the judge knows nothing of envy"):
        with_ratings(texts(0.0, openings=2), {"valence": {"envy": 2.0, "joy": 8.0}})
