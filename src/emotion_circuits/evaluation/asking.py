"""A language model asked for the label of a text: the log-probability of each answer, corrected for what it says of nothing.

Answers differ in how often they are said at all and in where they stand in the question, so the log-probability of an answer is
taken relative to that after texts without content (Zhao et al. 2021, *Calibrate Before Use*), and averaged over the labels named
in their order and in the opposite one. Where the tokenizer has a chat template the question is a user's turn.

How good such a judge is differs widely between models: it is validated like any other before anything rests on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy.special import softmax

from emotion_circuits.activations.pooling import batches_by_length
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import check_texts
from emotion_circuits.model import LanguageModel, blueprint, load_model, weights_sha256
from emotion_circuits.model.chat import chat_turns, has_chat_template
from emotion_circuits.paths import hash_json
from emotion_circuits.progress import progress_bar

__all__ = ["ASKED", "AskedModel"]

ASKED = "asked"
"""Name of the judge in an attribute's list."""
_NOTHING = ("N/A", "…", "-")
"""Texts without content."""
_TOKENS = 512
"""Of one batch: a large vocabulary's logits are kept of each."""


class AskedModel:
    """Columns ``p_<label>`` (summing to 1) and ``label``.

    Args:
        model: bundled name, hub id, folder or GGUF file.
        question: with the places ``{text}`` and ``{labels}``; it ends where the answer begins.
        answers: label → the word that answers so, in the question's language.
        axis: what is judged.
        language: of the texts.

    Raises:
        EmotionCircuitsError: no such model, or a bundled one that is not installed; two labels with one answer.
    """

    name = ASKED

    def __init__(
        self, model: str, question: str, answers: Mapping[str, str], *, axis: str = "emotion", language: str = "en"
    ) -> None:
        plan = blueprint(model)
        if plan is None:
            raise EmotionCircuitsError(
                f"the judge asks {model}, which is not installed: emotion-circuits models install {model}"
            )
        if len(set(answers.values())) < len(answers):
            raise EmotionCircuitsError("asked.answers: two labels have the same answer; give each its own word")
        self.model, self.question, self.answers, self.axis = model, question, dict(answers), axis
        self.labels = tuple(self.answers)
        self.languages: tuple[str, ...] | None = (language,)
        self.version = hash_json([weights_sha256(plan), question, self.answers, list(_NOTHING)])[:16]

    @cached_property
    def _loaded(self) -> LanguageModel:
        return load_model(self.model, device="cpu", dtype="float32")

    def _questions(self, texts: Sequence[str], order: Sequence[str]) -> list[list[int]]:
        """Tokens of each question, up to where the answer begins."""
        model, labels = self._loaded, ", ".join(self.answers[label] for label in order)
        questions = [self.question.format(text=text, labels=labels) for text in texts]
        if not has_chat_template(model):
            return model.encode(questions).ids
        return model.encode(chat_turns(model, questions), add_special_tokens=False).ids

    def _answers(self, question: str) -> list[list[int]]:
        """Tokens of each label's answer; behind plain text that ends in a letter or mark of ASCII they follow a space."""
        model = self._loaded
        lead = " " if not has_chat_template(model) and question[-1:].isascii() else ""
        return model.continuing([lead + self.answers[label] for label in self.labels])

    @torch.inference_mode()
    def _log_probabilities(self, texts: Sequence[str], order: Sequence[str]) -> Float[np.ndarray, "text label"]:
        model, ends = self._loaded, self._answers(self.question)
        rows, where = [], []
        for ids in self._questions(texts, order):
            for end in ends:
                rows.append([*ids, *end])
                where.append(len(ids))
        out = np.empty(len(rows))
        with progress_bar(f"asking {model.name}", len(rows)) as bar:
            for chosen in batches_by_length(rows, _TOKENS):
                batch = model.collate([rows[i] for i in chosen], side="right")
                logits = model.logits(batch).float().log_softmax(-1)
                for place, i in enumerate(chosen):
                    at = torch.arange(where[i] - 1, len(rows[i]) - 1)
                    said = torch.tensor(rows[i][where[i] :])
                    out[i] = float(logits[place, at, said].sum())
                bar.advance(len(chosen))
        return out.reshape(len(texts), len(self.labels))

    @cached_property
    def _of_nothing(self) -> dict[tuple[str, ...], Float[np.ndarray, " label"]]:
        return {order: self._log_probabilities(_NOTHING, order).mean(0) for order in self._orders}

    @property
    def _orders(self) -> tuple[tuple[str, ...], ...]:
        return (self.labels, self.labels[::-1])

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """One row per text."""
        rows = check_texts(texts, self.name)
        columns = [f"p_{label}" for label in self.labels]
        if not rows:
            return pd.DataFrame({**{c: pd.Series(dtype=float) for c in columns}, "label": pd.Series(dtype=str)})
        corrected = [self._log_probabilities(rows, order) - self._of_nothing[order] for order in self._orders]
        table = pd.DataFrame(np.round(softmax(np.mean(corrected, axis=0), axis=1), 6), columns=columns)
        table["label"] = self.decide(table)
        return table

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """The most probable label."""
        best = scores[[f"p_{label}" for label in self.labels]].to_numpy().argmax(axis=1)
        return [self.labels[int(i)] for i in best]
