"""From what a request asks for to what is done to its text, and from what was done to what the answer says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import say
from emotion_circuits.model import Gate, Intervention, LanguageModel, Site
from emotion_circuits.model.gauging import Touched
from emotion_circuits.model.stepping import Along, Row
from emotion_circuits.serve.spoken_easysteer import pushes_of
from emotion_circuits.serve.vectors import Served, Shelf
from emotion_circuits.steering import Condition, SteeringVectors
from emotion_circuits.steering.injecting import layer_interventions, said_only

__all__ = ["Asked", "Opens", "Plan", "Push", "Steering", "plan"]

STRONGEST = 4.0
"""Doses and strengths beyond it are refused: nothing fluent is left of a text long before."""
_MOVED = 1e-4
"""Residual norms by which a projection must have moved."""
_UNIT = 1e-3
"""By which the length of a vector in a request may differ from 1: what few digits leave of it."""
_NUMBERS = 65_536
"""Of all vectors in one request."""

Finite = Annotated[float, Field(ge=-STRONGEST, le=STRONGEST, allow_inf_nan=False)]


Threshold = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
_Component = Annotated[float, Field(ge=-1 - _UNIT, le=1 + _UNIT, allow_inf_nan=False, strict=True)]
_Layer = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,3})$")]


class Opens(BaseModel):
    """A gate: only tokens are pushed whose projection on a value's direction lies beyond a threshold, in residual norms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Annotated[str, Field(min_length=1, max_length=200)]
    above: Threshold | None = None
    below: Threshold | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Opens:
        if (self.above is None) == (self.below is None):
            raise ValueError("give either 'above' or 'below'")
        return self

    @property
    def threshold(self) -> float:
        """In residual norms of the layer."""
        return float(self.above if self.above is not None else self.below or 0.0)

    def at(self, layer: int, direction: torch.Tensor, norm: float) -> Gate:
        """The gate at a layer, in the units of the activations."""
        return Gate(
            direction=direction, threshold=self.threshold * norm, side="above" if self.above is not None else "below"
        )


class Push(BaseModel):
    """What is done with one vector: a ``dose`` of a named one, or exactly ``alpha`` (in residual norms) at ``layers``.

    ``vectors``, unit vectors by layer, make it one that the request brings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    dose: Finite | None = None
    alpha: Finite | None = None
    layers: tuple[Annotated[int, Field(ge=0, le=10_000)], ...] | None = Field(
        default=None, min_length=1, max_length=256
    )
    first: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] | None = None
    when: Literal["prompt", "generated", "all"] = "all"
    positions: Literal["all", "rest", "last"] | None = None
    gate: Opens | None = None
    vectors: (
        Annotated[
            dict[_Layer, Annotated[tuple[_Component, ...], Field(min_length=1, max_length=_NUMBERS)]],
            Field(min_length=1, max_length=256),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_of(self) -> Push:
        if (self.dose is None) == (self.alpha is None):
            raise ValueError("give either 'dose', or 'alpha' with 'layers'")
        if self.dose is not None and (self.layers or self.first is not None or self.positions):
            raise ValueError("'layers', 'first' and 'positions' go with 'alpha'; a dose has those of the run")
        if self.vectors is not None and (self.dose is not None or self.layers):
            raise ValueError("'vectors' go with 'alpha' and name their layers; a dose is of a value of a run")
        return self


def _as_push(given: Any) -> Any:
    return {"dose": given} if isinstance(given, int | float) and not isinstance(given, bool) else given


def _few(given: dict[str, Push]) -> dict[str, Push]:
    numbers = sum(len(row) for push in given.values() for row in (push.vectors or {}).values())
    if numbers > _NUMBERS:
        raise ValueError(f"{numbers:,} numbers in 'vectors'; a request brings {_NUMBERS:,} at most")
    return given


Steering = Annotated[
    dict[str, Annotated[Push, BeforeValidator(_as_push)]],
    Field(max_length=16),
    AfterValidator(_few),
    BeforeValidator(pushes_of),
]
"""The body's ``steering``: by value, a dose or a :class:`Push`; or what EasySteer calls it."""


@dataclass(frozen=True)
class Asked:
    """One value of a request, resolved.

    Attributes:
        value: what it is called in requests and answers.
        condition: that pushes it, in which it is called as in its run.
        warnings: where it leaves what the run measured.
        measured: what the run reports of it.
        gate: that decides token by token; ``None``: none does.
        brought: the request brings its vectors.
    """

    value: str
    dose: float | None
    condition: Condition
    warnings: tuple[str, ...]
    measured: Mapping[str, Any] | None
    gate: Opens | None = None
    brought: bool = False

    @property
    def acts(self) -> bool:
        """Whether it changes anything."""
        return bool(self.condition.alpha or self.condition.first)


@dataclass(frozen=True)
class Plan:
    """What is done to a text, and how it is measured.

    Attributes:
        served: what there was to steer with, the request's own vectors among them.
        asked: the values, in the order asked.
        interventions: what is done to the row.
        along: what is measured; ``of`` tells of which value, at which layer.
    """

    served: Shelf
    asked: tuple[Asked, ...]
    interventions: tuple[Intervention, ...]
    along: tuple[Along, ...]
    of: tuple[tuple[int, int], ...]
    left_out: int | None

    def still(self, rows: Sequence[Row]) -> str | None:
        """Which value did not move, though it was asked to; ``None``: all did. A gate that never opened is no such thing."""
        for number, asked in enumerate(self.asked):
            places = [place for place, (of, _) in enumerate(self.of) if of == number]
            for row in rows:
                shut = asked.gate is not None and not any(_count(row.touched[place]) for place in places)
                if asked.acts and not shut and not any(self._moved(row, place) for place in places):
                    return asked.value
        return None

    def _moved(self, row: Row, place: int) -> bool:
        touched, norm = row.touched[place], self._norm(*self.of[place])
        moves = (
            (touched.after - touched.before, touched.tokens),
            (touched.first_after - touched.first_before, touched.first),
        )
        return any(n and abs(by) / n > _MOVED * norm for by, n in moves)

    def _norm(self, number: int, layer: int) -> float:
        return float(self.served.of(self.asked[number].value).vectors.norms[layer])

    def report(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What the answer says: what was asked for, and by text what was done."""
        values = []
        for asked in self.asked:
            c = asked.condition
            values.append(
                {
                    "value": asked.value, "dose": asked.dose, "alpha": c.alpha, "first": c.first,
                    "layers": list(c.layers), "when": c.when, "positions": c.positions,
                    "measured": asked.measured, "warnings": list(asked.warnings),
                    **({"gate": asked.gate.model_dump(exclude_none=True)} if asked.gate else {}),
                    **({"vectors": "the request's"} if asked.brought else {}),
                }
            )  # fmt: skip
        return {
            "unit": "residual norms of the layer",
            "values": values,
            "choices": [{"index": i, "touched": self._touched(row)} for i, row in enumerate(rows)],
            "template_tokens_left_out": self.left_out,
        }

    def _touched(self, row: Row) -> list[dict[str, Any]]:
        found = []
        for (number, layer), touched in zip(self.of, row.touched, strict=True):
            norm = self._norm(number, layer)
            n = touched.tokens
            entry: dict[str, Any] = {
                "value": self.asked[number].value, "layer": layer, "tokens": n,
                "projection_before": touched.before / n / norm if n else None,
                "projection_after": touched.after / n / norm if n else None,
            }  # fmt: skip
            if touched.first:
                entry["first_token"] = {
                    "projection_before": touched.first_before / norm, "projection_after": touched.first_after / norm,
                }  # fmt: skip
            if self.asked[number].gate is not None:
                # What is measured is what all pushes at a layer did together.
                entry["opened"] = None if self._beside(number, layer) else _count(touched)
            found.append(entry)
        return found

    def _beside(self, number: int, layer: int) -> bool:
        return any(other != number and at == layer for other, at in self.of)


def _count(touched: Touched) -> int:
    return touched.tokens + touched.first


def plan(
    model: LanguageModel,
    served: Shelf,
    wanted: Mapping[str, Push],
    *,
    tokens: int,
    spoken: Sequence[int] | None = None,
    chat: bool = False,
) -> Plan:
    """Resolve what a request asks for.

    Args:
        model: that writes.
        served: what there is to steer with.
        wanted: the body's ``steering``.
        tokens: of the prompt.
        spoken: of a chat: places of the tokens that somebody said; the template's are left alone. ``None``: not known.
        chat: whether it is one.

    Raises:
        EmotionCircuitsError: a value that there is not, or that the run gives no range for; a layer that there is not; vectors
            of another width, or not of length 1; a request that no token would feel.
    """
    served = _with_brought(model, served, wanted)
    asked = tuple(_asked(model, served, wanted, value, chat=chat) for value in wanted)
    if sum(one.acts for one in asked) > 1:
        alone = say("effect and cost were measured of each value alone, not of several at once")
        asked = tuple(replace(one, warnings=(*one.warnings, alone)) if one.measured else one for one in asked)
    asked = tuple(_not_alone(one, asked) for one in asked)
    interventions: list[Intervention] = []
    along, of = [], []
    for number, one in enumerate(asked):
        vectors = served.of(one.value).vectors
        own = layer_interventions(one.condition, vectors)
        if one.gate is not None:
            own = [replace(i, gate=_gate(served, one, i.site.layer)) for i in own]
        if spoken is not None:
            own = said_only(own, [spoken])
        if one.acts and not own:
            raise EmotionCircuitsError(
                f"steering.{one.value}: would touch no token: the last token of a chat's prompt is the template's; use when "
                "'generated' or 'all'"
            )
        interventions += own
        for layer in one.condition.layers if one.acts else ():
            along.append(Along(Site("resid_post", layer), vectors.direction(served.own(one.value), layer)))
            of.append((number, layer))
    left_out = tokens - len(spoken) if spoken is not None else None
    return Plan(served, asked, tuple(interventions), tuple(along), tuple(of), left_out)


def _with_brought(model: LanguageModel, served: Shelf, wanted: Mapping[str, Push]) -> Shelf:
    """The shelf with the vectors that a request brings; their strengths are in the norms of the first run."""
    norms, brought = served.runs[0].vectors.norms, {}
    for name, push in wanted.items():
        if push.vectors is None:
            continue
        if name in served.names or name in served.unwritten:
            raise EmotionCircuitsError(
                f"steering.{name}: is a value of a run; give the vectors of the request another name"
            )
        rows = {}
        for key, numbers in push.vectors.items():
            where, layer, row = f"steering.{name}.vectors.{key}", int(key), torch.tensor(numbers, dtype=torch.float64)
            _has_layer(model, where, layer)
            if len(row) != model.d_model:
                raise EmotionCircuitsError(
                    f"{where}: {len(row)} numbers; the model's residual stream has {model.d_model}"
                )
            if not abs(float(row.norm()) - 1) <= _UNIT:
                raise EmotionCircuitsError(
                    f"{where}: has length {float(row.norm()):g}; a unit vector is needed: divide by the length and give the "
                    "strength as 'alpha', in residual norms"
                )
            rows[layer] = (row / row.norm()).float()
        # Layers without a vector are never asked for (_asked, _gate); a set of vectors has one at every layer.
        some = next(iter(rows.values()))
        brought[name] = torch.stack([rows.get(layer, some) for layer in range(len(norms))])
    if not brought:
        return served
    more = Served(SteeringVectors(brought, norms), {}, dict.fromkeys(brought, "is a vector of the request"))
    return served.beside(more)


def _has_layer(model: LanguageModel, where: str, layer: int) -> None:
    if layer >= model.n_layers:
        raise EmotionCircuitsError(f"{where}: layer {layer}; the model has layers 0 to {model.n_layers - 1}")


def _gate(served: Shelf, one: Asked, layer: int) -> Gate:
    assert one.gate is not None
    vectors = served.of(one.gate.value).vectors
    return one.gate.at(layer, vectors.direction(served.own(one.gate.value), layer), float(vectors.norms[layer]))


def _not_alone(one: Asked, asked: Sequence[Asked]) -> Asked:
    """With a warning where others act at the layers of a gated push, and what its gate let through cannot be counted."""
    others = {layer for other in asked if other is not one and other.acts for layer in other.condition.layers}
    if one.gate is None or not one.acts or not others & set(one.condition.layers):
        return one
    said = say(
        "another value is pushed at the same layer, so that tokens on which the gate opened are not counted there"
    )
    return replace(one, warnings=(*one.warnings, said))


def _check_gate(served: Shelf, where: str, wanted: Mapping[str, Push], push: Push, layers: Sequence[int]) -> None:
    assert push.gate is not None
    by = push.gate.value
    if by not in served.names:
        raise EmotionCircuitsError(
            f"{where}.gate: there is no such value as {by!r}; there are: {', '.join(served.names)}"
        )
    given = wanted[by].vectors if by in wanted else None
    if given is not None and (missing := [layer for layer in layers if str(layer) not in given]):
        raise EmotionCircuitsError(f"{where}.gate: the request brings no vector of {by!r} at layer {missing[0]}")


def _asked(model: LanguageModel, served: Shelf, wanted: Mapping[str, Push], value: str, *, chat: bool) -> Asked:
    where, push = f"steering.{value}", wanted[value]
    if value in served.unwritten:
        raise EmotionCircuitsError(f"{where}: {served.unwritten[value]}")
    if value not in served.names:
        raise EmotionCircuitsError(f"{where}: there is no such value; there are: {', '.join(served.names)}")
    ranged = served.ranges.get(value)
    warnings = []
    if push.dose is not None:
        if ranged is None:
            raise EmotionCircuitsError(
                f"{where}: {served.unranged[value]}, so that it has no dose; give 'alpha' and 'layers' to steer it all the same"
            )
        condition = ranged.at(push.dose)
        if not 0 <= push.dose <= 1:
            warnings.append(say("beyond the validated range of doses, from 0 to 1"))
        elif ranged.measured is not None and push.dose and abs(push.dose - ranged.measured["dose"]) > 1e-9:
            dose = ranged.measured["dose"]
            warnings.append(say("effect and cost were measured at dose {dose:g}, not at this one", dose=dose))
    else:
        layers = push.layers or (ranged.condition.layers if ranged else None)
        if push.vectors is not None:
            layers = tuple(sorted(map(int, push.vectors)))
        if layers is None:
            raise EmotionCircuitsError(f"{where}: 'alpha' needs 'layers'")
        _has_layer(model, where, max(layers))
        condition = Condition(
            name=value, emotion=served.own(value), layers=layers, alpha=float(push.alpha or 0),
            positions=push.positions or "rest", first=push.first or 0.0,
        )  # fmt: skip
        if push.vectors is not None:
            warnings.append(say("a vector of the request: no run measured what it does"))
        else:
            warnings.append(say("a strength given by hand: the run's effect and cost need not hold"))
    if push.when != condition.when:
        if push.when == "generated" and condition.first:
            condition = replace(condition, first=0.0)
            warnings.append(say("the first token is the prompt's and is left alone"))
        warnings.append(
            say("the run measured with when '{measured}', not '{asked}'", measured=condition.when, asked=push.when)
        )
        condition = replace(condition, when=push.when)
    if push.gate is not None:
        _check_gate(served, where, wanted, push, condition.layers)
        if push.vectors is None:
            warnings.append(say("the run measured without a gate"))
    measured_in_chat = served.of(value).chat
    # A vector of the request was measured nowhere, which is said already.
    if chat and not measured_in_chat and push.vectors is None:
        warnings.append(say("the run measured on openings that are continued, not on chat"))
    elif measured_in_chat and not chat:
        warnings.append(say("the run measured on requests of a chat, not on texts that are continued"))
    measured = ranged.measured if ranged is not None and push.dose is not None else None
    return Asked(
        value, push.dose, condition, tuple(warnings), measured, gate=push.gate, brought=push.vectors is not None
    )
