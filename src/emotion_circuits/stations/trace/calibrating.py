"""Does the trace claim what is not there, and find what is? Its claims of shuffled directions, beside those of the real ones.

Every direction, real, shuffled or null, is asked in one go: what a direction's parts do does not depend on which of them is
called the real one, so that a hundred shuffled traces cost what their directions cost, and not a hundred times all nulls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions import DirectionSet, shuffled_vectors
from emotion_circuits.directions.trace_questions import SPLITS, ask_question, questions_of
from emotion_circuits.directions.trace_selection import Asked, marked, through_selection
from emotion_circuits.model import LanguageModel
from emotion_circuits.prompts import Prompt
from emotion_circuits.stations.trace.claims import trace_claims
from emotion_circuits.statistics import Claim, corrected, paired_differences

__all__ = ["Calibrated", "calibrate_trace", "tested_as"]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Claims of one model's trace, and of traces of nothing.

    Attributes:
        real: claims of the directions themselves.
        shuffled: claims of each trace whose labels were shuffled.
    """

    real: list[Claim]
    shuffled: list[list[Claim]]


def calibrate_trace(
    model: LanguageModel,
    store: ActivationStore,
    sentences: Mapping[str, Sequence[Prompt]],
    directions: DirectionSet,
    layer: int,
    *,
    times: int = 100,
    draws: int = 200,
    top: int = 3,
    seed: int = 0,
    questions: Sequence[str] | None = None,
) -> Calibrated:
    """The trace's claims, as its station makes them, and those of traces with shuffled labels in the place of the real ones.

    Directions: labels shuffled within groups on the sentences they were fitted on, the same extractor and layer. Attention,
    which has none: labels shuffled within groups of the traced sentences. All ``times`` are held against the same ``draws``
    nulls, so that their rate varies with the nulls besides: by about sqrt(0.05 · 0.95 / draws).

    Args:
        model: the model.
        store: the capture the directions were fitted on.
        sentences: of ``validation`` and ``test``.
        directions: a fitted set at ``resid_post``.
        layer: whose directions are traced.
        times: traces of nothing.
        draws: nulls of each.
        top: parts per value and question.
        seed: of all shuffles and of the bootstrap.
        questions: some of ``writers``, ``readers``, ``attention``; all that can be asked by default.
    """
    drawn = shuffled_vectors(store, directions, layer, draws=times + draws, seed=seed)
    tables: list[dict[str, list[pd.DataFrame]]] = [{} for _ in range(times + 1)]
    for emotion in directions.labels:
        for question in questions or questions_of(model, sentences, emotion, directions.compared_with(emotion)):
            asked = {
                split: ask_question(model, sentences[split], directions, emotion, layer, question, split, drawn, seed)
                for split in SPLITS
            }
            for index, found in enumerate(tables):
                of = tested_as(asked, index, times, top, two_sided=question == "writers", seed=seed)
                found.setdefault(question, []).append(of.assign(emotion=emotion))
    claims = [corrected(trace_claims({q: pd.concat(t) for q, t in found.items()}, layer)) for found in tables]
    return Calibrated(claims[0], claims[1:])


def tested_as(
    asked: Mapping[str, Asked], index: int, times: int, top: int, *, two_sided: bool, seed: int
) -> pd.DataFrame:
    """The test rows of what one direction chose, beside the nulls: the real one (0) or one of ``times`` shuffled ones."""
    rows = [index, *range(times + 1, len(asked["test"].by_group))]
    selected = through_selection(*(asked[split].figures[rows] for split in SPLITS), top=top, two_sided=two_sided)
    table = marked(asked["test"], selected, test=True).iloc[selected.parts]
    found = paired_differences(asked["test"].by_group[index][:, selected.parts], [0.0] * table["n"].iloc[0], seed=seed)
    figures = {name: [getattr(f, name) for f in found] for name in ("low", "high", "p")}
    return table.assign(difference=[f.estimate for f in found], **figures, split="test")
