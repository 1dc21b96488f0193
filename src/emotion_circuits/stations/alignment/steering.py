"""Steer the second model with the first one's mapped directions, its own, and random ones of the same norm."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from emotion_circuits.directions import Comparison
from emotion_circuits.evaluation import judge_of
from emotion_circuits.model import LanguageModel, Sampling
from emotion_circuits.prompts import Attribute, Prompt
from emotion_circuits.stations.alignment.settings import AlignmentSettings
from emotion_circuits.stations.steering.claims import steering_claims
from emotion_circuits.statistics import Draft
from emotion_circuits.steering import (
    BUDGET,
    NONE,
    Condition,
    SteeringVectors,
    effects,
    score_sweep,
    shared_controls,
    sweep,
)

__all__ = ["MappedSteering", "steer_with_mapped"]


class MappedSteering(NamedTuple):
    """What steering with mapped directions did.

    Attributes:
        effects: per emotion and arm (``mapped``, ``own``) and metric, as :func:`emotion_circuits.steering.effects`.
        scored: every continuation with its scores, and the arm it belongs to.
        claims: drafts, one per emotion, arm and metric.
    """

    effects: pd.DataFrame
    scored: pd.DataFrame
    claims: list[Draft]


def steer_with_mapped(
    model: LanguageModel,
    found: Comparison,
    openings: list[Prompt],
    attribute: Attribute,
    folder: Path,
    settings: AlignmentSettings,
    *,
    seed: int = 0,
) -> MappedSteering:
    """Steer, score and judge.

    Args:
        model: the second model.
        found: of :func:`emotion_circuits.directions.compare_models`.
        openings: test openings.
        attribute: what is studied: its judges.
        folder: where continuations are kept, so that an interrupted sweep goes on.
        settings: strength, length, controls.
        seed: of the draws.
    """
    mapped, own = found.mapped(), found.directions[1]
    layer = mapped.layers[0]
    vectors = SteeringVectors.from_directions(own).with_directions(
        # The mapped direction exists at one layer; only that one is steered.
        {f"mapped {label}": mapped.vectors[k].expand(len(own.layers), -1) for k, label in enumerate(mapped.labels)}
    )
    arms = {
        arm: {
            label: Condition(
                name=f"{label} {arm}", emotion=label, layers=(layer,), alpha=settings.alpha,
                direction=f"mapped {label}" if arm == "mapped" else "",
            )
            for label in mapped.labels
        }
        for arm in ("mapped", "own")
    }  # fmt: skip
    every = shared_controls(
        [c for group in arms.values() for c in group.values()], random=settings.random_directions, prompting=False
    )
    table = sweep(
        model, openings, [NONE, *every], vectors,
        sampling=Sampling(max_new_tokens=settings.max_new_tokens, temperature=settings.temperature), seed=seed, folder=folder,
    )  # fmt: skip
    scored = score_sweep(
        table, [judge_of(attribute, name) for name in (attribute.judges[0], *attribute.figure_judges())]
    )
    armed = {condition.name: arm for arm, group in arms.items() for condition in group.values()}
    layers = (found.chosen()["layer_a"], found.chosen()["layer_b"])
    parts, claims = [], []
    for arm, group in arms.items():
        measured = effects(
            scored, {label: condition.name for label, condition in group.items()},
            sides=attribute.metrics, judge=attribute.judges[0], seed=seed,
        )  # fmt: skip
        parts.append(measured.table.assign(arm=arm))
        about = {"arm": arm, "layers": tuple(map(int, layers))}
        claims += steering_claims(measured, budget=BUDGET, prefix=f"alignment.{arm}.steering", about=about)
    scored = scored.assign(arm=scored["condition"].map(armed).fillna(""))
    return MappedSteering(pd.concat(parts, ignore_index=True), scored, claims)
