"""Claims about two models: do mapped directions do their work in the other one, by reading and by steering?"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions import Comparison
from emotion_circuits.evaluation import judge_of
from emotion_circuits.model import LanguageModel, Sampling, load_model
from emotion_circuits.prompts import Attribute, load_prompts
from emotion_circuits.statistics import Claim, judge
from emotion_circuits.steering import (
    NONE,
    Condition,
    SteeringVectors,
    effects,
    score_sweep,
    shared_controls,
    steering_claims,
    sweep,
)
from emotion_circuits.study.steering import spread

__all__ = ["MappedSteering", "alignment_claims", "steer_with_mapped"]


def alignment_claims(found: Comparison) -> list[Claim]:
    """Claims at the layer pair and method that predict neutral validation sentences best.

    Args:
        found: of :func:`emotion_circuits.directions.compare_models`.
    """
    row = found.chosen()
    where = f"layer {row['layer_a']} → {row['layer_b']}, {row['method']}"
    reading = judge(
        id="alignment.reading",
        station="alignment",
        statement=f"Directions of the first model, mapped by neutral sentences alone, tell the second model's test sentences "
        f"apart better than mapped directions of shuffled labels ({where}).",
        estimate=float(row["auroc"]),
        interval=(float(row["auroc_low"]), float(row["auroc_high"])),
        unit="AUROC, mean over emotions, each against all other sentences",
        chance=0.5,
        null="directions of shuffled labels",
        null_interval=(float(row["auroc_shuffled_low"]), float(row["auroc_shuffled_high"])),
        p=float(row["p"]),
        n=found.groups,
        unit_of_n="groups of sentences",
        notes=f"The model's own directions reach {row['auroc_own']:.3f}. p is the share of label shuffles that do as well; "
        "it cannot be below 1/(draws + 1).",
    )
    geometry = judge(
        id="alignment.geometry",
        station="alignment",
        statement="Mapped directions and the second model's own, fitted on different sentences, share more than directions "
        f"of shuffled labels do ({where}).",
        estimate=float(row["cos2_apart"]),
        interval=(float(row["cos2_apart_low"]), float(row["cos2_apart_high"])),
        unit="cos², mean over halvings of the training groups",
        chance=float(row["cos2_chance"]),
        null="the same with shuffled labels",
        null_interval=(float(row["apart_shuffled_low"]), float(row["apart_shuffled_high"])),
        n=found.groups,
        unit_of_n="groups of sentences",
        notes="The interval is the range over halvings. Directions fitted on the same sentences in both models reach "
        f"{row['cos2']:.3f}, but so do shuffled labels ({row['cos2_shuffled_low']:.3f} to {row['cos2_shuffled_high']:.3f}): "
        "they share the sentences' noise.",
    )
    return [reading, geometry]


class MappedSteering(NamedTuple):
    """What steering with mapped directions did.

    Attributes:
        effects: per emotion and arm (``mapped``, ``own``) and metric, as :func:`emotion_circuits.steering.effects`.
        scored: every continuation with its scores.
        claims: one per emotion, arm and metric.
    """

    effects: pd.DataFrame
    scored: pd.DataFrame
    claims: list[Claim]


def steer_with_mapped(
    store: ActivationStore,
    found: Comparison,
    folder: Path,
    *,
    attribute: Attribute,
    model: LanguageModel | None = None,
    alpha: float = 0.2,
    count: int = 31,
    random: int = 20,
    max_new_tokens: int = 20,
    temperature: float = 0.7,
    seed: int = 0,
    device: str | None = None,
) -> MappedSteering:
    """Steer the second model with the first one's mapped directions, its own, and random ones of the same norm.

    Args:
        store: the second model's capture.
        found: of :func:`emotion_circuits.directions.compare_models`.
        folder: where continuations are kept, so that an interrupted sweep goes on.
        attribute: what is studied: its openings and judges.
        model: the second model, where it is loaded already.
        alpha: strength as a fraction of the residual norm.
        count: test openings.
        random: random directions.
        max_new_tokens: length of a continuation.
        temperature: of the sampling.
        seed: of the draws.
        device: where the model is loaded.
    """
    if model is None:
        note = store.manifest["model"]
        model = load_model(str(note["name"]), revision=note["revision"], device=device)
    mapped, own = found.mapped(), found.directions[1]
    layer = mapped.layers[0]
    vectors = SteeringVectors.from_directions(own).with_directions(
        # The mapped direction exists at one layer; only that one is steered.
        {f"mapped {label}": mapped.vectors[k].expand(len(own.layers), -1) for k, label in enumerate(mapped.labels)}
    )
    arms = {
        arm: {
            label: Condition(
                name=f"{label} {arm}", emotion=label, layers=(layer,), alpha=alpha,
                direction=f"mapped {label}" if arm == "mapped" else "",
            )
            for label in mapped.labels
        }
        for arm in ("mapped", "own")
    }  # fmt: skip
    every = shared_controls([c for group in arms.values() for c in group.values()], random=random, prompting=False)
    rows = load_prompts(attribute.openings.choose, split="test")
    openings = spread(rows, min(count, len(rows)))
    table = sweep(
        model, openings, [NONE, *every], vectors,
        sampling=Sampling(max_new_tokens=max_new_tokens, temperature=temperature), seed=seed, folder=folder,
    )  # fmt: skip
    judging = (attribute.judges[0], *attribute.figure_judges())
    scored = score_sweep(table, [judge_of(attribute, name) for name in judging])
    parts, claims = [], []
    for arm, group in arms.items():
        measured = effects(
            scored, {label: condition.name for label, condition in group.items()},
            sides=attribute.metrics, judge=attribute.judges[0], seed=seed,
        )  # fmt: skip
        parts.append(measured.table.assign(arm=arm))
        for claim in steering_claims(measured):
            claims.append(
                claim.model_copy(
                    update={"id": f"alignment.{arm}.{claim.id}", "station": "alignment",
                            "statement": f"({arm} directions, layer {layer}) {claim.statement}"}
                )
            )  # fmt: skip
    return MappedSteering(pd.concat(parts, ignore_index=True), scored, claims)
