"""Which texts are written: by which model, under which condition, and what each arm stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.prompts import Prompt, evenly, load_prompts
from emotion_circuits.prompts.attribute_parts import Prompting
from emotion_circuits.stations.steering.plan import reported_corpus
from emotion_circuits.stations.steering.steered import SteeredRun
from emotion_circuits.stations.tuning.settings import ADAPTERS, TAKEN, TuningSettings
from emotion_circuits.steering import Condition, SteeringVectors
from emotion_circuits.steering.prompting import examples_for, prompted, wish_of

__all__ = [
    "ASKED", "PLAIN", "PREFERENCE", "Arm", "arms_of", "before_of", "less_arms", "named",
    "neutral_sentences", "null_arms", "null_arms_of",
    "pushed", "removed", "reported", "value_of", "vectors_with",
]  # fmt: skip

PLAIN = "plain"
"""Key of the model as it is."""
PREFERENCE = "preference"
"""Name among the directions of the vector that preferences taught."""


@dataclass(frozen=True)
class Arm:
    """One way of writing.

    Attributes:
        method: a method, or two with a plus.
        strength: times what was chosen or trained; of prompting, sentences shown.
        model: key of the model that writes: ``plain``, or ``NAME x STRENGTH``.
        condition: what is done while it writes.
        shots: sentences shown, of prompting.
        less: the value is to be taken away from texts that were asked for it.
    """

    method: str
    strength: float
    model: str
    condition: Condition
    shots: int = 0
    less: bool = False


def value_of(run: SteeredRun, asked: str | None) -> str:
    """The value that is compared.

    Raises:
        EmotionCircuitsError: nothing was chosen for it, or for any.
    """
    known = [value for value in run.about.values if value in run.chosen]
    value = asked or (known[0] if known else None)
    if value not in known:
        why = "steering was left out" if not run.steered else "it has chosen no place and strength"
        raise EmotionCircuitsError(
            f"{run.path}: {why}{f' for {asked!r}' if asked else ''}, so there is nothing to compare with; values it has one "
            f"for: {', '.join(known) or 'none'}"
        )
    return str(value)


def reported(run: SteeredRun, own: TuningSettings) -> list[Prompt]:
    """The openings that are reported on: nothing is chosen or learnt on them.

    Raises:
        EmotionCircuitsError: there are fewer than eight.
    """
    known = run.about.attribute.openings
    corpus = own.openings
    if corpus in ("held", "report"):
        corpus = reported_corpus(run.config) if known is None else known.report
        if own.openings == "held" and known is not None and known.held:
            corpus = known.held
    rows = load_prompts(corpus, split="test")
    if len(rows) < 8:
        raise EmotionCircuitsError(f"tuning.openings: {corpus} has {len(rows)} test openings, 8 are needed")
    return rows


def neutral_sentences(run: SteeredRun, count: int) -> list[Prompt]:
    """Test sentences of the reference, or of all labels where there is none."""
    rows = load_prompts(run.about.fit, split="test")
    kept = [p for p in rows if p.label == run.about.reference] if run.about.reference else rows
    return evenly(kept, min(count, len(kept)))


def pushed(chosen: Condition, name: str, strength: float) -> Condition:
    """The run's condition at so many times its strength."""
    return replace(chosen, name=name, alpha=chosen.alpha * strength, first=chosen.first * strength)


def _taught(value: str, layer: int, alpha: float, name: str, strength: float) -> Condition:
    return Condition(
        name=name, emotion=value, direction=PREFERENCE, layers=(layer,), alpha=alpha * strength, positions="rest"
    )


def named(method: str, strength: float) -> str:
    """Name of an arm's condition, and of a model with an adapter or a bias."""
    return f"{method} x {strength:g}"


def arms_of(own: TuningSettings, chosen: Condition, taught: float, *, words: bool, bake: bool) -> list[Arm]:
    """All arms but unsteered text.

    Args:
        own: the settings.
        chosen: the run's condition for the value.
        taught: length of the vector that preferences taught, in residual norms of its layer.
        words: the attribute has phrases for prompting.
        bake: the model takes a bias.
    """
    value, layer, found = str(chosen.emotion), chosen.layers[0], []

    def words_of(shots: int, method: str, **more: object) -> Arm:
        more["style"] = "few_shot" if shots else "instruction"
        condition = Condition(name=named(method, shots), kind="prompting", emotion=value, **more)  # type: ignore[arg-type]
        return Arm(method, shots, PLAIN, condition, shots)

    for method in own.methods:
        if method == "prompting":
            found += [words_of(shots, method) for shots in own.shots] if words else []
            continue
        if method == "baked" and not bake:
            continue
        for strength in own.strengths:
            name = named(method, strength)
            writes = Condition(name=name, kind="none", emotion=value)
            if method == "steering":
                found.append(Arm(method, strength, PLAIN, pushed(chosen, name, strength)))
            elif method == "preference":
                found.append(Arm(method, strength, PLAIN, _taught(value, layer, taught, name, strength)))
            else:
                found.append(Arm(method, strength, name, writes))
    for both, first, second in own.combined():
        name = named(both, 1)
        push = pushed(chosen, name, 1) if second == "steering" else _taught(value, layer, taught, name, 1)
        if first in ADAPTERS:
            found.append(Arm(both, 1.0, named(first, 1), push))
        elif words:
            more = {
                key: getattr(push, key)
                for key in ("direction", "layers", "alpha", "positions", "first", "operation", "origin")
            }
            arm = words_of(own.shown, both, **more)
            found.append(replace(arm, strength=1.0, condition=replace(arm.condition, name=name)))
    return found


ASKED = "asked for"
"""Condition of texts that were asked for the value, from which it is to be taken away."""


def less_arms(own: TuningSettings, chosen: Condition, layers: int, threshold: float) -> list[Arm]:
    """Texts that were asked for a value in words, and ways to take it away again.

    Args:
        own: the settings.
        chosen: the run's condition for the value.
        layers: of the model.
        threshold: what neutral sentences have of the direction at the run's layer, in residual norms.
    """
    style: Literal["few_shot", "instruction"] = "few_shot" if own.shown else "instruction"
    asked = Condition(name=ASKED, kind="prompting", emotion=chosen.emotion, style=style)
    push = replace(
        asked, layers=chosen.layers, alpha=-chosen.alpha, first=-chosen.first, positions=chosen.positions,
        operation=chosen.operation, origin=chosen.origin,
    )  # fmt: skip
    hold = replace(asked, layers=tuple(range(layers)), operation="clamp", origin="neutral", positions="rest", alpha=0.0)
    gated = replace(push, first=0.0, gate=str(chosen.emotion), gate_threshold=threshold)
    plain = Condition(name="plain", kind="prompting", emotion=None)
    ways = {"steering": push, "gated": gated, "ablation": hold, "prompting": plain}
    found = [Arm("none", 0.0, PLAIN, asked, own.shown, less=True)]
    found += [
        Arm(way, 1.0, PLAIN, replace(condition, name=f"{TAKEN}{way}"), own.shown, less=True)
        for way, condition in ways.items()
    ]
    if "dpo" in own.methods:
        found.append(Arm("dpo", -1.0, named("dpo", -1), replace(asked, name=f"{TAKEN}dpo"), own.shown, less=True))
    return found


def null_arms_of(arms: Sequence[Arm], keys: Sequence[str]) -> list[Condition]:
    """The arms that push or hold a direction, with directions of nothing in its place; a gate opens where it did.

    Args:
        arms: of :func:`arms_of` or :func:`less_arms`.
        keys: names of the directions.
    """
    return [
        replace(arm.condition, name=f"{arm.condition.name} | {key}", direction=key)
        for arm in arms
        if arm.condition.layers
        for key in keys
    ]


def removed(value: str, layers: int, name: str, **fields: object) -> Condition:
    """A direction held at what neutral sentences have of it, in every layer: mean ablation along it."""
    return Condition(
        name=name,
        emotion=value,
        layers=tuple(range(layers)),
        operation="clamp",
        origin="neutral",
        positions="rest",
        **fields,  # type: ignore[arg-type]
    )


def null_arms(base: Condition, draws: int, shuffled: Sequence[str]) -> list[Condition]:
    """The same condition with directions of nothing, of equal length."""
    found = [
        replace(base, name=f"{base.name} | random {i}", kind="random", direction="", mixture=(), seed=i)
        for i in range(draws)
    ]
    return found + [
        replace(base, name=f"{base.name} | {key}", kind="shuffled", direction=key, mixture=()) for key in shuffled
    ]


def before_of(model: LanguageModel, arm: Arm, phrases: Prompting | None) -> tuple[str, list[int]]:
    """What an arm's words put before a text: the words, and all token ids in front of it."""
    # What is taken away is measured on texts of its own; elsewhere the words would drown it.
    if arm.condition.kind != "prompting" or phrases is None or arm.less:
        return "", list(model.encode([""]).ids[0])
    examples = examples_for(str(arm.condition.emotion), phrases, arm.shots) if arm.shots else []
    text, rendered = prompted(model, "", arm.condition, phrases, examples=examples)
    ids = model.encode([text], add_special_tokens=not rendered).ids[0]
    return f"{wish_of(arm.condition, phrases, examples)}\n\n", list(ids)


def vectors_with(vectors: SteeringVectors, taught: Float[Tensor, " d_model"]) -> SteeringVectors:
    """The run's directions and, in every layer alike, the vector that preferences taught; of any model."""
    rows = taught.float()[None].expand(len(vectors.norms), -1)
    return replace(vectors.with_directions({PREFERENCE: rows}), made_of=None)
