"""Attributes without a reference: every value against the mean of the others, at every place that compares values."""

import numpy as np
import pytest
import torch

from direction_cases import LABELS, planted_directions, planted_store
from emotion_circuits.directions import (
    EXTRACTORS,
    cosines_by_layer,
    evaluate_directions,
    fit_directions,
    fit_reader,
    held_out_report,
    reader_report,
    shuffled_vectors,
)
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.trace_sets import beside_others
from emotion_circuits.directions.value_map import value_vectors
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import Prompt
from emotion_circuits.stations.directions.claims import cosine_claims
from emotion_circuits.steering import neutral_mean, shuffled_directions, vectors_from_store


def against_others(truth):
    """Planted states of four labels, the last at the origin, each minus the mean of the other three."""
    every = torch.cat([truth, torch.zeros_like(truth[:1])])
    return every - (every.sum(0) - every) / 3


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return planted_store(tmp_path_factory.mktemp("planted"), groups=60, strength=4.0, noise=0.5, topic=0.5)


def fitted(store, extractor="mean_difference", **options):
    return fit_directions(store, extractor=extractor, pooling="mean", reference=None, **options)


@pytest.mark.parametrize("extractor", sorted(set(EXTRACTORS) - {"token"}))
def test_every_extractor_finds_each_value_against_the_mean_of_the_others(store, extractor):
    found = fitted(store, extractor)
    assert (found.labels, found.names, found.reference) == (LABELS, LABELS, None)
    wanted = against_others(planted_directions(24, 2))
    alike = torch.cosine_similarity(found.vectors, wanted, dim=-1)
    # Ten of the 24 dimensions are projected out by ``denoised``; whitening by few rows turns the other two.
    least = {"denoised": 0.5, "lda": 0.85, "logistic": 0.85}.get(extractor, 0.95)
    assert alike.min() > least


def test_two_values_give_one_direction_and_its_opposite(store):
    two = fitted(store, labels=LABELS[:2])
    assert torch.allclose(two.vectors[0], -two.vectors[1], atol=1e-5)
    with_reference = fit_directions(store, pooling="mean", labels=LABELS[:1], reference=LABELS[1])
    assert torch.allclose(two.vectors[0], with_reference.vectors[0], atol=1e-5)


def test_a_text_is_read_as_the_nearest_mean(store):
    found = fitted(store)
    states, rows = store.pooled("resid_post", "mean", 1).double(), store.rows
    train = torch.stack([states[store.mask(split="train", label=name)].mean(0) for name in LABELS])
    nearest = torch.cdist(states, train).argmin(1)
    assert torch.equal(found.predict(states, 1), nearest)
    report = held_out_report(store, found, 1, null_draws=4)
    assert report["accuracy"].min() > 0.9
    assert report["shuffled_high"].max() < 0.6
    assert set(rows["label"]) == set(LABELS)


def test_the_table_ranks_each_value_against_all_others(store):
    table = evaluate_directions(store, [fitted(store)], splits=("test",))
    assert (table["auroc"] > 0.95).all()
    assert np.allclose(table["auroc"], table["auroc_against_neutral"])


def test_a_reader_decides_among_the_values_alone(store):
    choice = fit_reader(store, extractors=("mean_difference",), reference=None)
    report = reader_report(store, choice)
    assert report["accuracy"].min() > 0.9
    assert choice.members[0][0].names == LABELS


def test_it_is_kept_and_read_back(store, tmp_path):
    found = DirectionSet.load(fitted(store).save(tmp_path))
    assert found.reference is None
    assert found.compared_with("anger") == ("gratitude", "apology", "neutral")


def test_shuffled_labels_give_directions_of_nothing(store):
    found = fitted(store)
    drawn = shuffled_vectors(store, found, 1, draws=30)
    assert drawn.shape == (30, 4, 24)
    # Without a reference the vectors of one draw add up to nothing, as the real ones do.
    assert drawn.sum(1).abs().max() < 1e-9
    assert drawn.norm(dim=-1).mean() < 0.5 * found.vectors[:, 1].norm(dim=-1).mean()


def test_steering_vectors_are_those_directions_and_are_against_the_rest_already(store):
    vectors = vectors_from_store(store, pooling="mean", reference=None)
    for k, name in enumerate(LABELS):
        assert torch.allclose(vectors.unit[name][1], fitted(store).unit(name, 1), atol=1e-5), k
    assert vectors.against_rest(LABELS, None) is vectors
    means = torch.stack(
        [store.pooled("resid_post", "mean", 1)[store.mask(split="train", label=n)].mean(0) for n in LABELS]
    )
    assert torch.allclose(neutral_mean(store, pooling="mean", reference=None)[1].float(), means.mean(0), atol=1e-4)
    both = [
        shuffled_directions(store, count=2, contrast=how, pooling="mean", reference=None) for how in ("rest", "neutral")
    ]
    assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])


def prompt(group, label, number=0):
    return Prompt(
        id=f"{group}-{label}-{number}", text=f"{label} of {group}", label=label, group=group, split="test", language="en",
        set="moods", spans=(),
    )  # fmt: skip


def test_a_sentence_stands_beside_the_mean_of_its_groups_other_values():
    rows = [prompt("a", "joy"), prompt("a", "fear"), prompt("a", "shame"), prompt("b", "joy"), prompt("b", "fear"),
            prompt("c", "joy"), prompt("d", "fear")]  # fmt: skip
    found = beside_others(rows, "joy", ("fear", "shame"))
    assert [p.group for p in found.felt] == ["a", "b"]
    assert [p.id for p in found.others] == ["a-fear-0", "a-shame-0", "b-fear-0"]
    assert found.by_group(np.array([[1.0, 3.0, 5.0]])).tolist() == [[2.0, 5.0]]
    with pytest.raises(EmotionCircuitsError, match="'shame' and one of joy or fear, there are 1"):
        beside_others(rows, "shame", ("joy", "fear"))


def test_values_vectors_count_every_other_label_the_same():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 6)
    labels = np.array([rng.choice(["joy", "fear", "shame"]) for _ in groups])
    states = rng.normal(size=(len(groups), 5))
    found = value_vectors(states, labels, groups, ("joy", "fear", "shame"), None)
    for index, value in enumerate(("joy", "fear", "shame")):
        parts = []
        for row in np.flatnonzero(labels == value):
            inside = groups == groups[row]
            others = [states[inside & (labels == o)].mean(0) for o in sorted(set(labels[inside]) - {value})]
            parts += [states[row] - np.mean(others, axis=0)] if others else []
        assert np.allclose(found[index], np.mean(parts, axis=0))


def test_one_label_alone_is_refused(store):
    with pytest.raises(EmotionCircuitsError, match="without a reference there is nothing to compare it with"):
        fitted(store, labels=["anger"])


def test_nothing_is_claimed_of_a_cosine_that_is_fixed(store):
    two, three = (fitted(store, labels=LABELS[:count]) for count in (2, 3))
    tables = [cosines_by_layer(store, d, layers=[1], resamples=20, shuffles=20) for d in (two, three)]
    assert [len(cosine_claims(table, layer=1, groups=36)) for table in tables] == [0, 3]
    assert np.allclose(tables[0]["cosine"], -1)
