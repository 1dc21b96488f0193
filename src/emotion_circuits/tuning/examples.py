"""What is learnt from: a preferred and a dispreferred continuation of one beginning, from train splits alone.

Two sources. Corpora hold sentences of several labels in one scene: a sentence of the value is preferred to one of what it is
compared with. A model's own texts are continuations of train openings: a steered text that the judge calls the value, and that
stays fluent, is preferred to what the model writes on that opening by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.prompts import Prompt, corpus_of
from emotion_circuits.steering.scoring import REPEATS

__all__ = ["SPLIT", "Example", "Sequence3", "corpus_examples", "encoded", "mixed", "own_examples", "refuse_seen"]

SPLIT = "train"
"""The only split that anything is learnt from."""
_LEAD = "\n"
"""Stands before a text of a corpus where the model begins texts with no token of its own: the first token has no context."""


@dataclass(frozen=True)
class Example:
    """One preference.

    Attributes:
        prompt: the beginning that both continue; empty for whole texts.
        chosen: what is preferred: of the value.
        rejected: what is not.
        group: of the scene or opening, within its corpus.
        source: the corpus, or ``own`` for texts that the model wrote.
    """

    prompt: str
    chosen: str
    rejected: str
    group: str
    source: str


@dataclass(frozen=True)
class Sequence3:
    """An example as tokens: the beginning, and the two continuations."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


def corpus_examples(prompts: Sequence[Prompt], value: str, compared: Sequence[str]) -> list[Example]:
    """Sentences of a value against sentences of the same scene, of the train split.

    Args:
        prompts: labelled texts; other splits are left alone.
        value: that is preferred.
        compared: labels of what is not: the reference, or the other values.

    Returns:
        One per pair of sentences of one group, in the order of the texts.

    Example:
        >>> rows = [
        ...     Prompt(id=n, text=t, label=n, group="g", split="train", language="en", set="s")
        ...     for n, t in (("joy", "It is a fine day."), ("plain", "It is a day."))
        ... ]
        >>> [(e.chosen, e.rejected) for e in corpus_examples(rows, "joy", ["plain"])]
        [('It is a fine day.', 'It is a day.')]
    """
    groups: dict[tuple[str, str], list[Prompt]] = {}
    for row in prompts:
        if row.split == SPLIT:
            groups.setdefault((corpus_of(row.set), row.group), []).append(row)
    return [
        Example("", good.text, other.text, group, corpus)
        for (corpus, group), rows in groups.items()
        for good in rows
        if good.label == value
        for other in rows
        if other.label in compared
    ]


def own_examples(scored: pd.DataFrame, value: str, *, judge: str, ratio: float) -> list[Example]:
    """Steered texts that the judge accepts against unsteered ones of the same opening, on openings of the train split.

    Args:
        scored: a scored sweep with unsteered text (kind ``none``) and texts steered towards the value.
        value: that is preferred.
        judge: the evaluator that accepts: its label of a steered text is the value, of an unsteered one it is not.
        ratio: largest perplexity over that of the unsteered text of the same opening and sample.

    Returns:
        One per accepted text that has an unsteered one beside it; a text that occurs twice counts once.
    """
    rows = scored[scored["split"] == SPLIT]
    label = f"{judge}_label"
    plain = rows[(rows["kind"] == "none") & (rows[label] != value)].set_index(["prompt_id", "sample"])
    found: dict[tuple[str, str], Example] = {}
    steered = rows[(rows["kind"] == "emotion") & (rows["emotion"] == value) & (rows[label] == value)]
    for row in steered.to_dict("records"):
        key = (row["prompt_id"], row["sample"])
        if key not in plain.index:
            continue
        beside = plain.loc[key]
        fluent = row["nats"] - beside["nats"] <= np.log(ratio) and row["repetition"] - beside["repetition"] < REPEATS
        if fluent and str(row["text"]).strip() and str(beside["text"]).strip():
            text = str(row["text"])
            found.setdefault(
                (str(row["prompt"]), text),
                Example(str(row["prompt"]), text, str(beside["text"]), str(row["group"]), "own"),
            )
    return list(found.values())


def mixed(own: Sequence[Example], corpora: Sequence[Example], count: int, share: float, seed: int) -> list[Example]:
    """So many examples of both sources in a drawn order; where one has too few, the other fills up.

    Args:
        own: of the model's own texts.
        corpora: of sentences.
        count: at most so many.
        share: of own texts among them.
        seed: of the draw.

    Raises:
        EmotionCircuitsError: there are none at all.
    """
    rng = np.random.default_rng(seed)
    drawn = [[rows[int(i)] for i in rng.permutation(len(rows))] for rows in (own, corpora)]
    first = min(len(drawn[0]), max(round(count * share), count - len(drawn[1])))
    taken = [*drawn[0][:first], *drawn[1][: count - first]]
    if not taken:
        raise EmotionCircuitsError(
            "tuning has nothing to learn from: no sentence of the value beside another of its scene in the train split, and no "
            "steered text that the judge accepts"
        )
    return [taken[int(i)] for i in rng.permutation(len(taken))]


def refuse_seen(examples: Sequence[Example], held: Sequence[Prompt]) -> None:
    """Refuse examples that hold an opening on which something is reported, or come of its group.

    Args:
        examples: what is learnt from.
        held: openings that are reported on.

    Raises:
        EmotionCircuitsError: naming the first one.
    """
    texts, groups = {" ".join(p.text.split()) for p in held}, {p.group for p in held}
    for one in examples:
        if " ".join(one.prompt.split()) in texts or (one.source == "own" and one.group in groups):
            raise EmotionCircuitsError(
                f"tuning would learn from the opening {one.prompt[:60]!r}, on which it reports; report on openings of another "
                "corpus"
            )


def encoded(model: LanguageModel, examples: Sequence[Example], longest: int) -> list[Sequence3]:
    """Examples as tokens, as the model reads and writes them: no token that ends a text is put behind them.

    Args:
        model: whose tokenizer.
        examples: any.
        longest: tokens of a continuation; what follows is cut off.

    Raises:
        EmotionCircuitsError: a text that the model cannot read.
    """
    lead = model.encode([""]).ids[0] or model.encode([_LEAD]).ids[0]
    heads = [lead if not e.prompt else model.encode([e.prompt]).ids[0] for e in examples]
    chosen, rejected = (
        model.continuing([getattr(e, name) for e in examples]) for name in ("chosen", "rejected")
    )  # fmt: skip
    return [
        Sequence3(tuple(head), tuple(good[:longest]), tuple(other[:longest]))
        for head, good, other in zip(heads, chosen, rejected, strict=True)
        if good and other
    ]
