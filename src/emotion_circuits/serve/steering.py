"""From what a request asks for to what is done to its text, and from what was done to what the answer says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import say
from emotion_circuits.model import Intervention, LanguageModel, Site
from emotion_circuits.model.stepping import Along, Row
from emotion_circuits.serve.vectors import Shelf
from emotion_circuits.steering import Condition
from emotion_circuits.steering.injecting import layer_interventions, said_only

__all__ = ["Asked", "Plan", "Push", "Steering", "plan"]

STRONGEST = 4.0
"""Doses and strengths beyond it are refused: nothing fluent is left of a text long before."""
_MOVED = 1e-4
"""Residual norms by which a projection must have moved."""

Finite = Annotated[float, Field(ge=-STRONGEST, le=STRONGEST, allow_inf_nan=False)]


class Push(BaseModel):
    """What is done with one named vector: a ``dose``, or exactly ``alpha`` (in residual norms) at ``layers``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    dose: Finite | None = None
    alpha: Finite | None = None
    layers: tuple[Annotated[int, Field(ge=0, le=10_000)], ...] | None = Field(
        default=None, min_length=1, max_length=256
    )
    first: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)] | None = None
    when: Literal["prompt", "generated", "all"] = "all"
    positions: Literal["all", "rest", "last"] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Push:
        if (self.dose is None) == (self.alpha is None):
            raise ValueError("give either 'dose', or 'alpha' with 'layers'")
        if self.dose is not None and (self.layers or self.first is not None or self.positions):
            raise ValueError("'layers', 'first' and 'positions' go with 'alpha'; a dose has those of the run")
        return self


def _as_push(given: Any) -> Any:
    return {"dose": given} if isinstance(given, int | float) and not isinstance(given, bool) else given


Steering = Annotated[dict[str, Annotated[Push, BeforeValidator(_as_push)]], Field(max_length=16)]
"""The body's ``steering``: by value, a dose or a :class:`Push`."""


@dataclass(frozen=True)
class Asked:
    """One value of a request, resolved.

    Attributes:
        value: what it is called in requests and answers.
        condition: that pushes it, in which it is called as in its run.
    """

    value: str
    dose: float | None
    condition: Condition
    warnings: tuple[str, ...]
    measured: Mapping[str, Any] | None

    @property
    def acts(self) -> bool:
        """Whether it changes anything."""
        return bool(self.condition.alpha or self.condition.first)


@dataclass(frozen=True)
class Plan:
    """What is done to a text, and how it is measured.

    Attributes:
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
        """Which value did not move, though it was asked to; ``None``: all did."""
        for number, asked in enumerate(self.asked):
            for row in rows:
                if asked.acts and not any(
                    self._moved(row, place) for place, (of, _) in enumerate(self.of) if of == number
                ):
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
            found.append(entry)
        return found


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
        EmotionCircuitsError: a value that there is not, or that the run gives no range for; a layer that there is not; a
            request that no token would feel.
    """
    asked = tuple(_asked(model, served, value, push, chat=chat) for value, push in wanted.items())
    if sum(one.acts for one in asked) > 1:
        alone = say("effect and cost were measured of each value alone, not of several at once")
        asked = tuple(replace(one, warnings=(*one.warnings, alone)) if one.measured else one for one in asked)
    interventions: list[Intervention] = []
    along, of = [], []
    for number, one in enumerate(asked):
        vectors = served.of(one.value).vectors
        own = layer_interventions(one.condition, vectors)
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


def _asked(model: LanguageModel, served: Shelf, value: str, push: Push, *, chat: bool) -> Asked:
    where = f"steering.{value}"
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
        if layers is None:
            raise EmotionCircuitsError(f"{where}: 'alpha' needs 'layers'")
        if max(layers) >= model.n_layers:
            raise EmotionCircuitsError(f"{where}: layer {max(layers)}; the model has layers 0 to {model.n_layers - 1}")
        condition = Condition(
            name=value, emotion=served.own(value), layers=layers, alpha=float(push.alpha or 0),
            positions=push.positions or "rest", first=push.first or 0.0,
        )  # fmt: skip
        warnings.append(say("a strength given by hand: the run's effect and cost need not hold"))
    if push.when != condition.when:
        if push.when == "generated" and condition.first:
            condition = replace(condition, first=0.0)
            warnings.append(say("the first token is the prompt's and is left alone"))
        warnings.append(
            say("the run measured with when '{measured}', not '{asked}'", measured=condition.when, asked=push.when)
        )
        condition = replace(condition, when=push.when)
    measured_in_chat = served.of(value).chat
    if chat and not measured_in_chat:
        warnings.append(say("the run measured on openings that are continued, not on chat"))
    elif measured_in_chat and not chat:
        warnings.append(say("the run measured on requests of a chat, not on texts that are continued"))
    measured = ranged.measured if ranged is not None and push.dose is not None else None
    return Asked(value, push.dose, condition, tuple(warnings), measured)
