"""Words alone: what is tuned, on what, and what it is held against."""

import numpy as np
import pytest
import torch

from direction_cases import planted_store
from emotion_circuits.directions import (
    evaluate_directions,
    fit_directions,
    held_out_report,
    static_embeddings,
    word_readers,
    words_of,
)
from emotion_circuits.directions.baseline import NGRAMS, STATIC, WordLabels, best_by_corpus
from emotion_circuits.errors import EmotionCircuitsError
from families import tiny_model

TEXTS = ["thank you so much", "i am furious", "so sorry", "the table is brown"] * 5
LABELS = ["gratitude", "anger", "apology", "neutral"] * 5


def test_reads_new_texts():
    (reader,) = word_readers(TEXTS, LABELS, TEXTS, LABELS)
    assert reader.family == NGRAMS
    assert reader.validation == 1
    assert reader.read(["thank you", "furious now"]).tolist() == ["gratitude", "anger"]
    assert reader.read([]).tolist() == []


def test_is_tuned_on_validation_alone():
    # The words are new on validation, their endings are not: only characters can tell, and validation says so.
    rng = np.random.default_rng(0)

    def word(ending):
        return "".join(rng.choice(list("bcdfgklm"), 6)) + ending

    endings = {"gratitude": "ua", "anger": "io", "apology": "ey", "neutral": "ou"}
    labels = [label for label in endings for _ in range(30)]
    train, held = ([" ".join(word(endings[x]) for _ in range(3)) for x in labels] for _ in range(2))
    (reader,) = word_readers(train, labels, held, labels)
    assert "characters" in reader.name
    assert reader.validation > 0.9


def test_every_corpus_counts_the_same():
    # One corpus of 90 rows that single words tell, one of 10 whose two words tell only together.
    labels = ["a", "b"] * 50
    train = [
        ("good x" if y == "a" else "bad x") if i < 90 else ("p q" if y == "a" else "q p") for i, y in enumerate(labels)
    ]
    corpora = ["plain"] * 90 + ["pairs"] * 10
    (reader,) = word_readers(train, labels, train, labels, held_corpora=corpora)
    assert reader.validation == 1
    assert not reader.name.startswith("words,")


def test_bad_input():
    with pytest.raises(EmotionCircuitsError, match="two different"):
        word_readers(TEXTS, ["anger"] * 20, TEXTS, LABELS)
    with pytest.raises(EmotionCircuitsError, match="to learn from"):
        word_readers([" ", " "], ["anger", "neutral"], ["x"], ["anger"])
    with pytest.raises(EmotionCircuitsError, match="choose"):
        word_readers(TEXTS, LABELS, [], [])
    with pytest.raises(EmotionCircuitsError, match="labels"):
        word_readers(TEXTS, LABELS[:3], TEXTS, LABELS)


def test_static_embeddings_are_means_of_the_input_embeddings():
    model = tiny_model("llama")
    table = model.hf.get_input_embeddings().weight.detach().double()
    found = static_embeddings(model, ["one two", ""])
    ids = model.tokenizer("one two", add_special_tokens=False)["input_ids"]
    assert np.allclose(found[0], table[ids].mean(0).numpy())
    assert not found[1].any()
    assert static_embeddings(model, []).shape == (0, model.d_model)


def test_static_embeddings_compete():
    rng = np.random.default_rng(1)
    where = {label: rng.normal(size=6) for label in set(LABELS)}
    known = {}

    def embed(texts):
        return np.array([known.setdefault(t, where[t.split()[0]] + 0.1 * rng.normal(size=6)) for t in texts])

    # A synonym's letters say nothing; its place among the embeddings does.
    train = [f"{label} w{i}" for i, label in enumerate(LABELS)]
    readers = word_readers(train, LABELS, [f"{label} v{i}" for i, label in enumerate(LABELS)], LABELS, embed=embed)
    assert {r.family for r in readers} == {NGRAMS, STATIC}
    assert readers[0].validation >= readers[1].validation


def test_never_sees_test_labels(tmp_path):
    store = planted_store(tmp_path, groups=60, words=False)
    before = words_of(store)
    at = store.rows["split"] == "test"
    store.rows.loc[at, "label"] = np.random.default_rng(0).permutation(store.rows.loc[at, "label"].to_numpy())
    after = words_of(store)
    assert [w.name for w in before] == [w.name for w in after]
    assert all((a.labels == b.labels).all() for a, b in zip(before, after, strict=True))


def test_a_claim_is_held_against_the_stricter_baseline(tmp_path):
    store = planted_store(tmp_path, groups=60, words=False)
    truth = store.rows["label"].to_numpy()
    knows = WordLabels("static embeddings", "knows", 0.0, truth)
    (guesses,) = words_of(store)
    assert best_by_corpus([guesses, knows], truth, np.ones(len(truth), dtype=bool)).name == "knows"
    report = held_out_report(store, fit_directions(store), 0, words=[guesses, knows])
    assert (report["words_by"] == "knows").all()
    assert (report["words_alone"] == 1).all()
    assert (report["difference_low"] <= 0).all()


def test_a_curve_over_layers_is_drawn_beside_the_baseline_that_claims_are_held_against(tmp_path):
    store = planted_store(tmp_path, groups=60, words=False)
    truth = store.rows["label"].to_numpy()
    corpora = store.rows["set"].to_numpy()
    (guesses,) = words_of(store)
    first = corpora == corpora[0]
    knows_one = WordLabels("static embeddings", "knows one", 0.0, np.where(first, truth, "nothing"))
    fitted = fit_directions(store)
    for words in ([guesses, knows_one], [knows_one, guesses]):
        curve = evaluate_directions(store, [fitted], splits=("test",), words=words)
        claimed = held_out_report(store, fitted, 0, words=words).set_index("set")["words_alone"]
        for corpus, rows in curve.groupby("set"):
            assert (rows["words_alone"] == claimed[corpus]).all()
        assert claimed.max() == 1 > claimed.min()


def test_no_rows_to_tune_on(tmp_path):
    store = planted_store(tmp_path)
    store.rows.loc[store.rows["split"] == "validation", "split"] = "test"
    with pytest.raises(EmotionCircuitsError, match="no validation rows"):
        words_of(store)
    assert torch.is_tensor(store.pooled("resid_post", "last", 0))
