"""The model that finished runs were made with, for stations that need it again."""

from __future__ import annotations

from pathlib import Path

from emotion_circuits.model import LanguageModel, load_model
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.record.reading import read_config, read_finished
from emotion_circuits.record.station import Context

__all__ = ["model_of"]


def model_of(context: Context, run: Path, *, what: str, remedy: str) -> LanguageModel:
    """The model of a run, loaded as it was there.

    Args:
        context: of a station over runs; its model, where one is loaded already.
        run: folder of the run.
        what: was made with the model, for messages; ends in a verb, as in ``the circuit of runs/a was``.
        remedy: what to do where the files at the model's place are another model's now.

    Raises:
        EmotionCircuitsError: it cannot be loaded, or is not the model that the run was made with.
    """
    c, model = read_config(run), context.loaded
    if model is None:
        model = load_model(c["model"], device=c["device"], dtype=c["dtype"], revision=c["revision"], prefix=c["prefix"])
    mark = ModelMark.noted(read_finished(run)["model"])
    if mark is not None:
        mark.require(what, model, remedy)
    return model
