import numpy as np
import pytest
import torch

from direction_cases import planted_store
from emotion_circuits.directions import (
    chance_cosine,
    cosines_by_layer,
    extract,
    fit_directions,
    norms_by_layer,
    shuffled_vectors,
    split_half_stability,
)
from emotion_circuits.directions.extractors import permute_within
from emotion_circuits.directions.geometry import _examples
from emotion_circuits.errors import EmotionCircuitsError


def test_cosines_of_orthogonal_emotions_and_their_interval(tmp_path):
    store = planted_store(tmp_path, groups=200, strength=5.0, topic=0.3, noise=0.5)
    table = cosines_by_layer(store, fit_directions(store), resamples=50)
    assert len(table) == 6
    assert (table.cosine.abs() < 0.2).all()
    assert (table.low <= table.cosine).all()
    assert (table.cosine <= table.high).all()
    assert table.chance.iloc[0] == pytest.approx(1.96 / np.sqrt(24))


def test_shared_neutral_mean_shows_in_the_null(tmp_path):
    # Without any effect two mean differences share the neutral mean's error: cosine 0.5, and the null says so.
    store = planted_store(tmp_path, groups=300, strength=0.0, d=200, layers=1)
    table = cosines_by_layer(store, fit_directions(store), resamples=20)
    assert table.cosine.mean() == pytest.approx(0.5, abs=0.12)
    assert table.shared.mean() == pytest.approx(0.5, abs=0.12)


def test_norms_in_residual_units(tmp_path):
    d = fit_directions(planted_store(tmp_path))
    table = norms_by_layer(d)
    first = table[(table.label == "anger") & (table.layer == 1)].iloc[0]
    v = d.vector("anger", 1).double()
    assert first.l2 == pytest.approx(float(v.norm()))
    assert first.l1 == pytest.approx(float(v.abs().sum()))
    assert first.relative == pytest.approx(first.l2 / float(d.norms[1]))


def test_stability_of_signal_and_of_noise(tmp_path):
    strong = planted_store(tmp_path / "a", groups=200, strength=6.0, topic=0.3)
    weak = planted_store(tmp_path / "b", groups=200, strength=0.0, d=200)
    high = split_half_stability(strong, fit_directions(strong), splits=4)
    low = split_half_stability(weak, fit_directions(weak), splits=4)
    assert (high.cosine > 0.9).all()
    assert (low.cosine.abs() < 0.2).all()
    assert low.chance.iloc[0] == pytest.approx(chance_cosine(200))


def test_too_few_groups(tmp_path):
    store = planted_store(tmp_path, groups=5)
    with pytest.raises(EmotionCircuitsError, match="at least 4 groups"):
        split_half_stability(store, fit_directions(store))


def test_shuffled_directions_as_one_product_are_those_of_every_shuffle(tmp_path):
    store = planted_store(tmp_path)
    d = fit_directions(store)
    found = shuffled_vectors(store, d, 1, draws=4, seed=5)
    examples, rng = _examples(store, d, 1), np.random.default_rng(5)
    for drawn in found:
        expected = extract("mean_difference", permute_within(examples, rng)).vectors
        torch.testing.assert_close(drawn, expected)


def test_cosines_of_directions_of_nothing_are_claimed_as_often_as_the_level_says(tmp_path):
    # States vary in two coordinates alone, as where a sink or the length decides: shuffled directions are then alike.
    hits = total = 0
    for seed in range(60):
        store = planted_store(tmp_path / str(seed), groups=30, strength=0.0, topic=0.0, d=8, seed=seed)
        table = cosines_by_layer(store, fit_directions(store), layers=[0], resamples=20, shuffles=99, seed=seed)
        hits += int((table["p"] <= 0.05).sum())
        total += len(table)
    assert hits / total < 0.09


def test_cosines_of_alike_directions_are_found(tmp_path):
    store = planted_store(tmp_path, groups=60, d=24)
    # Half of anger's rows are called gratitude: both directions then hold the axis of anger, which no shuffle gives them.
    half = (store.rows["label"] == "anger") & (np.arange(len(store.rows)) % 8 < 4)
    swapped = store.relabelled(np.where(half, "gratitude", store.rows["label"]).tolist())
    table = cosines_by_layer(swapped, fit_directions(swapped), layers=[0], seed=0)
    pair = table[table["pair"] == "gratitude – anger"].iloc[0]
    assert pair["shared_low"] <= pair["shared"] <= pair["shared_high"]
    assert pair["cosine"] > pair["shared_high"]
    assert pair["p"] <= 0.05
