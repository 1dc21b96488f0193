"""Map one model's states to another's on neutral training sentences; judge on sentences the map never saw."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from emotion_circuits.activations import ActivationStore
from emotion_circuits.activations.store import ROWS
from emotion_circuits.directions import compare_models, static_embeddings
from emotion_circuits.directions.baseline import Embed
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import judge_of
from emotion_circuits.language import N_
from emotion_circuits.model import blueprint, load_model, weights_sha256
from emotion_circuits.prompts import Prompt, evenly, prompts_sha256
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.station import Context
from emotion_circuits.stations.alignment.claims import alignment_claims
from emotion_circuits.stations.alignment.folder import AlignmentFolder, Choice, Side
from emotion_circuits.stations.alignment.settings import AlignmentSettings
from emotion_circuits.stations.alignment.steering import steer_with_mapped
from emotion_circuits.stations.steering.plan import other_openings
from emotion_circuits.statistics import corrected

__all__ = ["captured", "inputs", "run"]

STATIC_WORDS = "whether states carry over more than static embeddings do"
NOT_INSTALLED = N_("{model} is not installed: emotion-circuits models install {model}")
OTHER_WEIGHTS = N_("the weights of {model} are not those that were captured")
NOT_OPENED = N_("{model} cannot be opened here: {why}")


def captured(run: Path) -> ActivationStore:
    """The states of a run, or of a folder that holds nothing but a capture.

    Raises:
        EmotionCircuitsError: neither.
    """
    for place in (run / "capture", run):
        if (place / ROWS).is_file():
            return ActivationStore.open(place)
    raise EmotionCircuitsError(f"{run}: neither a run with a finished capture nor a capture folder")


def _openings(context: Context) -> list[Prompt]:
    about = context.about
    if about.choose is None or not about.attribute.judges:
        raise EmotionCircuitsError(
            f"{about.attribute.where}: names no openings or no judge, so steering across models cannot be tested; leave out "
            "--steer"
        )
    return evenly(other_openings(context.config), context.config.of(AlignmentSettings).prompts)


def _judges(context: Context) -> dict[str, str]:
    a = context.about.attribute
    return {name: judge_of(a, name, cache=False).version for name in (a.judges[0], *a.figure_judges())}


def _embeddings(stores: Sequence[ActivationStore]) -> tuple[dict[str, Embed], list[NotMeasured]]:
    """Static embeddings of the models that were captured, and why there are none of some.

    A model is loaded when its embeddings are asked for, and let go: nothing else of it is needed.
    """
    found: dict[str, Embed] = {}
    lacking: dict[str, NotMeasured] = {}
    for store in stores:
        of = store.manifest["model"]
        name, revision = str(of["name"]), of["revision"]
        key = name if revision is None else f"{name}@{revision}"
        why, values = "", {"model": key}
        try:
            plan = blueprint(name, device="cpu", revision=revision)
            if plan is None:
                why = NOT_INSTALLED
            elif weights_sha256(plan) != of["weights_sha256"]:
                why = OTHER_WEIGHTS
        except EmotionCircuitsError as error:
            why, values = NOT_OPENED, {**values, "why": str(error)}
        if why:
            lacking[key] = NotMeasured(reason=why, values=values, what=STATIC_WORDS)
        else:
            found[key] = partial(_embedded, name, revision)
    return {key: of for key, of in found.items() if key not in lacking}, list(lacking.values())


def _embedded(name: str, revision: str | None, texts: Sequence[str]) -> Float[np.ndarray, "text d_model"]:
    return static_embeddings(load_model(name, revision=revision, device="cpu", check=False), texts)


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the two captures, whose static embeddings can be had, the seed; with steering openings and judges."""
    own = context.config.of(AlignmentSettings)
    stores = [captured(run) for run in context.runs]
    steered = {"openings": prompts_sha256(_openings(context)), "judges": _judges(context)} if own.steer else {}
    return {
        "alignment": own.model_dump(mode="json"),
        "captures": [store.manifest["hash"] for store in stores],
        "embeddings": sorted(_embeddings(stores)[0]),
        "seed": context.config.seed,
        "reference": context.about.reference,
        **steered,
    }


def run(context: Context, folder: AlignmentFolder) -> None:
    """Compare the two models, and where it is asked for steer the second one."""
    own, seed = context.config.of(AlignmentSettings), context.config.seed
    stores = [captured(path) for path in context.runs]
    embeddings, lacking = _embeddings(stores)
    found = compare_models(
        *stores,
        kind=own.kind,
        pooling=own.pooling,
        methods=own.methods,
        depths=own.depths,
        draws=own.draws,
        seed=seed,
        reference=context.about.reference,
        embed=embeddings,
    )
    for name in ("similarity", "alignment", "words", "subspaces"):
        if len(getattr(found, name)):
            getattr(folder, name).write(getattr(found, name))
    folder.save_mapped(found.mapped())
    row = found.chosen()
    first, second = (
        Side(run=str(path), model=str(s.manifest["model"]["name"]), width=s.d_model, sentences=len(s.rows))
        for path, s in zip(context.runs, stores, strict=True)
    )
    layers = (int(row["layer_a"]), int(row["layer_b"]))
    folder.choice.write(
        Choice(
            first=first, second=second, layers=layers, matching=str(row["matching"]), method=str(row["method"]),
            excluded=found.excluded,
        )
    )  # fmt: skip
    if lacking:
        folder.leave_out(*lacking)
    claims = alignment_claims(found, whole=not lacking)
    if own.steer:
        attribute, openings = context.about.attribute, _openings(context)
        steered = steer_with_mapped(context.model, found, openings, attribute, folder.sweep, own, seed=seed)
        folder.steering.write(steered.effects)
        folder.texts.write(steered.scored)
        claims += steered.claims
    folder.write_claims(corrected(claims))
