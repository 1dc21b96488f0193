"""Where an emotion is written, who looks at its words, who reads it.

Components are chosen on validation sentences and reported on test sentences.
"""

from __future__ import annotations

from typing import Any

from emotion_circuits.directions import (
    DirectionSet,
    averaged_traces,
    shuffled_vectors,
    trace,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import N_
from emotion_circuits.model import LanguageModel
from emotion_circuits.prompts import prompts_sha256
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder, set_name
from emotion_circuits.stations.trace.claims import trace_claims
from emotion_circuits.stations.trace.folder import Choice, TraceFolder
from emotion_circuits.stations.trace.settings import TraceSettings, traced_corpus, traced_sentences
from emotion_circuits.statistics import corrected

__all__ = ["inputs", "run", "traced_layer"]

UNMARKED = N_("too few sentences of {emotion} have marked words and a neutral sentence of the same length beside them")


def traced_layer(directions: DirectionSet, model: LanguageModel) -> int:
    """The layer chosen on validation; the last one's states have no reader in the model but the unembedding."""
    assert directions.chosen_layer is not None
    return min(directions.chosen_layer, model.n_layers - 2)


def _text(context: Context) -> tuple[str, str]:
    """The sentence traced alone and the emotion drawn."""
    emotion = context.about.values[0]
    text = context.config.of(TraceSettings).text
    if text is not None:
        return text, emotion
    return next(p.text for p in traced_sentences(context.config, "test") if p.label == emotion), emotion


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the sentences and the seed.

    Raises:
        EmotionCircuitsError: the model has one layer, which is known before anything is captured.
    """
    if context.model.n_layers < 2:
        raise EmotionCircuitsError(
            f"{context.model.name} has one layer: a trace asks which later layers read what a layer writes, and there is none. "
            "Use a model of two layers or more"
        )
    return {
        "trace": {**context.config.of(TraceSettings).model_dump(mode="json"), "set": traced_corpus(context.config)},
        "sentences": [prompts_sha256(traced_sentences(context.config, split)) for split in ("validation", "test")],
        "seed": context.config.seed,
    }


def run(context: Context, folder: TraceFolder) -> None:
    """Average over validation sentences, on which components are chosen, and over test sentences; trace one sentence."""
    config, model, seed = context.config.of(TraceSettings), context.model, context.config.seed
    store = context.of(CaptureFolder).store()
    directions = context.of(DirectionsFolder).load_set(set_name(config.directions))
    layer = traced_layer(directions, model)
    draws = config.draws(len(directions.labels))
    nulls = shuffled_vectors(store, directions, layer, draws=draws, seed=seed)
    sentences = {split: traced_sentences(context.config, split) for split in ("validation", "test")}
    joined = averaged_traces(
        model, sentences, directions, layer, nulls=nulls, top=config.top, seed=seed, folder=folder.parts,
        engine=context.engine,
    )  # fmt: skip
    for name, table in joined.items():
        getattr(folder, name).write(table)
    folder.drop_parts()
    if "pattern" not in model.refused:
        seen = set(joined["attention"]["emotion"]) if "attention" in joined else set()
        left = [
            NotMeasured(reason=UNMARKED, values={"emotion": e}, what="attention")
            for e in directions.labels
            if e not in seen
        ]
        if left:
            folder.leave_out(*left)
    folder.write_claims(corrected(trace_claims(joined, layer)))
    text, emotion = _text(context)
    folder.save_example(trace(model, text, directions, layer))
    folder.choice.write(Choice(layer=layer, directions=directions.name, text=text, drawn=emotion))
