"""The real transformers pipeline on tiny classifiers saved locally."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import HUB_EVALUATORS, HubClassifier, HubSpec, MlaskSentiment, evaluator
from emotion_circuits.evaluation import hub as hub_module

GO = ["admiration", "anger", "gratitude", "remorse", "neutral"]
LABELS = {
    "twitter-sentiment": ["negative", "neutral", "positive"],
    "go-emotions": GO,
    "polite-guard": ["polite", "somewhat polite", "neutral", "impolite"],
    "toxic-bert": ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"],
    "wrime": [f"LABEL_{i}" for i in range(8)],
}


def saved(folder: Path, labels: list[str], kind: str = "bert", **save: object) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "thank", "you", "angry", "sorry", "the", "table"]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    config = AutoConfig.for_model(
        kind, vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, pad_token_id=0, id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0, 0.5)
    model.save_pretrained(folder, **save)
    return folder


def logits_of(folder: Path, text: str) -> torch.Tensor:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).logits[0]


@pytest.mark.parametrize("name", list(HUB_EVALUATORS))
def test_every_listed_classifier_is_read_by_its_map(name: str, tmp_path: Path) -> None:
    spec = HUB_EVALUATORS[name]
    folder = saved(tmp_path / "m", LABELS[name], kind="roberta" if "twitter" in name or "go" in name else "bert")
    made = HubClassifier(spec, source=folder, batch_rows=2)
    texts = ["thank you", "angry", "the table the table the table"]
    scores = made.score(texts)
    assert len(scores) == 3
    for row, text in enumerate(texts):
        logits = logits_of(folder, text)
        chance = torch.sigmoid(logits) if spec.multi_label else torch.softmax(logits, -1)
        by_label = dict(zip(LABELS[name], chance.tolist(), strict=True))
        for label, column in spec.maps[0].items():
            assert scores[f"p_{column}"][row] == pytest.approx(by_label[label], abs=1e-5)
    assert "p_admiration" not in scores
    if not spec.multi_label:
        assert scores.filter(like="p_").sum(axis=1).tolist() == pytest.approx([1] * 3, abs=1e-4)


def test_a_longer_text_than_the_model_takes_is_cut(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", LABELS["twitter-sentiment"], kind="roberta")
    made = HubClassifier(HUB_EVALUATORS["twitter-sentiment"], source=folder)
    assert len(made.score(["thank you " * 200])) == 1


def test_label_names_are_matched_exactly(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", ["NEGATIVE", "NEUTRAL", "POSITIVE"])
    with pytest.raises(EmotionCircuitsError, match=r"has the labels NEGATIVE.*capitals"):
        HubClassifier(HUB_EVALUATORS["twitter-sentiment"], source=folder)


def test_a_second_map_covers_copies_that_name_their_outputs(tmp_path: Path) -> None:
    names = ["joy", "sadness", "anticipation", "surprise", "anger", "fear", "disgust", "trust"]
    made = HubClassifier(HUB_EVALUATORS["wrime"], source=saved(tmp_path / "m", names))
    assert made.columns == [f"p_{n}" for n in names]


def test_a_missing_evaluator_names_the_offline_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    spec = HubSpec("gone", str(tmp_path / "nothing"), "sentiment", ({"a": "a"},), offline=("vader",))
    with pytest.raises(EmotionCircuitsError, match=r"could not be loaded.*local copy.*vader"):
        HubClassifier(spec)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EmotionCircuitsError, match="no offline evaluator of toxicity"):
        evaluator("toxic-bert", source=tmp_path / "empty")


def test_pickled_weights_are_not_read_unless_asked(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", ["a", "b"])
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    spec = HubSpec("pickled", str(folder), "x", ({"a": "a", "b": "b"},))
    with pytest.raises(EmotionCircuitsError, match="could not be loaded"):
        HubClassifier(spec)
    assert HubClassifier(spec, allow_pickle=True).score(["thank you"]).shape == (1, 3)


def test_sigmoids_decide_neutral_where_nothing_reaches_one_half(tmp_path: Path) -> None:
    made = HubClassifier(HUB_EVALUATORS["go-emotions"], source=saved(tmp_path / "m", GO))
    table = pd.DataFrame([[0.1, 0.2, 0.3, 0.1], [0.1, 0.7, 0.6, 0.1]], columns=made.columns)
    assert made.decide(table) == ["neutral", "anger"]


def test_weights_are_part_of_the_version(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", ["a", "b"])
    spec = HubSpec("v", str(folder), "x", ({"a": "a", "b": "b"},))
    first = HubClassifier(spec).version
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.bias.add_(1)
    model.save_pretrained(folder)
    assert HubClassifier(spec).version != first
    assert hub_module._folder_hash(tmp_path) is None


def test_mlask_or_its_install_line() -> None:
    if find_spec("mlask") is None:
        with pytest.raises(EmotionCircuitsError, match=r"emotion-circuits\[japanese\]"):
            MlaskSentiment()
        return
    made = MlaskSentiment()
    scores = made.score(["彼のことは嫌いではない！", "この映画は嫌いだ。", "机の上に本がある。", ""])
    assert made.decide(scores) == ["positive", "negative", "neutral", "neutral"]
