"""The three questions of a trace, asked for every emotion and split: who writes it, who reads it, who looks at its words."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.trace_reading import reading_components
from emotion_circuits.directions.trace_sets import average_attention, average_components
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.source import identity
from emotion_circuits.prompts import Prompt, prompts_sha256
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.parts import Kept, Tables, results

__all__ = ["averaged_traces"]


def averaged_traces(
    model: LanguageModel,
    sentences: Mapping[str, Sequence[Prompt]],
    directions: DirectionSet,
    layer: int,
    *,
    nulls: Float[Tensor, "null label d_model"],
    seed: int = 0,
    folder: Path | None = None,
    engine: Engine | None = None,
) -> dict[str, pd.DataFrame]:
    """Every component's part in every emotion, split by split.

    Args:
        model: the model the directions belong to.
        sentences: of each split.
        directions: a fitted set at ``resid_post``.
        layer: whose directions are traced.
        nulls: directions that mean nothing (fitted on shuffled labels), in the order of the labels.
        seed: of the bootstraps.
        folder: where answers are kept, so that a trace that was interrupted goes on; the caller removes it once the tables
            are written. ``None``: nothing is kept.
        engine: where questions are answered; in this process by default.

    Returns:
        ``writers`` (:func:`average_components`), ``readers`` (:func:`reading_components`) and, where attention can be
        observed, ``attention`` (:func:`average_attention`), each with the columns ``emotion`` and ``split`` besides.

    Raises:
        EmotionCircuitsError: as those, or another process is working on this trace in the folder.
    """
    questions = ["writers", "readers", *(["attention"] if "pattern" not in model.refused else [])]
    work = {
        "format": 1,
        **identity(model),
        "sentences": {split: prompts_sha256(rows) for split, rows in sentences.items()},
        "directions": directions.sha256(),
        "layer": layer,
        "nulls": hashlib.sha256(nulls.detach().cpu().contiguous().numpy().tobytes()).hexdigest(),
        "seed": seed,
    }
    of = _Traced({split: list(rows) for split, rows in sentences.items()}, directions, layer, nulls, seed)
    tasks = [[split, emotion, q] for split in sentences for emotion in directions.labels for q in questions]
    kept = Kept("trace", Tables())
    answers = results(folder, work, tasks, Compute(_answer, of, model), kept, engine=engine, title="tracing")
    return {
        question: pd.concat([a for a, (*_, q) in zip(answers, tasks, strict=True) if q == question], ignore_index=True)
        for question in questions
    }


@dataclass(frozen=True, eq=False)
class _Traced:
    """What the questions are asked of."""

    sentences: dict[str, list[Prompt]]
    directions: DirectionSet
    layer: int
    nulls: Tensor
    seed: int


def _answer(model: LanguageModel, of: _Traced, task: Sequence[str]) -> pd.DataFrame:
    split, emotion, question = task
    sentences = of.sentences[split]
    if question == "attention":
        table = average_attention(model, sentences, emotion, reference=of.directions.reference, seed=of.seed)
    else:
        ask = average_components if question == "writers" else reading_components
        own = of.nulls[:, of.directions.row(emotion)].float()
        table = ask(model, sentences, of.directions, emotion, of.layer, nulls=own, seed=of.seed)
    return table.assign(emotion=emotion, split=split)
