"""What goes with a vector wherever it goes: of which model it is, how strong it is, and what may be expected of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.prompts.loading import validation_messages

__all__ = ["Card", "Effect", "Made"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Made(_Record):
    """The model in whose residual stream a vector lies.

    Attributes:
        name: what the run called it.
        revision: hub commit or requested revision, where there is one.
        weights_sha256: of its weights, configuration and tokenizer.
        architecture: ``model_type`` of its configuration.
        layers: decoder blocks.
        width: of the residual stream.
        licence: of the model, where it is known here; empty: see the model's own page.
        prefix: ``auto`` where the run put one neutral token before every text.
    """

    name: str
    revision: str | None = None
    weights_sha256: str
    architecture: str
    layers: int = Field(ge=1)
    width: int = Field(ge=1)
    licence: str = ""
    prefix: Literal["auto", "none"] = "none"

    @property
    def mark(self) -> ModelMark:
        """For comparing it with a loaded model."""
        return ModelMark(self.name, self.weights_sha256)


class Effect(_Record):
    """What was measured on held-out openings.

    Attributes:
        metric: a metric of the attribute, or ``perplexity ratio``: steered over unsteered.
        pushed: which tokens were pushed: ``all that the run pushes``, or ``all but the first``.
        value: the change, in the metric's own unit; of the ratio: the ratio.
        low: lower end of its 95 % interval, bootstrap by opening.
        high: upper end.
        without: the metric without steering; missing for the ratio.
        n: openings.
    """

    metric: str
    pushed: str
    value: float
    low: float
    high: float
    without: float | None = None
    n: int

    @property
    def said(self) -> str:
        """The value, with its sign where it is a change."""
        return f"{self.value:.3f}" if self.without is None else f"{self.value:+.3f}"


class Card(_Record):
    """All that is known of a vector.

    Attributes:
        format: version of this card.
        value: what it steers towards.
        attribute: of which attribute that is a value.
        language: of its texts.
        model: it was made of.
        condition: how the run steers, see :class:`emotion_circuits.steering.Condition`.
        norms: residual norm by layer: ``alpha`` counts in these.
        effects: what the run measured.
        judge: that decided.
        openings: corpus of the openings that the effects were measured on.
        cannot: what of the run's steering this file cannot carry, in sentences.
        made_by: the program and its version.
    """

    format: Literal[1] = 1
    value: str
    attribute: str
    language: str
    model: Made
    condition: dict[str, Any]
    norms: dict[int, float]
    effects: tuple[Effect, ...] = ()
    judge: str = ""
    openings: str = ""
    cannot: tuple[str, ...] = ()
    made_by: str = ""

    @classmethod
    def noted(cls, found: Any, place: str) -> Card:
        """From what a file holds.

        Args:
            found: the JSON value.
            place: of the file, for messages.

        Raises:
            EmotionCircuitsError: it is no card, or one of another version.
        """
        if isinstance(found, dict) and found.get("format") != 1:
            raise EmotionCircuitsError(
                f"{place}: its card has format {found.get('format')!r}, this version reads 1; use the version of "
                f"emotion-circuits that wrote it ({found.get('made_by', 'unknown')})"
            )
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            raise EmotionCircuitsError(
                f"{place}: its card cannot be read: {'; '.join(validation_messages(error)[:3])}"
            ) from error

    def markdown(self, kind: str) -> str:
        """The card for people.

        Args:
            kind: what was written, e.g. ``llama.cpp``.
        """
        m, c = self.model, self.condition
        layers = ", ".join(f"{layer} (norm {norm:.4g})" for layer, norm in self.norms.items())
        name = f"{m.name} at {m.revision}" if m.revision else m.name
        lines = [
            f"# {self.value}: a steering vector of {m.name}",
            "",
            f"Written for {kind} by {self.made_by or 'emotion-circuits'}.",
            "",
            "| | |",
            "| --- | --- |",
            f"| steers towards | {self.value} ({self.attribute}, {self.language}) |",
            f"| model | {name}, {m.architecture}, {m.layers} layers, width {m.width} |",
            f"| its SHA-256 | `{m.weights_sha256}` (weights, configuration, tokenizer) |",
            f"| licence | {_licence(m)} |",
            f"| after layer | {layers} |",
            f"| strength | {c.get('alpha', 0):g} of the layer's residual norm, folded into the vector: use it at scale 1 |",
        ]
        if c.get("first"):
            lines.append(f"| in the run, at the first token | {c['first']:g} residual norms |")
        lines += ["", "## What to expect", ""]
        if self.effects:
            lines += [
                f"Measured on {self.openings or 'held-out openings'}"
                f"{f'; the judge is `{self.judge}`' if self.judge else ''}. Intervals are 95 %, bootstrap by opening. "
                "Other texts, chat templates, samplers and quantised weights give other figures.",
                "",
                "| metric | pushed tokens | change, or ratio | 95 % | without | openings |",
                "| --- | --- | --- | --- | --- | --- |",
            ]
            for e in self.effects:
                without = "" if e.without is None else f"{e.without:.3f}"
                low, high = f"{e.low:.3f}", f"{e.high:.3f}"
                lines.append(f"| {e.metric} | {e.pushed} | {e.said} | {low} to {high} | {without} | {e.n} |")
        else:
            lines.append("Nothing was measured: the run has no test of this condition.")
        lines += ["", "## What this file cannot carry", ""]
        lines += [f"- {one}" for one in self.cannot] or ["- nothing: the run's condition is whole."]
        return "\n".join(lines) + "\n"


def _licence(model: Made) -> str:
    own = model.licence or f"not known here, see the page of {model.name}"
    return f"of the model: {own}. The vector is derived from the model's weights."
