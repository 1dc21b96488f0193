"""How the states of a study were recorded, in sentences for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emotion_circuits.language import N_, say, term
from emotion_circuits.page.numerals import number
from emotion_circuits.record.studied import studied_in
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.capture.settings import CaptureSettings

__all__ = ["POOLED", "methods"]

POOLED = {
    "last": N_("the last token"),
    "emotion": N_("the words that name the value, or position-matched tokens of neutral sentences"),
    "mean": N_("the mean over tokens"),
    "weighted": N_("a mean over tokens that weighs later ones more"),
    "frame": N_("the last token of a short frame put behind the sentence"),
}
"""Poolings in words."""


def methods(folder: CaptureFolder, manifest: dict[str, Any]) -> tuple[str, ...]:
    """Model, sentences, splits, states."""
    own, rows = CaptureSettings.model_validate(manifest["config"]["capture"]), folder.rows()
    model, about, by_split = manifest["model"], studied_in(manifest), rows["split"].value_counts()
    return (
        say(
            "The model {model} [@model] ({layers} layers, {heads} attention heads per layer, width {width}, {parameters} million "
            "parameters, computed in {dtype}) read {rows} sentences in {groups} groups, labelled {labels}, from {corpora}.",
            model=Path(model["name"]).name, layers=model["n_layers"], heads=model["n_heads"], width=model["d_model"],
            parameters=number(model["parameters"] / 1e6), dtype=model["dtype"], rows=len(rows), groups=rows["group"].nunique(),
            labels=say(", ").join(term(label) for label in about.labels), corpora=say(", ").join(about.fit),
        ),
        say(
            "All sentences of a group (a scene, a topic or a template) belong to one split: directions were fitted on training "
            "sentences ({train}), choices were made on validation sentences ({validation}), and figures are reported from test "
            "sentences ({test}).",
            train=int(by_split.get("train", 0)), validation=int(by_split.get("validation", 0)), test=int(by_split.get("test", 0)),
        ),
        say(
            "States ({kinds}) were recorded at every layer; the state of a sentence was {poolings}.",
            kinds=say(", ").join(own.kinds), poolings=say("; ").join(say(POOLED[name]) for name in own.poolings),
        ),
        say(
            "The first token that the model reads and tokens longer than four medians of their layer were left out of every "
            "state, norm and mean, since they are attention sinks [@sun2024; @xiao2024]."
        ),
    )  # fmt: skip
