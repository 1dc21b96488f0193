"""How texts were steered and judged, in sentences for a paper."""

from __future__ import annotations

from typing import Any

from emotion_circuits.language import N_, nsay, say, term
from emotion_circuits.page.numerals import number
from emotion_circuits.prompts import Attribute
from emotion_circuits.record.studied import studied_in
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.settings import SteeringSettings

__all__ = ["MANNER", "methods"]

MANNER = {
    "add": N_(
        "While the model went on with neutral openings, a direction ({contrast}), scaled to a fraction of the layer's "
        "median residual norm, was added to the residual stream [@turner2023; @rimsky2024]."
    ),
    "clamp": N_(
        "While the model went on with neutral openings, the projection of the residual stream on a direction ({contrast}) "
        "was held at a fraction of the layer's median residual norm."
    ),
}
"""Operations in words."""
_CONTRAST = {
    "rest": N_("the value minus the mean of all other labels"),
    "neutral": N_("the value minus the reference"),
}
_OTHERS = {"vader": "[@hutto2014]", "mlask": "[@ptaszynski2009]"}
"""Judges that others made."""
_EMBEDDED = "[@reimers2019; @wang2020]"


def methods(folder: SteeringFolder, manifest: dict[str, Any]) -> tuple[str, ...]:
    """What was added where, how that was chosen, what it was compared with, who judged."""
    own, about, choice = (
        SteeringSettings.model_validate(manifest["config"]["steering"]), studied_in(manifest), folder.choice.read(),
    )  # fmt: skip
    found = [
        say(MANNER[own.operation], contrast=say(_CONTRAST[own.contrast])),
        say(
            "Place and strength were chosen on {openings} validation openings: the largest mean probability of the value among "
            "conditions whose perplexity ratio stays at most {bound} up to the end of its 95 % interval.",
            openings=choice.openings, bound=number(own.max_perplexity_ratio),
        ),
    ]  # fmt: skip
    chosen = choice.conditions()
    if not chosen:
        return (*found, say("No condition was within the bound."))
    places = [
        say(
            "{value}: layer {layers}, {alpha}",
            value=term(v),
            layers=" ".join(map(str, c.layers)),
            alpha=number(c.alpha),
        )
        + (say(" ({first} at the first token)", first=number(c.first)) if c.first else "")
        for v, c in chosen.items()
    ]
    random, shuffled = own.nulls(len(about.values))
    found += [
        say("Chosen were, in residual norms: {places}.", places=say("; ").join(places)),
        say(
            "Effects were measured on {openings} other openings, paired by opening, with the same random draws in every "
            "arm; {samples} of up to {tokens} tokens per opening and arm at temperature {temperature}.",
            openings=int(folder.arms.read()["n"].max()), samples=nsay("{n} text", "{n} texts", own.samples),
            tokens=own.max_new_tokens, temperature=number(own.temperature),
        ),
        say(
            "Each chosen condition was ranked among {random} random directions of its norm and {shuffled} directions of "
            "labels shuffled within groups, written at its place and strength; its p-value is the largest of the tests that "
            "it must pass.",
            random=random, shuffled=shuffled,
        ),
        say(
            "Texts were scored without their openings by judges that do not know the arm: {judges}; fluency is the "
            "perplexity under the unsteered model.",
            judges=say(", ").join(_judge(about.attribute, name) for name in about.attribute.judges),
        ),
    ]  # fmt: skip
    return tuple(found)


def _judge(attribute: Attribute, name: str) -> str:
    """A judge's name, and whose work it is or stands on."""
    sentences = attribute.classifier.features in ("sentence", None) and attribute.language == "en"
    cited = _EMBEDDED if name == attribute.axis and sentences else _OTHERS.get(name, "")
    return f"{term(name)} {cited}".strip()
