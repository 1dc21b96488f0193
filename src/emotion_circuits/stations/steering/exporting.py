"""What a run has chosen, as a vector that can leave it, with what it measured of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange import Card, Effect, Made, PortableVector, portable
from emotion_circuits.model import BUNDLED, blueprint
from emotion_circuits.prompts import Attribute, load_attribute
from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE
from emotion_circuits.record.notes import files_of, going_on, read_note
from emotion_circuits.record.reading import MANIFEST, read_config, read_finished
from emotion_circuits.record.studied import studied_in
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.steering import REST_ONLY, SteeringVectors, interventions_for

__all__ = ["portable_of"]

_ALL = "all that the run pushes"
_REST = "all but the first"


def portable_of(run: Path, value: str) -> PortableVector:
    """The condition that a run has chosen for a value, as a vector with its card.

    Args:
        run: folder of a run whose steering has finished.
        value: of the run's attribute.

    Raises:
        EmotionCircuitsError: no such run, steering that has not finished, nothing chosen for the value, or a condition that no
            file carries.
    """
    config = read_config(run)
    folder = SteeringFolder.of(run)
    note = read_note(folder.path)
    if not folder.choice.exists() or (note is not None and files_of(note) is None):
        raise EmotionCircuitsError(f"{folder.path}: steering has not finished; finish the run first ({going_on(run)})")
    chosen = folder.choice.read()
    conditions = chosen.conditions()
    if value not in conditions:
        why = (
            f"no condition for {value!r} was within the bound of perplexity, so there is nothing to recommend"
            if value in chosen.none_within_bound
            else f"it has chosen nothing for {value!r}"
        )
        raise EmotionCircuitsError(f"{run}: {why}; there are: {', '.join(conditions) or 'none'}")
    vectors = folder.vectors()
    if vectors is None:
        raise EmotionCircuitsError(f"{folder.path}: holds no vectors; finish the run first ({going_on(run)})")
    finished = (run / MANIFEST).is_file()
    named = config.get("attribute", DEFAULT_ATTRIBUTE)
    attribute = studied_in(read_finished(run)).attribute if finished else load_attribute(named)
    condition = conditions[value]
    card = Card(
        value=value,
        attribute=attribute.name,
        language=attribute.language,
        model=_made(config, vectors),
        condition=condition.to_json(),
        norms={layer: float(vectors.norms[layer]) for layer in condition.layers},
        effects=tuple(_effects(folder, value)),
        judge=attribute.judges[0] if attribute.judges else "",
        openings=_openings(config, attribute),
        made_by=_program(),
    )
    return portable(interventions_for([condition], vectors), card)


def _program() -> str:
    from emotion_circuits import __version__

    return f"emotion-circuits {__version__}"


def _made(config: Mapping[str, Any], vectors: SteeringVectors) -> Made:
    if vectors.made_of is None:
        raise EmotionCircuitsError("the run's vectors do not say of what model they were made; run its steering again")
    name = str(config["model"])
    plan = blueprint(name, revision=config.get("revision"))
    if plan is None:
        raise EmotionCircuitsError(f"{name}: is not installed (emotion-circuits models install {name})")
    return Made(
        name=name,
        revision=plan.revision,
        weights_sha256=vectors.made_of.weights_sha256,
        architecture=str(plan.config.model_type),
        layers=plan.n_layers,
        width=plan.d_model,
        licence=BUNDLED[name].licence if name in BUNDLED else "",
        prefix=config.get("prefix", "none"),
    )


def _openings(config: Mapping[str, Any], attribute: Attribute) -> str:
    settings = config.get("steering") or {}
    if settings.get("texts") == "chat" and attribute.chat is not None:
        return attribute.chat.report
    asked = settings.get("test_openings")
    known = attribute.openings
    if known is None or asked not in (None, "held"):
        return str(asked or "")
    return str((known.held if asked == "held" else None) or known.report)


def _effects(folder: SteeringFolder, value: str) -> list[Effect]:
    """Of the chosen condition, and of its push at all tokens but the first, where the two were told apart."""
    found = _rows(folder.effects.read(), value, _ALL) if folder.effects.exists() else []
    if folder.tokens.exists():
        tokens = folder.tokens.read()
        found += _rows(tokens[tokens["tokens"] == REST_ONLY], value, _REST)
    return found


def _rows(table: pd.DataFrame, value: str, pushed: str) -> list[Effect]:
    own = table[table["emotion"] == value].to_dict("records")
    found = [
        Effect(
            metric=str(row["metric"]), pushed=pushed, value=row["change"], low=row["low"], high=row["high"],
            without=row["treated"] - row["change"], n=int(row["n"]),
        )
        for row in own
        if math.isfinite(row["low"])
    ]  # fmt: skip
    if own and math.isfinite(own[0].get("ratio", math.nan)):
        row = own[0]
        found.append(
            Effect(
                metric="perplexity ratio", pushed=pushed, value=row["ratio"], low=row["ratio_low"], high=row["ratio_high"],
                n=int(row["n"]),
            )
        )  # fmt: skip
    return found
