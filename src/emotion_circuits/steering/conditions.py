"""What is done to a model while it writes, as data: one :class:`Condition` per arm of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["NONE", "Condition", "Kind", "check_conditions", "controls", "grid", "shared_controls"]

Kind = Literal["none", "emotion", "random", "shuffled", "other", "prompting"]
Operation = Literal["add", "ablate", "clamp"]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One arm of a sweep.

    Attributes:
        name: unique within a sweep.
        kind: ``none``; ``emotion`` (its own direction); the controls ``random``, ``shuffled`` (labels), ``other``
            (another emotion's direction); ``prompting`` (words instead of a direction; with layers, beside one).
        emotion: the emotion meant; of a control: the emotion it is a control for.
        layers: blocks whose output is changed.
        alpha: strength at each layer. ``add``: times unit direction times the layer's residual norm. ``clamp``: the
            projection afterwards, in residual norms, counted from ``origin``.
        units: ``norm`` (above), or ``raw``: times the direction as it was fitted, unscaled.
        direction: key of the direction; empty: the emotion's own. ``random`` conditions draw theirs from ``seed``.
        mixture: ``((direction, weight), ...)`` instead of one direction; the weighted sum is not normalised again.
        operation: ``add``; ``ablate`` (remove the direction; alpha is unused); ``clamp``.
        when: ``prompt`` tokens, ``generated`` tokens, or ``all``.
        positions: ``all`` tokens; the ``rest`` without the first, which is an attention sink; or the ``last`` of the
            prompt and every generated one.
        first: with ``add``: strength at the first token, in the unit of ``alpha``, where ``positions`` leaves it out. It is
            an attention sink: its state may be a hundred times as long as others', so that it bears strengths of several
            residual norms, and what is added to it reaches every later token.
        origin: what a clamp counts from: ``zero``, or the mean projection of ``neutral`` sentences, which differs from
            0 and from direction to direction.
        gate: direction whose projection must exceed ``gate_threshold`` (in residual norms) at a token; empty: no gate.
        gate_threshold: see ``gate``.
        seed: of a random direction, or the index of a label-shuffled one.
        style: of prompting: ``instruction`` or ``few_shot``.
    """

    name: str
    kind: Kind = "emotion"
    emotion: str | None = None
    layers: tuple[int, ...] = ()
    alpha: float = 0.0
    units: Literal["norm", "raw"] = "norm"
    direction: str = ""
    mixture: tuple[tuple[str, float], ...] = ()
    operation: Operation = "add"
    when: Literal["prompt", "generated", "all"] = "all"
    positions: Literal["all", "rest", "last"] = "all"
    first: float = 0.0
    origin: Literal["zero", "neutral"] = "zero"
    gate: str = ""
    gate_threshold: float = 0.0
    seed: int = 0
    style: Literal["instruction", "few_shot"] = "instruction"

    def __post_init__(self) -> None:
        where = f"condition {self.name!r}"
        if not self.name.strip():
            raise EmotionCircuitsError("a condition needs a name")
        if self.kind not in get_args(Kind):
            raise EmotionCircuitsError(f"{where}: kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.operation not in get_args(Operation):
            raise EmotionCircuitsError(f"{where}: operation must be add, ablate or clamp, got {self.operation!r}")
        steers = self.kind not in ("none", "prompting")
        if steers and not self.layers:
            raise EmotionCircuitsError(f"{where}: name the layers it acts on")
        if steers and (min(self.layers) < 0 or len(set(self.layers)) != len(self.layers)):
            raise EmotionCircuitsError(f"{where}: layers must be distinct and 0 or more, got {self.layers}")
        if not abs(self.alpha) < float("inf"):
            raise EmotionCircuitsError(f"{where}: alpha must be finite, got {self.alpha}")
        if self.first and not (self.operation == "add" and self.positions == "rest" and self.when != "generated"):
            raise EmotionCircuitsError(
                f"{where}: 'first' is the strength at the prompt's first token where 'positions' leaves it out: it needs "
                "operation 'add', positions 'rest', and not when 'generated'"
            )
        if self.kind == "emotion" and not (self.emotion or self.direction or self.mixture):
            raise EmotionCircuitsError(f"{where}: name an emotion, a direction or a mixture")
        if self.kind in ("shuffled", "other") and not self.direction:
            raise EmotionCircuitsError(f"{where}: name the direction it uses")

    @property
    def parts(self) -> tuple[tuple[str, float], ...]:
        """``(direction, weight)`` of everything it injects; ``random`` stands for a drawn direction."""
        if self.mixture:
            return self.mixture
        return ((("random" if self.kind == "random" else self.direction or str(self.emotion)), 1.0),)

    @property
    def how(self) -> str:
        """What a matched control shares besides layers and alpha: operation, unit, time, positions and gate."""
        gate = f" if {self.gate}>{self.gate_threshold:g}" if self.gate else ""
        origin = f" from {self.origin}" if self.operation == "clamp" else ""
        first = f" first {self.first:g}" if self.first else ""
        return f"{self.operation} {self.units} {self.when} {self.positions}{first}{origin}{gate}"

    def to_json(self) -> dict[str, Any]:
        """Plain values, for manifests."""
        found = asdict(self)
        found["layers"] = list(self.layers)
        found["mixture"] = [list(part) for part in self.mixture]
        return found

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Condition:
        """Read :meth:`to_json` back.

        Raises:
            EmotionCircuitsError: unknown fields.
        """
        fields = dict(value)
        fields["layers"] = tuple(fields.get("layers", ()))
        fields["mixture"] = tuple((str(a), float(b)) for a, b in fields.get("mixture", ()))
        try:
            return cls(**fields)
        except TypeError as error:
            raise EmotionCircuitsError(f"condition {value.get('name')!r}: {error}") from error


NONE = Condition(name="none", kind="none")
"""No steering: what everything is compared with."""


def _layers_name(layers: Sequence[int]) -> str:
    steps = list(layers)
    if len(steps) > 2 and steps == list(range(steps[0], steps[-1] + 1)):
        return f"L{steps[0]}-{steps[-1]}"
    return "L" + "+".join(map(str, steps))


def grid(
    emotions: Sequence[str],
    layers: Sequence[int | Sequence[int]],
    alphas: Sequence[float],
    *,
    directions: Mapping[str, str] | None = None,
    prefix: str = "",
    **fields: Any,
) -> list[Condition]:
    """Every emotion × layer (or group of layers) × α, with :data:`NONE` in front.

    Args:
        emotions: emotions meant.
        layers: single layers, or groups that are changed together (each with the full α).
        alphas: strengths; 0 is left out, since it is :data:`NONE`.
        directions: emotion → key of its direction, where it isn't the emotion's name (e.g. another extractor's).
        prefix: put before every name.
        **fields: further fields of :class:`Condition`, the same for all.
    """
    found = [NONE]
    for emotion in emotions:
        for layer in layers:
            group = (layer,) if isinstance(layer, int) else tuple(layer)
            for alpha in alphas:
                if alpha == 0 and not fields.get("first"):
                    continue
                name = f"{prefix}{emotion} {_layers_name(group)} α={alpha:g}"
                direction = (directions or {}).get(emotion, "")
                found.append(
                    Condition(name=name, emotion=emotion, layers=group, alpha=alpha, direction=direction, **fields)
                )
    return found


def controls(
    condition: Condition,
    *,
    random: int = 99,
    shuffled: Sequence[str] = (),
    others: Sequence[str] = (),
    prompting: bool = True,
    first_seed: int = 0,
) -> list[Condition]:
    """What a chosen condition is compared with: the same in everything but the direction, of the same norm.

    Args:
        condition: a steering condition of kind ``emotion``.
        random: number of random directions.
        shuffled: keys of label-shuffled directions.
        others: the other emotions.
        prompting: also the two prompting baselines.
        first_seed: of the random directions.

    Raises:
        EmotionCircuitsError: the condition isn't one that can be matched.
    """
    if condition.kind != "emotion" or condition.emotion is None:
        raise EmotionCircuitsError(f"condition {condition.name!r}: only an emotion's condition has matched controls")
    size = sum(weight for _, weight in condition.parts)
    same = replace(condition, mixture=(), direction="", alpha=condition.alpha * size)
    found = [
        replace(same, name=f"{condition.name} | random {i}", kind="random", seed=first_seed + i) for i in range(random)
    ]
    found += [
        replace(same, name=f"{condition.name} | {key}", kind="shuffled", direction=key, seed=i)
        for i, key in enumerate(shuffled)
    ]
    found += [
        replace(same, name=f"{condition.name} | {key}", kind="other", direction=key)
        for key in others
        if key != condition.emotion
    ]
    if prompting:
        for style in ("instruction", "few_shot"):
            found.append(
                Condition(
                    name=f"{condition.emotion} | prompting {style}",
                    kind="prompting",
                    emotion=condition.emotion,
                    style=style,  # type: ignore[arg-type]
                )
            )
    return found


def shared_controls(
    chosen: Sequence[Condition], *, random: int = 99, shuffled: Sequence[str] = (), prompting: bool = True
) -> list[Condition]:
    """The chosen conditions and all their controls, each written once.

    Conditions that differ in their direction only share their random and label-shuffled directions, and are one
    another's *other emotions*: the same text would be written twice.

    Args:
        chosen: one condition per emotion.
        random: random directions per place and strength.
        shuffled: keys of label-shuffled directions.
        prompting: also the two prompting baselines per emotion.
    """
    found: list[Condition] = list(chosen)
    written = {(c.layers, c.alpha, c.how, c.parts) for c in chosen}
    for condition in chosen:
        others = [str(c.emotion) for c in chosen]
        sink = f" sink={condition.first:g}" if condition.first else ""
        place = f"{_layers_name(condition.layers)} α={condition.alpha:g}{sink}"
        for control in controls(condition, random=random, shuffled=shuffled, others=others, prompting=prompting):
            key: tuple[Any, ...] = (control.layers, control.alpha, control.how, control.parts)
            if control.kind == "prompting":
                key = (control.emotion, control.style)
            elif control.kind == "random":
                # In raw units a random direction is as long as the emotion's own, so it is that emotion's control only.
                shared = control.units == "norm"
                key = (*key, control.seed, None if shared else control.emotion)
                if shared:
                    control = replace(control, emotion=None, name=f"{place} | random {control.seed}")
            elif control.kind == "shuffled":
                control = replace(control, emotion=None, name=f"{place} | {control.direction}")
            if key not in written:
                written.add(key)
                found.append(control)
    return found


def check_conditions(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions as a list.

    Raises:
        EmotionCircuitsError: none at all, or two of one name.
    """
    rows = list(conditions)
    if not rows:
        raise EmotionCircuitsError("a sweep needs at least one condition")
    names = [c.name for c in rows]
    doubled = sorted({n for n in names if names.count(n) > 1})
    if doubled:
        raise EmotionCircuitsError(f"conditions need different names; more than once: {', '.join(doubled[:5])}")
    return rows
