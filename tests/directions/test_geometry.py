import numpy as np
import pytest
from direction_cases import planted_store

from emotion_circuits.directions import (
    chance_cosine,
    cosines_by_layer,
    fit_directions,
    norms_by_layer,
    split_half_stability,
)
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
