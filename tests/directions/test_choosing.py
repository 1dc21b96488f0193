import pytest
import torch

from direction_cases import planted_store
from emotion_circuits.directions import fit_reader, reader_report
from emotion_circuits.directions.direction_set import decide
from emotion_circuits.errors import EmotionCircuitsError


def test_reader_is_chosen_on_validation_only(tmp_path):
    store = planted_store(tmp_path, groups=100, layers=4, strength=(0, 0, 3.0, 0), topic=0.5, words=False)
    choice = fit_reader(store)
    assert all(abs(layer - 2) <= 1 for _, layer in choice.members)
    other = planted_store(tmp_path / "x", groups=100, layers=4, strength=(0, 0, 3.0, 0), topic=0.5, words=False)
    other.rows = other.rows.copy()
    test = other.rows.split == "test"
    other.rows.loc[test, "label"] = other.rows.loc[test, "label"].sample(frac=1, random_state=0).to_numpy()
    again = fit_reader(other)
    assert [(d.name, layer) for d, layer in choice.members] == [(d.name, layer) for d, layer in again.members]
    assert choice.validation == again.validation
    report = reader_report(store, choice)
    assert (report.difference_low > 0).all()
    assert reader_report(other, again).accuracy.max() < 0.6


def test_report_is_the_accuracy_of_the_scores(tmp_path):
    store = planted_store(tmp_path, groups=60, strength=1.5)
    choice = fit_reader(store, extractors=("lda",))
    names = (*choice.members[0][0].labels, "neutral")
    predicted = [names[int(i)] for i in decide(choice.scores(store), names)]
    rows = store.rows.assign(predicted=predicted)
    part = rows[(rows.split == "test") & (rows.set == "implicit")]
    report = reader_report(store, choice).set_index("set")
    assert report.loc["implicit", "accuracy"] == pytest.approx((part.predicted == part.label).mean())
    assert choice.save(tmp_path / "directions").exists()


def test_nothing_to_read_is_chance(tmp_path):
    store = planted_store(tmp_path, groups=200, strength=0.0, words=False)
    report = reader_report(store, fit_reader(store))
    assert (report.accuracy < 0.4).all()
    assert (report.low <= 0.25).all()


def test_needs_a_readable_pooling(tmp_path):
    store = planted_store(tmp_path, poolings=("emotion",))
    with pytest.raises(EmotionCircuitsError, match="pooling among"):
        fit_reader(store)
    assert torch.is_tensor(store.pooled("resid_post", "emotion", 0))
