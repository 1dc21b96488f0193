import numpy as np
import pandas as pd
import pytest
import torch

from direction_cases import planted_store
from emotion_circuits.directions import (
    auroc,
    choose_directions,
    choose_layer,
    evaluate_directions,
    fit_directions,
    held_out_report,
    null_accuracies,
)
from emotion_circuits.errors import EmotionCircuitsError


def test_auroc_against_counting():
    rng = np.random.default_rng(0)
    scores = torch.tensor(rng.integers(0, 5, 40).astype(float))
    positive = torch.tensor(rng.random(40) < 0.4)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(float(np.mean([float(p) for p in pairs])))
    assert np.isnan(auroc(scores, torch.zeros(40, dtype=torch.bool)))


def test_table_and_layer_choice(tmp_path):
    store = planted_store(tmp_path, groups=100, layers=5, strength=(0, 0, 0, 3.0, 0), topic=0.5)
    sets = [fit_directions(store), fit_directions(store, extractor="lda")]
    table = evaluate_directions(store, sets)
    assert len(table) == 2 * 5 * 2 * 3
    for corpus in ("core", "implicit"):
        for split in ("train", "validation", "test"):
            part = table[(table.set == corpus) & (table.split == split) & (table.extractor == "lda")]
            assert part.loc[part.accuracy.idxmax(), "layer"] == 3
    # Smoothed over neighbours, the peak's own neighbours tie with it; the choice stays within one layer of it.
    assert abs(choose_layer(table, extractor="lda") - 3) <= 1
    assert table[table.layer == 0].accuracy.between(0.05, 0.55).all()
    assert (table.chance == 0.25).all()
    chosen = choose_directions(table, sets)
    assert abs(chosen.chosen_layer - 3) <= 1


def test_choice_never_reads_test(tmp_path):
    store = planted_store(tmp_path, groups=60, layers=4, strength=(0, 3.0, 0, 0))
    d = fit_directions(store)
    table = evaluate_directions(store, [d])
    poisoned = table.copy()
    poisoned.loc[poisoned.split == "test", "accuracy"] = np.linspace(0, 1, int((table.split == "test").sum()))
    assert choose_layer(table) == choose_layer(poisoned)
    with pytest.raises(EmotionCircuitsError, match="validation"):
        choose_layer(table[table.split == "test"])


def test_nothing_to_find_is_chance_and_nulls_cover_it(tmp_path):
    store = planted_store(tmp_path, groups=150, strength=0.0, words=False)
    for extractor in ("mean_difference", "lda", "logistic"):
        report = held_out_report(store, fit_directions(store, extractor=extractor), 0, null_draws=20)
        for _, row in report.iterrows():
            assert abs(row.accuracy - 0.25) < 0.15
            assert row.difference_low <= 0 <= row.difference_high


def test_report_where_words_cannot_tell(tmp_path):
    store = planted_store(tmp_path, groups=150, strength=4.0, topic=0.5, words=False)
    report = held_out_report(store, fit_directions(store), 1)
    assert (report.accuracy > 0.9).all()
    assert (report.words_alone < 0.45).all()
    assert (report.difference_low > 0.3).all()
    assert (report.shuffled_high < report.low).all()
    assert report.groups.tolist() == [15, 15]
    assert (report.low <= report.accuracy).all()
    assert (report.accuracy <= report.high).all()


def test_report_where_words_tell_everything(tmp_path):
    report = held_out_report(planted_store(tmp_path, groups=60), fit_directions(planted_store(tmp_path, groups=60)), 0)
    assert (report.words_alone == 1).all()
    assert (report.difference_low <= 0).all()


def test_nulls_are_reproducible(tmp_path):
    store = planted_store(tmp_path)
    d = fit_directions(store)
    a, b = (null_accuracies(store, d, 0, draws=5, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)
    assert set(a.null) == {"shuffled", "random"}
