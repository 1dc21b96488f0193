"""What a written text came to, read by those who had no part in steering it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import AttributeClassifier, Evaluator, Fluency, SentenceEmbedder, judge_of, judge_texts
from emotion_circuits.evaluation.states import StateEmbedder
from emotion_circuits.prompts import Attribute, load_prompts
from emotion_circuits.tone.searching import Score

__all__ = ["Unsteered", "Written", "another_judge", "impartial_judge", "probabilities", "read_texts", "unsteered"]


@dataclass(frozen=True)
class Written:
    """A text and what it answers.

    Attributes:
        prompt: the request as it stands before an unsteered reply: perplexity is that of a reply to it, whatever was added to the
            request to get the text.
        text: what was written.
        ids: its tokens.
    """

    prompt: str
    text: str
    ids: Sequence[int]


@dataclass(frozen=True)
class Unsteered:
    """What texts are compared with: unsteered replies to the same request.

    Attributes:
        nats: mean negative log-likelihood per token of the replies, averaged.
        embeddings: ``[reply, d]``, of unit length; ``None``: similarity is not asked for.
    """

    nats: float
    embeddings: Any | None

    @property
    def alike(self) -> float | None:
        """How similar the replies are to the nearest other one, on average: what a bound can be held against."""
        if self.embeddings is None or len(self.embeddings) < 2:
            return None
        among = self.embeddings @ self.embeddings.T
        np.fill_diagonal(among, -1.0)
        return float(among.max(axis=1).mean())


def impartial_judge(
    attribute: Attribute, fit: Sequence[str], values: Sequence[str], *, name: str | None = None
) -> Evaluator:
    """The judge that decides for an attribute, or another one of its, if it was not fitted on what vectors were fitted on.

    Args:
        attribute: what is steered.
        fit: corpora that the vectors were fitted on.
        values: that it has to know.
        name: of the judge.

    Raises:
        EmotionCircuitsError: no judge, one that does not know the values, or one that shares sentences with the vectors.
    """
    if name is None and not attribute.judges:
        raise EmotionCircuitsError(
            f"{attribute.where}: names no judges, so that nobody can say whether a tone is reached"
        )
    name = name or attribute.judges[0]
    shared = judge_texts(attribute, load_prompts(fit)).get(name, {}).get("shared_sentences", 0)
    if shared:
        raise EmotionCircuitsError(
            f"{attribute.where}: the judge {name!r} was fitted on {shared} sentences that the vectors were fitted on too, and "
            "would read their style back; give it sentences of its own (classifier.fit)"
        )
    judge = judge_of(attribute, name, cache=False)
    probabilities(judge.name, judge.score(["."]), values)
    return judge


def another_judge(attribute: Attribute, name: str) -> Evaluator:
    """A judge by name; ``states:MODEL``: one fitted on the texts of the attribute's own, reading them off that model's states.

    Raises:
        EmotionCircuitsError: no such judge.
    """
    if name.startswith("states:"):
        made = AttributeClassifier(attribute, embedder=StateEmbedder(name.removeprefix("states:")))
        made.name = name.replace(":", "-")
        return made
    return judge_of(attribute, name)


def probabilities(judge: str, scores: pd.DataFrame, values: Sequence[str]) -> pd.DataFrame:
    """A judge's probability of each value by text; one that counts words gives 1 where there is any, else 0.

    Raises:
        EmotionCircuitsError: it does not know a value.
    """
    found = {}
    for value in values:
        if f"p_{value}" in scores:
            found[value] = scores[f"p_{value}"].astype(float)
        elif f"n_{value}" in scores:
            found[value] = (scores[f"n_{value}"] > 0).astype(float)
        else:
            raise EmotionCircuitsError(f"the judge {judge!r} gives no probability of {value}")
    return pd.DataFrame(found)


def unsteered(
    replies: Sequence[Written], fluency: Fluency, embedder: SentenceEmbedder | None, *, special: bool
) -> Unsteered:
    """What is needed of unsteered replies.

    Args:
        replies: to one request.
        fluency: of the unsteered model.
        embedder: ``None``: similarity is not asked for.
        special: whether special tokens stand before the request (not in a chat).

    Raises:
        EmotionCircuitsError: all of them are empty.
    """
    nats = _nats(replies, fluency, special)
    if not np.isfinite(nats).any():
        raise EmotionCircuitsError(
            "the unsteered model answers this request with nothing, so that there is nothing to compare"
        )
    said = [r.text for r in replies]
    return Unsteered(float(np.nanmean(nats)), None if embedder is None else embedder.embed(said))


def read_texts(
    texts: Sequence[Written],
    against: Sequence[Unsteered],
    judge: Evaluator,
    values: Sequence[str],
    fluency: Fluency,
    embedder: SentenceEmbedder | None,
    *,
    special: bool,
) -> list[Score]:
    """Scores of texts.

    Args:
        texts: the texts.
        against: by text, the unsteered replies to its request.
        judge: reads them.
        values: that are asked of it.
        fluency: of the unsteered model.
        embedder: as in :func:`unsteered`.
        special: as there.
    """
    said = [t.text for t in texts]
    scores = judge.score(said)
    known, labels = probabilities(judge.name, scores, values).to_dict("records"), judge.decide(scores)
    nats = _nats(texts, fluency, special)
    embeddings = None if embedder is None else embedder.embed(said)
    found = []
    for i, base in enumerate(against):
        near = None if embeddings is None or base.embeddings is None else float((base.embeddings @ embeddings[i]).max())
        own = {str(v): float(p) for v, p in known[i].items()}
        found.append(Score(own, labels[i], math.exp(min(nats[i] - base.nats, 50.0)), near))
    return found


def _nats(texts: Sequence[Written], fluency: Fluency, special: bool) -> Any:
    table = fluency.score(
        [t.prompt for t in texts], [t.text for t in texts], ids=[t.ids for t in texts], add_special_tokens=special
    )
    return table["nats"].to_numpy(dtype=float)
