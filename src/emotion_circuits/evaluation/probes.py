"""Probes on sentence embeddings: which value of an attribute a text expresses, and how polite it is.

A logistic regression on all-MiniLM-L6-v2 states (mean over tokens, every layer; for other languages than English on a
language model's states), fitted on labelled corpora: its strength
is chosen between their train and validation splits, then both are fitted, and its accuracy is measured on their test
splits; the texts it later judges are generated ones, so these figures say how good the instrument is, not how good the
generations are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version as package_version
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation.base import Validation, check_texts
from emotion_circuits.evaluation.embedding import SentenceEmbedder
from emotion_circuits.evaluation.states import StateEmbedder
from emotion_circuits.evaluation.validating import validate
from emotion_circuits.paths import cache_dir, hash_json, replacing
from emotion_circuits.prompts import Attribute, Prompt, corpus_of, find_words, load_prompts, prompts_sha256

__all__ = ["AttributeClassifier", "EmbeddingProbe", "Politeness"]

_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Embedder(Protocol):
    """Texts as vectors, with a version that changes whenever these could.

    Attributes:
        languages: that it reads; ``None`` where that is the caller's to know.
        version: of the vectors.
        root: folder instead of the user's cache.
    """

    languages: tuple[str, ...] | None
    version: str
    root: Path | None

    def embed(self, texts: Sequence[str], *, remember: bool = True) -> Float[np.ndarray, "text d"]:
        """One row per text."""
        ...


class _Weights(NamedTuple):
    coefficients: Float[np.ndarray, "label d"]
    intercepts: Float[np.ndarray, " label"]
    strength: float

    @classmethod
    def of(cls, model: LogisticRegression, strength: float) -> _Weights:
        """A fitted model's, one row per label: of two labels scikit-learn keeps one row, the second one's log-odds."""
        coefficients, intercepts = model.coef_.copy(), model.intercept_.copy()
        if len(coefficients) == 1:
            coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
            intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
        return cls(coefficients, intercepts, strength)

    def probabilities(self, x: Float[np.ndarray, "text d"]) -> Float[np.ndarray, "text label"]:
        """Softmax over labels."""
        return softmax(x.astype(np.float64) @ self.coefficients.T + self.intercepts, axis=1)  # type: ignore[no-any-return]


def _sum_of(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


class EmbeddingProbe:
    """Multinomial logistic regression on sentence embeddings.

    Args:
        name: of the evaluator.
        axis: what it judges.
        prompts: labelled texts with their splits; ``train`` is fitted, ``validation`` chooses the strength of
            regularisation (by log loss) and is fitted with it then, ``test`` is only ever scored.
        labels: order of the probability columns.
        choose: labelled texts that choose the strength instead, and are never fitted: those of the kind it will judge know
            better which one carries over.
        embedder: sentence embedder.

    Raises:
        EmotionCircuitsError: a label without texts to fit or to choose on.
    """

    def __init__(
        self,
        name: str,
        axis: str,
        prompts: Sequence[Prompt],
        labels: Sequence[str],
        *,
        choose: Sequence[Prompt] = (),
        embedder: Embedder | None = None,
    ) -> None:
        self.name, self.axis, self.labels = name, axis, tuple(labels)
        self.embedder = embedder or SentenceEmbedder(layers="all")
        self.languages = self.embedder.languages
        self._splits = {s: [p for p in prompts if p.split == s] for s in ("train", "validation", "test")}
        # Judged texts are no part of it: a judge whose corpora keep none back is tested on the attribute's labelled text.
        for split in ("train", "validation"):
            missing = set(self.labels) - {p.label for p in self._splits[split]}
            if missing:
                raise EmotionCircuitsError(
                    f"evaluator {name}: no text labelled {', '.join(sorted(missing))} in the {split} split"
                )
        self._choosing = list(choose) or self._splits["validation"]
        if missing := set(self.labels) - {p.label for p in self._choosing}:
            raise EmotionCircuitsError(
                f"evaluator {name}: no text labelled {', '.join(sorted(missing))} to choose the strength on"
            )
        self.version = hash_json(
            [
                prompts_sha256(self._splits["train"] + self._splits["validation"] + list(choose)),
                list(self.labels),
                list(_STRENGTHS),
                "fitted on train and validation",
                self.embedder.version,
                package_version("scikit-learn"),
            ]
        )[:16]

    @property
    def fitted_on(self) -> list[Prompt]:
        """Every text that is fitted or chosen on: the train and the validation split, and those that chose the strength."""
        known = {id(p) for p in self._splits["validation"]}
        return [
            *self._splits["train"], *self._splits["validation"], *(p for p in self._choosing if id(p) not in known),
        ]  # fmt: skip

    @cached_property
    def _fitted(self) -> _Weights:
        """Weights by (version): fitted once, then read from the cache, if they are what was written."""
        path = (self.embedder.root or cache_dir()) / "probes" / f"{self.name}-{self.version}.safetensors"
        try:
            with safe_open(path, framework="numpy") as file:
                saved = {name: file.get_tensor(name) for name in ("coefficients", "intercepts", "strength")}
                # One flipped bit leaves a file that reads well and judges otherwise.
                if file.metadata()["sha256"] == _sum_of(saved):
                    return _Weights(saved["coefficients"], saved["intercepts"], float(saved["strength"][0]))
        except (OSError, KeyError, TypeError, SafetensorError):
            pass
        found = self._fit()
        kept = {
            "coefficients": found.coefficients,
            "intercepts": found.intercepts,
            "strength": np.array([found.strength]),
        }
        with replacing(path) as temporary:
            save_file(kept, temporary, metadata={"sha256": _sum_of(kept)})
        return found

    def _labelled(self, rows: Sequence[Prompt]) -> tuple[Float[np.ndarray, "text d"], list[int]]:
        return self.embedder.embed([p.text for p in rows]), [self.labels.index(p.label) for p in rows]

    def _fit(self) -> _Weights:
        held = self._splits["validation"]
        (x, y), (xv, yv) = self._labelled(self._splits["train"]), self._labelled(held)
        xc, yc = (xv, yv) if self._choosing is held else self._labelled(self._choosing)
        best: tuple[float, _Weights] | None = None
        # Rising strengths, each fit starting from the one before it.
        model = LogisticRegression(max_iter=5000, tol=1e-5, warm_start=True)
        for strength in _STRENGTHS:
            model.set_params(C=strength).fit(x.astype(np.float64), y)
            found = _Weights.of(model, strength)
            loss = float(log_loss(yc, found.probabilities(xc), labels=range(len(self.labels))))
            if best is not None and loss >= best[0]:
                break
            best = (loss, found)
        assert best is not None
        # The validation sentences are then learnt from too: a third more of them.
        strength = best[1].strength
        whole = LogisticRegression(C=strength, max_iter=5000, tol=1e-5)
        whole.fit(np.vstack([x, xv]).astype(np.float64), [*y, *yv])
        return _Weights.of(whole, strength)

    @property
    def strength(self) -> float:
        """Inverse regularisation chosen on validation."""
        return self._fitted.strength

    def score(self, texts: Sequence[str]) -> pd.DataFrame:
        """Columns ``p_<label>`` (summing to 1) and ``label``."""
        rows = check_texts(texts, self.name)
        columns = [f"p_{label}" for label in self.labels]
        if not rows:
            return pd.DataFrame({**{c: pd.Series(dtype=float) for c in columns}, "label": pd.Series(dtype=str)})
        probabilities = self._fitted.probabilities(self.embedder.embed(rows, remember=False))
        # Batch size may change an embedding's last bits; six decimals keep the same text's score the same.
        table = pd.DataFrame(np.round(probabilities, 6), columns=columns)
        table["label"] = self.decide(table)
        return table

    def decide(self, scores: pd.DataFrame) -> list[str]:
        """The most probable label."""
        best = scores[[f"p_{label}" for label in self.labels]].to_numpy().argmax(axis=1)
        return [self.labels[int(i)] for i in best]

    @cached_property
    def validation(self) -> Validation:
        """Held-out accuracy, confusion and calibration on the test splits."""
        test = self._splits["test"]
        sets = sorted({corpus_of(p.set) for p in test})
        return validate(self, test, data=" + ".join(sets), split="test")


class AttributeClassifier(EmbeddingProbe):
    """Which value of an attribute a text expresses, or none of them: columns ``p_<label>`` and ``label``.

    The judge of generated text. It should be fitted on other sentences, by other hands, than directions are
    (``classifier.fit``), or a direction of the corpora's style is read back as the value. A probe that knows the attribute's
    own kinds of sentence only must call any text one of them. So the reference is fitted on everything else too that the
    attribute names (``classifier.none``), and means *none of the values*. Rows with a word of the attribute's lexicon are
    left out of that part.

    Args:
        attribute: whose labels; its corpora are fitted on.
        forced: a forced choice between the kinds of sentence of the corpora, without ``classifier.none``; named
            ``<axis>-forced``.
        prompts: own labelled texts instead of the attribute's.
        embedder: sentence embedder.
        root: folder for embeddings instead of the user's cache.

    Raises:
        EmotionCircuitsError: a corpus that is not there, or a label without texts in one of the splits.
    """

    def __init__(
        self,
        attribute: Attribute,
        *,
        forced: bool = False,
        prompts: Sequence[Prompt] | None = None,
        embedder: Embedder | None = None,
        root: Path | None = None,
    ) -> None:
        if prompts is not None:
            rows = list(prompts)
        else:
            rows = load_prompts(attribute.classifier_corpora(), labels=attribute.labels)
            rows += [] if forced else _none_of_them(attribute)
        own = prompts is None and not forced
        choose = load_prompts(attribute.classifier.choose, split="validation", labels=attribute.labels) if own else []
        super().__init__(
            f"{attribute.axis}-forced" if forced else attribute.axis,
            attribute.axis,
            rows,
            attribute.labels,
            choose=choose,
            embedder=embedder or features_of(attribute, root=root),
        )


def features_of(attribute: Attribute, *, root: Path | None = None) -> Embedder:
    """What an attribute's own judge reads of a text (``classifier.features``).

    Raises:
        EmotionCircuitsError: none named for a language that the sentence embedding does not read; a model that is not there.
    """
    named = attribute.classifier.features
    if named is not None and named.startswith("states:"):
        return StateEmbedder(named.removeprefix("states:"), root=root)
    if named is None and attribute.language != "en":
        raise EmotionCircuitsError(
            f"classifier.features: the sentence embedding reads English, the texts are {attribute.language!r}; name a model that "
            "knows the language, e.g. features: states:gemma3-270m"
        )
    return SentenceEmbedder(layers="all", root=root)


def _none_of_them(attribute: Attribute) -> list[Prompt]:
    """Texts that express no value, labelled as the reference."""
    if not attribute.classifier.none:
        return []
    words = attribute.lexicon_words()
    return [
        p.model_copy(update={"label": attribute.reference})
        for p in load_prompts(attribute.classifier.none)
        if words is None or not find_words(p.text, attribute.language, words=words)
    ]


class Politeness(EmbeddingProbe):
    """polite / neutral / impolite: columns ``p_polite p_neutral p_impolite label`` and the set's own labels mapped.

    Args:
        prompts: own labelled texts (``polite``, ``neutral``, ``impolite``) instead of the bundled set.
        embedder: sentence embedder.

    Raises:
        EmotionCircuitsError: a label without texts in one of the splits.
    """

    def __init__(self, *, prompts: Sequence[Prompt] | None = None, embedder: SentenceEmbedder | None = None) -> None:
        rows = list(prompts) if prompts is not None else load_prompts("attributes/politeness")
        names = {"positive": "polite", "negative": "impolite"}
        rows = [p.model_copy(update={"label": names.get(p.label, p.label)}) for p in rows]
        super().__init__("politeness", "politeness", rows, ("polite", "neutral", "impolite"), embedder=embedder)
