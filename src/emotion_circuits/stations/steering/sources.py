"""Where the directions come from: sentences, or what the model itself writes when it is asked; and the texts of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.evaluation import judge_of
from emotion_circuits.model.chat import chat_turns
from emotion_circuits.prompts import load_prompts
from emotion_circuits.prompts.attribute_parts import Prompting
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.plan import chosen_on, fitted_on, ways_of_asking
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.steering import (
    NONE,
    Choice,
    Condition,
    LabelledRows,
    SteeringVectors,
    first_token_mean,
    sweep,
)
from emotion_circuits.steering.replies import LEAST, asking_for, judged_replies, reply_states
from emotion_circuits.steering.scoring import per_prompt

__all__ = ["Source", "Tried", "best_of", "dressed", "null_rows", "phrases_of", "source_table", "sources_of"]


@dataclass(frozen=True, eq=False)
class Source:
    """Directions from one source, ready to be injected.

    Attributes:
        name: ``sentences`` or ``replies``.
        vectors: clear of the attention sink.
        values: that it has directions of.
        replies: value → how many replies were asked for, and how many came out.
    """

    name: str
    vectors: SteeringVectors
    values: tuple[str, ...]
    replies: dict[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Tried:
    """A source at every place and strength that was tried.

    Attributes:
        source: whose directions.
        arms: that the choice is made from.
        scored: texts on validation openings.
        table: their figures by condition.
        choices: by value.
        judge: that decides.
        before: scored texts, and their figures, of places tried on fewer openings on the way.
    """

    source: Source
    arms: list[Condition]
    scored: pd.DataFrame
    table: pd.DataFrame
    choices: list[Choice]
    judge: str
    before: tuple[list[pd.DataFrame], list[pd.DataFrame]]


def phrases_of(context: Context) -> Prompting | None:
    """What prompting arms ask with; ``None``: there are none."""
    attribute = context.about.attribute
    if attribute.prompting is None or not context.config.of(SteeringSettings).chat:
        return attribute.prompting
    assert attribute.chat is not None
    return attribute.chat.prompting(0, context.about.reference, attribute.prompting)


def sources_of(context: Context, folder: SteeringFolder, writing: dict[str, Any]) -> list[Source]:
    """Every source that is asked for.

    Args:
        context: of the station.
        folder: its own; it keeps the replies.
        writing: how texts are written (:func:`emotion_circuits.steering.sweep`).
    """
    model, s, about = context.model, context.config.of(SteeringSettings), context.about
    corpus = chosen_on(context.config)
    assert corpus is not None
    if s.chat:
        turns = chat_turns(model, [p.text for p in load_prompts(corpus, split="validation")])
        first = first_token_mean(model, turns, add_special_tokens=False)
    else:
        first = first_token_mean(model, [p.text for p in load_prompts(corpus, split="train")])
    directions = context.of(DirectionsFolder).chosen_set()
    of_sentences = SteeringVectors.from_directions(directions)

    made = {
        "sentences": lambda: Source(
            "sentences",
            dressed(
                context, of_sentences.with_neutral(_sentences(context).neutral(about.reference)), about.values, first
            ),
            about.values,
            {},
        ),
        "replies": lambda: _of_replies(context, folder, of_sentences, first, writing),
    }
    return [made[name]() for name in s.source_names]


def dressed(
    context: Context, found: SteeringVectors, values: Sequence[str], first: Float[Tensor, "layer d_model"]
) -> SteeringVectors:
    """Fitted directions with the contrast that is asked for, and clear of the attention sink.

    Args:
        context: of the station.
        found: differences to the reference.
        values: that there are directions of.
        first: mean state of first tokens.
    """
    if context.config.of(SteeringSettings).contrast == "rest":
        found = found.against_rest(values, context.about.reference)
    return found.with_first(first).clear_of_first()


def _of_replies(
    context: Context,
    folder: SteeringFolder,
    like: SteeringVectors,
    first: Float[Tensor, "layer d_model"],
    writing: dict[str, Any],
) -> Source:
    about, model = context.about, context.model
    s, chat = context.config.of(SteeringSettings), about.attribute.chat
    assert chat is not None
    arms = asking_for(about.labels, about.reference)
    written = [
        sweep(
            model, fitted_on(context.config), arms, like, folder=folder.sweep(f"replies {way}"),
            **{**writing, "samples": s.reply_samples, "phrases": chat.prompting(way, about.reference, None)},
        )
        for way in range(ways_of_asking(context.config))
    ]  # fmt: skip
    table = judged_replies(written, judge_of(about.attribute, about.judge))
    replies = {
        label: (int((table["label"] == label).sum()), int(table.loc[table["label"] == label, "counts"].sum()))
        for label in about.labels
    }
    enough = [label for label in about.labels if replies[label][1] >= LEAST]
    values = tuple(label for label in enough if label != about.reference)
    # A difference needs what it is a difference to.
    if (about.reference is not None and about.reference not in enough) or len(enough) < 2:
        folder.replies.write(table.assign(left_out=float("nan")))
        return Source("replies", like, (), replies)
    rows, left_out = reply_states(
        model,
        table.assign(counts=table["counts"] & table["label"].isin(enough)),
        context.of(CaptureFolder).store().sinks,
    )
    folder.replies.write(table.assign(left_out=left_out))
    folder.save_replies(rows)
    raw = SteeringVectors.from_raw(rows.differences(about.reference), like.norms)
    found = replace(raw, made_of=like.made_of).with_neutral(rows.neutral(about.reference))
    return Source("replies", dressed(context, found, values, first), values, replies)


def _sentences(context: Context) -> LabelledRows:
    real, store = context.of(DirectionsFolder).chosen_set(), context.of(CaptureFolder).store()
    return LabelledRows.of_store(store, kind=real.kind, pooling=real.pooling)


def null_rows(context: Context, folder: SteeringFolder, source: str) -> LabelledRows:
    """The labelled states that directions of a source are differences of: with shuffled labels, they are those of nothing."""
    return folder.reply_rows() if source == "replies" else _sentences(context)


def best_of(tried: Sequence[Tried], values: Sequence[str]) -> Tried:
    """The source whose chosen conditions reach the largest mean probability of the values; of equals the first.

    A value that a source has no condition for counts as unsteered.

    Args:
        tried: by source.
        values: of the study.
    """
    return max(tried, key=lambda one: float(np.mean([_figures(one, value)["p"] for value in values])))


def source_table(
    sources: Sequence[Source], tried: Sequence[Tried], values: Sequence[str], taken: Tried
) -> pd.DataFrame:
    """The sources side by side (:data:`emotion_circuits.stations.steering.tables.SOURCES`)."""
    rows = []
    of = {one.source.name: one for one in tried}
    for source in sources:
        for value in values:
            asked, came = source.replies.get(value, (0, 0))
            row: dict[str, Any] = {"source": source.name, "emotion": value, "asked": asked, "came_out": came}
            # One without any direction was not tried: what it does is what the others' unsteered texts say.
            figures = _figures(of[source.name], value) if source.name in of else _unsteered(taken, value)
            rows.append({**row, **figures, "taken": source is taken.source})
    return pd.DataFrame(rows)


def _figures(one: Tried, value: str) -> dict[str, Any]:
    name = next((c.condition for c in one.choices if c.emotion == value), None)
    if name is None:
        return _unsteered(one, value)
    row = one.table[one.table["condition"] == name].iloc[0]
    return {"condition": name, "n": int(row["n"]), **{key: float(row[key]) for key in ("p", "share", "ratio")}}


def _unsteered(one: Tried, value: str) -> dict[str, Any]:
    hits = one.scored.assign(hit=(one.scored[f"{one.judge}_label"] == value).astype(float))
    p, share = (per_prompt(hits, NONE.name, column) for column in (f"p_{value}", "hit"))
    return {"condition": None, "n": len(p), "p": float(p.mean()), "share": float(share.mean()), "ratio": 1.0}
