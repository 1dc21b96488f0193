"""From conditions to the interventions of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import ALL, LAST, REST, Ablate, Add, Clamp, Gate, Intervention, Positions, Site
from emotion_circuits.steering.conditions import Condition
from emotion_circuits.steering.vectors import SteeringVectors, random_direction

__all__ = ["interventions_for", "layer_interventions", "said_only"]


def _direction(condition: Condition, name: str, layer: int, vectors: SteeringVectors) -> Float[Tensor, " d_model"]:
    if condition.kind == "random" and name == "random":
        return random_direction(vectors.d_model, condition.seed)
    return vectors.direction(name, layer)


def _mixed(condition: Condition, layer: int, vectors: SteeringVectors) -> Float[Tensor, " d_model"]:
    """Sum of the condition's directions; in raw units each at its fitted length."""
    total = None
    for name, weight in condition.parts:
        part = _direction(condition, name, layer, vectors).float() * weight
        if condition.units == "raw":
            part = part * _fitted_length(condition, name, layer, vectors)
        total = part if total is None else total + part
    assert total is not None
    return total


def _fitted_length(condition: Condition, name: str, layer: int, vectors: SteeringVectors) -> float:
    # A random direction in raw units is as long as the emotion's direction it is the control for.
    key = str(condition.emotion) if name == "random" else name
    if key not in vectors.lengths:
        raise EmotionCircuitsError(
            f"condition {condition.name!r}: alpha in raw units needs the fitted length of {key!r}, which is not known"
        )
    return float(vectors.lengths[key][layer])


def _neutral_projection(
    condition: Condition, vector: Float[Tensor, " d_model"], layer: int, vectors: SteeringVectors
) -> float:
    if vectors.neutral is None:
        raise EmotionCircuitsError(
            f"condition {condition.name!r}: origin 'neutral' needs the mean state of neutral sentences; make the vectors "
            "with vectors_from_store(), or add it with with_neutral()"
        )
    return float(vectors.neutral[layer].float() @ (vector / vector.norm()))


def layer_interventions(
    condition: Condition, vectors: SteeringVectors, rows: tuple[int, ...] | None = None
) -> list[Intervention]:
    """What one condition does, on the given rows of a batch (``None``: all).

    Raises:
        EmotionCircuitsError: a direction or layer that isn't there.
    """
    if condition.kind == "none":
        return []
    found: list[Intervention] = []
    positions = {"all": ALL, "rest": REST, "last": LAST}[condition.positions]
    for layer in condition.layers:
        if not layer < len(vectors.norms):
            raise EmotionCircuitsError(
                f"condition {condition.name!r}: no layer {layer}; there are layers 0 to {len(vectors.norms) - 1}"
            )
        site, norm = Site("resid_post", layer), float(vectors.norms[layer])
        gate = None
        if condition.gate:
            gate = Gate(direction=vectors.direction(condition.gate, layer), threshold=condition.gate_threshold * norm)
        vector = _mixed(condition, layer, vectors)
        if condition.operation == "add":
            unit = 1.0 if condition.units == "raw" else norm
            strengths = ((condition.alpha * unit, positions), (condition.first * unit, Positions.at(0)))
            for alpha, where in strengths:
                if alpha:
                    found.append(
                        Add(
                            site=site, rows=rows, positions=where, when=condition.when, gate=gate,
                            vector=vector, alpha=alpha,
                        )
                    )  # fmt: skip
        elif condition.operation == "ablate":
            found.append(
                Ablate(
                    site=site, rows=rows, positions=positions, when=condition.when, gate=gate,
                    mode="directional", direction=vector,
                )
            )  # fmt: skip
        else:
            value = condition.alpha * (float(vector.norm()) if condition.units == "raw" else norm)
            if condition.origin == "neutral":
                value += _neutral_projection(condition, vector, layer, vectors)
            found.append(
                Clamp(
                    site=site, rows=rows, positions=positions, when=condition.when, gate=gate,
                    direction=vector, value=value,
                )
            )  # fmt: skip
    return found


def interventions_for(
    conditions: Sequence[Condition], vectors: SteeringVectors, said: Sequence[Sequence[int]] | None = None
) -> list[Intervention]:
    """The interventions of a batch whose rows have the given conditions.

    Args:
        conditions: one per row of the batch.
        vectors: the directions.
        said: of chat, per row the places of the tokens that somebody said (:func:`said_only`).
    """
    rows: dict[Condition, list[int]] = {}
    for row, condition in enumerate(conditions):
        rows.setdefault(condition, []).append(row)
    found: list[Intervention] = []
    for condition, where in rows.items():
        own = layer_interventions(condition, vectors, tuple(where))
        found += own if said is None else said_only(own, [said[row] for row in where])
    return found


def said_only(interventions: Sequence[Intervention], said: Sequence[Sequence[int]]) -> list[Intervention]:
    """Interventions on what was said in a chat and on what is written; the template's tokens are left alone but for the first.

    The first token is an attention sink: what acts there acts on every token, not on what the template says.

    Args:
        interventions: of :func:`layer_interventions`, on so many rows as ``said`` has.
        said: per row, the places of the tokens that somebody said (:func:`emotion_circuits.model.chat.spoken`).
    """
    found: list[Intervention] = []
    for i in interventions:
        if i.positions.kind == "indices":
            found.append(i)
            continue
        everywhere = i.positions.kind == "all"
        places = [() if i.positions.kind == "last" else tuple(p for p in row if p or everywhere) for row in said]
        if i.when != "generated" and any(places):
            found.append(replace(i, positions=Positions.per_row(places), when="prompt"))
        if i.when != "prompt":
            found.append(replace(i, positions=ALL, when="generated"))
    return found
