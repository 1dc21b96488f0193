"""What finished runs of one model must be for a station to compare them, and their model where it is needed again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, load_model
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.record.reading import read_config, read_finished
from emotion_circuits.record.station import Context

__all__ = ["model_of", "noted_model"]


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


def noted_model(runs: Sequence[Path], attributes: Sequence[str], *, what: str, why: str) -> dict[str, Any]:
    """What the runs' manifests note of their model, which must be one, each run studying another attribute.

    Args:
        runs: folders of finished runs.
        attributes: what each of them studied.
        what: compares them, for messages.
        why: follows *compares runs of one model*: what speaks against others, and what to use instead.

    Raises:
        EmotionCircuitsError: they are of several models, or two study the same attribute.
    """
    models: list[dict[str, Any]] = [read_finished(run)["model"] for run in runs]
    if len({str(model["weights_sha256"]) for model in models}) > 1:
        raise EmotionCircuitsError(f"{what} compares runs of one model{why}")
    if len(set(attributes)) < len(attributes):
        raise EmotionCircuitsError(f"{what} compares attributes: two of these runs study the same one")
    return models[0]
