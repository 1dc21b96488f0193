"""The three questions of a trace, asked for every emotion: who writes it, who reads it, who looks at its words.

Parts are chosen on validation sentences and read on test sentences, and so are those of the nulls
(:mod:`emotion_circuits.directions.trace_selection`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.trace_reading import ask_readers
from emotion_circuits.directions.trace_selection import Asked, marked, through_selection
from emotion_circuits.directions.trace_sets import ask_attention, ask_writers, can_attend
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.source import identity
from emotion_circuits.prompts import Prompt, prompts_sha256
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.parts import Kept, Tables, results

__all__ = ["SPLITS", "ask_question", "averaged_traces", "questions_of"]

SPLITS = ("validation", "test")
"""Where parts are chosen, and where they are read."""


def averaged_traces(
    model: LanguageModel,
    sentences: Mapping[str, Sequence[Prompt]],
    directions: DirectionSet,
    layer: int,
    *,
    nulls: Float[Tensor, "null label d_model"],
    top: int = 3,
    seed: int = 0,
    folder: Path | None = None,
    engine: Engine | None = None,
) -> dict[str, pd.DataFrame]:
    """Every component's part in every emotion, split by split, and which are chosen.

    Args:
        model: the model the directions belong to.
        sentences: of ``validation``, on which parts are chosen, and of ``test``, on which they are read.
        directions: a fitted set at ``resid_post``.
        layer: whose directions are traced.
        nulls: directions that mean nothing (fitted on shuffled labels, as the real ones were fitted, at the same layer), in
            the order of the labels; attention takes as many shuffles of the sentences' labels.
        top: how many parts each direction chooses.
        seed: of the bootstraps and of attention's shuffles.
        folder: where answers are kept, so that a trace that was interrupted goes on; the caller removes it once the tables
            are written. ``None``: nothing is kept.
        engine: where questions are answered; in this process by default.

    Returns:
        ``writers`` (:func:`average_components`), ``readers`` (:func:`reading_components`) and, for emotions whose words are
        marked and where attention can be observed, ``attention`` (:func:`average_attention`), each with the columns
        ``emotion`` and ``split`` and those of
        :func:`~emotion_circuits.directions.trace_selection.marked` besides.

    Raises:
        EmotionCircuitsError: as those, other splits, or another process is working on this trace in the folder.
    """
    if set(sentences) != set(SPLITS):
        raise EmotionCircuitsError(f"a trace needs sentences of {' and '.join(SPLITS)}, got {', '.join(sentences)}")
    tasks = [[e, q] for e in directions.labels for q in questions_of(model, sentences, e, directions.compared_with(e))]
    work = {
        "format": 2,
        **identity(model),
        "sentences": {split: prompts_sha256(rows) for split, rows in sentences.items()},
        "directions": directions.sha256(),
        "layer": layer,
        "nulls": hashlib.sha256(nulls.detach().cpu().contiguous().numpy().tobytes()).hexdigest(),
        "top": top,
        "seed": seed,
    }
    of = _Traced({split: list(sentences[split]) for split in SPLITS}, directions, layer, nulls, top, seed)
    kept = Kept("trace", Tables())
    answers = results(folder, work, tasks, Compute(_answer, of, model), kept, engine=engine, title="tracing")
    return {
        question: pd.concat([a for a, (*_, q) in zip(answers, tasks, strict=True) if q == question], ignore_index=True)
        for question in dict.fromkeys(q for _, q in tasks)
    }


@dataclass(frozen=True, eq=False)
class _Traced:
    """What the questions are asked of."""

    sentences: dict[str, list[Prompt]]
    directions: DirectionSet
    layer: int
    nulls: Tensor
    top: int
    seed: int


def questions_of(
    model: LanguageModel,
    sentences: Mapping[str, Sequence[Prompt]],
    emotion: str,
    compared: Sequence[str] = ("neutral",),
) -> list[str]:
    """What can be asked about an emotion: attention only where the model shows it and words are marked in both splits."""
    seen = "pattern" not in model.refused and all(
        can_attend(model, rows, emotion, compared) for rows in sentences.values()
    )
    return ["writers", "readers", *(["attention"] if seen else [])]


def ask_question(
    model: LanguageModel,
    sentences: Sequence[Prompt],
    directions: DirectionSet,
    emotion: str,
    layer: int,
    question: str,
    split: str,
    nulls: Float[Tensor, "null label d_model"],
    seed: int,
) -> Asked:
    """One question about one emotion on the sentences of one split, of the real direction and of every null."""
    if question == "attention":
        # Either split's labels are shuffled by themselves.
        own = seed + SPLITS.index(split)
        compared = directions.compared_with(emotion)
        return ask_attention(model, sentences, emotion, compared=compared, draws=len(nulls), seed=own)
    ask = ask_writers if question == "writers" else ask_readers
    of_emotion = nulls[:, directions.row(emotion)]
    return ask(model, sentences, directions, emotion, layer, nulls=of_emotion, seed=seed)


def _answer(model: LanguageModel, of: _Traced, task: Sequence[str]) -> pd.DataFrame:
    emotion, question = task
    asked = {
        split: ask_question(model, rows, of.directions, emotion, of.layer, question, split, of.nulls, of.seed)
        for split, rows in of.sentences.items()
    }
    selected = through_selection(
        *(asked[split].figures for split in SPLITS), top=of.top, two_sided=question == "writers"
    )
    tables = [
        marked(asked[split], selected, test=split == "test").assign(emotion=emotion, split=split) for split in SPLITS
    ]
    return pd.concat(tables, ignore_index=True)
