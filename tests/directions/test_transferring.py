"""Directions carried from one set of sentences to another: found where they are shared, chance where they are not."""

import numpy as np
import pytest

from direction_cases import planted_store
from emotion_circuits.directions.labelled_states import LabelledStates, shuffled_within
from emotion_circuits.directions.separating import differences, separations, trend
from emotion_circuits.directions.transferring import transfer_table
from emotion_circuits.errors import EmotionCircuitsError

VALUES = ("gratitude", "anger", "apology")


def data(folder, name, **how):
    return LabelledStates.of(planted_store(folder, **how), name, VALUES, "neutral")


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Two with the same planted directions, one with none."""
    root = tmp_path_factory.mktemp("transfer")
    first = planted_store(root / "a", groups=60, words=False, topic=1.0)
    same = LabelledStates.of(first, "a", VALUES, "neutral")
    # The same truth, which is drawn from the seed, in noisier states.
    other = data(root / "b", "b", groups=60, words=False, noise=1.4, topic=1.0)
    none = data(root / "c", "c", groups=60, strength=0.0, seed=5, words=False)
    return same, other, none


def test_shared_directions_are_carried_and_nothing_else_is(sets):
    table = transfer_table(sets, draws=99, resamples=200).set_index(["source", "target"])
    assert len(table) == 9
    there = table.loc[("a", "b")]
    assert there["auroc"] > 0.8
    assert there["p"] == 0.01
    assert there["low"] < there["auroc"] < there["high"]
    assert there["difference_low"] > 0  # words say nothing here
    assert there["share"] == pytest.approx((there["auroc"] - 0.5) / (there["own"] - 0.5))
    for pair in (("a", "c"), ("c", "a"), ("c", "b")):
        row = table.loc[pair]
        assert row["p"] > 0.01
        assert row["shuffled_low"] <= row["auroc"] <= row["shuffled_high"]


def test_what_another_attributes_directions_do_as_well_is_not_beyond_them(sets, tmp_path):
    same, other, _ = sets
    names = dict(zip(VALUES, ("joy", "rage", "regret"), strict=True))

    def renamed(name, **how):
        store = planted_store(tmp_path / name, groups=60, words=False, topic=1.0, **how)
        labels = [names.get(label, label) for label in store.rows["label"]]
        return LabelledStates.of(store.relabelled(labels), name, tuple(names.values()), "neutral")

    unlike, alike = renamed("nothing of it", strength=0.0, seed=9), renamed("the same in other words")
    for wrong, holds in ((unlike, True), (alike, False)):
        row = (
            transfer_table([same, other, wrong], draws=20, resamples=100)
            .set_index(["source", "target"])
            .loc[("a", "b")]
        )
        assert row["beyond"] == pytest.approx(row["auroc"] - row["wrong"])
        assert row["beyond_low"] <= row["beyond"] <= row["beyond_high"] or not holds
        assert (row["beyond_low"] > 0) == holds
    alone = transfer_table([same, other], draws=20, resamples=50)
    assert alone["beyond"].isna().all()


def test_a_set_read_by_itself_is_its_own_ceiling(sets):
    table = transfer_table(sets[:2], draws=20, resamples=50).set_index(["source", "target"])
    own = table.loc[("a", "a")]
    assert own["auroc"] == pytest.approx(own["own"])
    assert own["share"] == pytest.approx(1)


def test_false_transfers_are_as_rare_as_they_ought_to_be(tmp_path):
    """Sets in which labels mean nothing: p is uniform."""
    found = []
    for seed in range(8):
        pair = [
            data(tmp_path / f"{seed}{name}", name, strength=0.0, seed=2 * seed + k, words=False)
            for k, name in enumerate("ab")
        ]
        table = transfer_table(pair, draws=19, resamples=20, seed=seed)
        found += list(table.loc[table["source"] != table["target"], "p"])
    assert np.mean(np.array(found) <= 0.05) <= 0.25
    assert 0.25 < np.mean(found) < 0.75


def test_shuffles_keep_every_groups_labels():
    labels, groups = np.array(["a", "b", "a", "c"], dtype=object), np.array([1, 1, 2, 2])
    drawn = shuffled_within(labels, groups, 50, np.random.default_rng(0))
    assert {tuple(sorted(row[:2])) for row in drawn} == {("a", "b")}
    assert {tuple(sorted(row[2:])) for row in drawn} == {("a", "c")}
    assert len({tuple(row) for row in drawn}) == 4


def test_bad_input(sets):
    with pytest.raises(EmotionCircuitsError, match="at least two"):
        transfer_table(sets[:1])


def test_models_are_compared_on_the_same_scenes_with_the_same_capacity(tmp_path):
    """Strengths of one planted truth: the weaker is told from the stronger, twins are not told apart."""
    found = separations(
        [
            data(tmp_path / "weak", "weak", groups=80, strength=(0.0, 1.2, 1.2, 1.2), layers=4, topic=0.5),
            data(tmp_path / "strong", "strong", groups=80, strength=(0.0, 4.0, 4.0, 4.0), layers=4, topic=0.5),
            data(
                tmp_path / "twin", "twin", groups=80, strength=(0.0, 4.0, 4.0, 4.0), layers=4, topic=0.5, noise=1.0001
            ),
        ],
        resamples=300,
    )
    weak, strong, _ = found
    assert len({s.axes for s in found}) == 1
    assert weak.auroc < strong.auroc
    assert weak.d_prime < strong.d_prime
    assert all(0 < s.ceiling <= 1 for s in found)
    table = differences(found, 16).set_index(["first", "second"])
    assert table.loc[("weak", "strong"), "low"] > 0
    assert abs(table.loc[("strong", "twin"), "difference"]) < 0.01
    assert table.loc[("strong", "twin"), "low"] <= 0 <= table.loc[("strong", "twin"), "high"]


def test_a_trend_needs_four_sizes(tmp_path):
    found = separations(
        [
            data(tmp_path / str(s), str(s), groups=80, strength=(0.0, s, s, s), layers=4, topic=0.5)
            for s in (0.5, 1.0, 1.5, 2.5)
        ],
        resamples=200,
    )
    slope = trend(found, [1e6, 1e7, 1e8, 1e9], 16)
    assert slope["low"] > 0
    with pytest.raises(EmotionCircuitsError, match="at least four sizes"):
        trend(found[:3], [1e6, 1e7, 1e8], 16)


def test_what_words_tell_by_themselves_is_no_gain(tmp_path):
    """A model that has everything from its first layer on gains nothing over it, whatever its AUROC."""
    (found,) = separations([data(tmp_path / "flat", "flat", groups=80, strength=4.0, layers=3)], resamples=100)
    assert found.auroc > 0.75
    assert found.gain_interval[0] <= 0 <= found.gain_interval[1] + 0.02
