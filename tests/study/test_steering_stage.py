"""What the steering stage is asked to write: layers, openings, arms."""

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.stations.steering.plan import openings, steering_arms, steering_layers
from emotion_circuits.study.config import load_config


def config(**changes):
    return load_config("quick", overrides={f"steering.{key}": value for key, value in changes.items()})


def test_layers_are_depths_numbers_or_groups():
    asked = config(layers=[0.5, 3, [0.25, 0.5, 11], [0.5, 0.5]])
    assert steering_layers(asked, 30) == (14, 3, (7, 11, 14))
    with pytest.raises(EmotionCircuitsError, match=r"11 is not a layer"):
        steering_layers(asked, 8)
    with pytest.raises(
        EmotionCircuitsError, match=r"steering\.raw_layers: 9 is not a layer of this model, which has 0 to 7"
    ):
        steering_layers(config(raw_layers=[9]), 8, raw=True)


def test_choosing_may_use_train_openings_and_never_test_ones():
    few, many = (
        openings(config(validation_prompts=10), "validation"),
        openings(config(validation_prompts=60), "validation"),
    )
    assert {p.split for p in few} == {"validation"}
    assert len(many) == 60 == len({p.id for p in many})
    assert {p.split for p in many} == {"validation", "train"}
    assert {p.split for p in openings(config(), "test")} == {"test"}
    with pytest.raises(EmotionCircuitsError, match=r"steering\.test_prompts: 500 asked for"):
        openings(config(test_prompts=500), "test")


def test_arms_hold_every_strength_once_and_raw_ones_beside_them():
    arms = steering_arms(
        config(layers=[3], alphas=[0, 0.1], sink=[0, 0.05], raw_layers=[3, 5], raw_alphas=[-1, 0.5]), 30
    )
    assert [a.kind for a in arms].count("none") == 1
    normed = [a for a in arms if a.kind == "emotion" and a.units == "norm"]
    # alpha 0 without the sink is no steering at all.
    assert sorted({(a.alpha, a.first) for a in normed}) == [(0, 0.05), (0.1, 0), (0.1, 0.05)]
    assert {a.positions for a in normed} == {"rest"}
    raw = [a for a in arms if a.units == "raw"]
    assert len(raw) == 3 * 2 * 2
    assert {(a.positions, a.first) for a in raw} == {("all", 0)}  # residual += alpha * vector, everywhere


def test_the_plans_grid_is_a_profile():
    arms = steering_arms(load_config("plan"), 12)
    raw = {(a.layers, a.alpha) for a in arms if a.units == "raw" and a.emotion == "anger"}
    assert raw == {((layer,), alpha) for layer in (3, 5, 7, 9, 11) for alpha in (-2, -1, -0.5, 0.5, 1, 2)}
