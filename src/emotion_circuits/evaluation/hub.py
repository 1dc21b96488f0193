"""Hugging Face text classifiers by id and revision, with a label map that is checked against the model's own labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.paths import file_sha256, hash_json
from emotion_circuits.progress import progress_bar

__all__ = ["HUB_EVALUATORS", "HubClassifier", "HubSpec"]


@dataclass(frozen=True)
class HubSpec:
    """A classifier on the hub, or in a local folder.

    Attributes:
        name: of the evaluator.
        source: hub id or folder.
        axis: what it judges.
        maps: label maps, model's label → column (without ``p_``); the first whose labels the model all has is used.
            More than one where copies of a model name the same outputs differently.
        multi_label: ``True``: each label has its own sigmoid; ``False``: one softmax over all.
        revision: hub branch, tag or commit; the commit found is recorded in the version.
        fallback: with ``multi_label``, the label decided on where no probability reaches one half.
        offline: evaluators of the same axis that need no download, named in the error.
        languages: that it was trained to judge.
    """

    name: str
    source: str
    axis: str
    maps: tuple[Mapping[str, str], ...]
    multi_label: bool = False
    revision: str = "main"
    fallback: str | None = None
    offline: tuple[str, ...] = ()
    languages: tuple[str, ...] = ("en",)


_WRIME = ("joy", "sadness", "anticipation", "surprise", "anger", "fear", "disgust", "trust")

HUB_EVALUATORS: dict[str, HubSpec] = {
    spec.name: spec
    for spec in (
        HubSpec(
            "twitter-sentiment",
            "cardiffnlp/twitter-roberta-base-sentiment-latest",
            "sentiment",
            ({"negative": "negative", "neutral": "neutral", "positive": "positive"},),
            offline=("vader",),
        ),
        HubSpec(
            "go-emotions",
            "SamLowe/roberta-base-go_emotions",
            "emotion",
            ({"gratitude": "gratitude", "anger": "anger", "remorse": "apology", "neutral": "neutral"},),
            multi_label=True,
            fallback="neutral",
            offline=("emotion", "keywords"),
        ),
        HubSpec(
            "polite-guard",
            "Intel/polite-guard",
            "politeness",
            (
                {
                    "polite": "polite",
                    "somewhat polite": "somewhat_polite",
                    "neutral": "neutral",
                    "impolite": "impolite",
                },
            ),
            offline=("politeness",),
        ),
        HubSpec(
            "toxic-bert",
            "unitary/toxic-bert",
            "toxicity",
            (
                {
                    "toxic": "toxic",
                    "severe_toxic": "severe_toxic",
                    "obscene": "obscene",
                    "threat": "threat",
                    "insult": "insult",
                    "identity_hate": "identity_hate",
                },
            ),
            multi_label=True,
            fallback="not toxic",
        ),
        HubSpec(
            "wrime",
            "Mizuiro-sakura/luke-japanese-large-sentiment-analysis-wrime",
            "plutchik",
            ({f"LABEL_{i}": name for i, name in enumerate(_WRIME)}, {name: name for name in _WRIME}),
            offline=("mlask (extra 'japanese')", "keywords with language=ja"),
            languages=("ja",),
        ),
    )
}
"""Known classifiers on the hub, by the name of the evaluator."""


class HubClassifier:
    """A text classifier run by transformers' own pipeline. Columns ``p_<label>`` and ``label``.

    Args:
        spec: which model and how its labels are read.
        source: a local folder or another id instead of the spec's.
        revision: instead of the spec's.
        device: ``cpu``, ``cuda`` …
        batch_rows: texts per batch.
        allow_pickle: also accept pickled weights (unpickling can run code).

    Raises:
        EmotionCircuitsError: it cannot be loaded, or its labels are not those of the map.
    """

    def __init__(
        self,
        spec: HubSpec,
        *,
        source: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        device: str = "cpu",
        batch_rows: int = 32,
        allow_pickle: bool = False,
    ) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
        from transformers.utils import logging as hf_logging

        self.spec, self.name, self.axis = spec, spec.name, spec.axis
        place = os.fspath(source) if source is not None else spec.source
        folder = Path(place).expanduser()
        options: dict[str, Any] = {"trust_remote_code": False}
        if not folder.is_dir():
            options["revision"] = revision or spec.revision
        bars = hf_logging.is_progress_bar_enabled()
        if folder.is_dir():
            hf_logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(place, **options)
            model = AutoModelForSequenceClassification.from_pretrained(
                place, use_safetensors=None if allow_pickle else True, **options
            )
        except Exception as error:  # every loader's own kind of failure means the same here: it is not there
            raise EmotionCircuitsError(_unavailable(spec, place, error)) from error
        finally:
            if bars:
                hf_logging.enable_progress_bar()
        self._labels = _checked_map(spec, place, {int(k): str(v) for k, v in model.config.id2label.items()})
        commit = getattr(model.config, "_commit_hash", None) or _folder_hash(folder) or options.get("revision")
        self.version = hash_json([place, commit, dict(self._labels), spec.multi_label])[:16] + f" {place}@{commit}"
        self.batch_rows = batch_rows
        self._pipeline = pipeline(
            "text-classification",
            model=model.eval(),
            tokenizer=tokenizer,
            device=device,
            top_k=None,
            function_to_apply="sigmoid" if spec.multi_label else "softmax",
        )
        limit = min(int(tokenizer.model_max_length), _positions(model.config))
        self._pipeline_options = dict(
            truncation=True, max_length=limit, batch_size=batch_rows,
            split_special_tokens=True,  # a text that spells one is characters
        )  # fmt: skip

    @property
    def columns(self) -> list[str]:
        """Probability columns in the map's order."""
        return [f"p_{column}" for column in dict.fromkeys(self._labels.values())]

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text; labels of the model outside of the map are left out."""
        rows = check_texts(texts, self.name)
        scored: list[dict[str, float]] = []
        with progress_bar(f"Scoring with {self.name}", len(rows)) as bar:
            for start in range(0, len(rows), self.batch_rows):
                chunk = rows[start : start + self.batch_rows]
                for answer in self._pipeline(chunk, **self._pipeline_options):
                    by_label = {item["label"]: float(item["score"]) for item in answer}
                    scored.append({c: round(self._joined(by_label, c), 6) for c in self.columns})
                bar.advance(len(chunk))
        table = pd.DataFrame(scored, columns=self.columns)
        table["label"] = self.decide(table)
        return table

    def _joined(self, by_label: Mapping[str, float], column: str) -> float:
        """Of several labels that mean one: their sum, or where each has its own sigmoid the largest."""
        found = [by_label[key] for key, name in self._labels.items() if f"p_{name}" == column]
        return max(found) if self.spec.multi_label else sum(found)

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """The most probable label; with sigmoids the fallback where none reaches one half."""
        values = scores[self.columns].to_numpy()
        names = [c.removeprefix("p_") for c in self.columns]
        return [
            self.spec.fallback
            if self.spec.multi_label and self.spec.fallback is not None and row.max() < 0.5
            else names[int(row.argmax())]
            for row in values
        ]


def _positions(config: Any) -> int:
    """Usable positions: RoBERTa-like models keep two of theirs for padding."""
    count = int(getattr(config, "max_position_embeddings", 512))
    return count - 2 if getattr(config, "model_type", "") in ("roberta", "xlm-roberta", "luke", "camembert") else count


def _folder_hash(folder: Path) -> str | None:
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return hash_json([file_sha256(f) for f in files])[:16] if files else None


def _unavailable(spec: HubSpec, place: str, error: Exception) -> str:
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    instead = (
        f"Evaluators of {spec.axis} that need no download: {', '.join(spec.offline)}."
        if spec.offline
        else f"There is no offline evaluator of {spec.axis}."
    )
    return (
        f"evaluator {spec.name!r}: {place} could not be loaded ({first.strip()}). Connect to the hub, or pass a local "
        f"copy with source=FOLDER (command line: {spec.name}=FOLDER). {instead}"
    )


def _checked_map(spec: HubSpec, place: str, id2label: Mapping[int, str]) -> Mapping[str, str]:
    has = set(id2label.values())
    if len(has) != len(id2label):
        raise EmotionCircuitsError(f"evaluator {spec.name!r}: {place} names two outputs alike: {dict(id2label)}")
    for labels in spec.maps:
        if set(labels) <= has:
            return labels
    missing = sorted(set(spec.maps[0]) - has)
    raise EmotionCircuitsError(
        f"evaluator {spec.name!r}: {place} has the labels {', '.join(sorted(has))}; the label map names "
        f"{', '.join(missing)}, which it does not have. Labels are matched exactly, capitals included."
    )
