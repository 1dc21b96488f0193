"""What the claims of the trace say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _writes(claim: Claim) -> Words:
    about = claim.about
    statement = say(
        "{name} writes {emotion} at the last token: more along its direction (layer {layer}) than in the neutral sentence of "
        "the same group.",
        name=about.part, emotion=term(str(about.value)), layer=about.layer,
    )  # fmt: skip
    return _of(
        claim, statement, term("difference of the projection, residual norms"), term("directions of shuffled labels")
    )


def _reads(claim: Claim) -> Words:
    about = claim.about
    statement = say(
        "{name} reads {emotion}: taking the direction out of the last token after layer {layer} changes its output there more "
        "than taking out as much along directions of shuffled labels.",
        name=about.part, emotion=term(str(about.value)), layer=about.layer,
    )  # fmt: skip
    return _of(claim, statement, term("relative change of its output"), term("directions of shuffled labels"))


def _looks(claim: Claim) -> Words:
    about = claim.about
    statement = say(
        "{name} attends from the last token to {emotion} words more than to the same place of a neutral sentence of the same "
        "length.",
        name=about.part, emotion=term(str(about.value)),
    )  # fmt: skip
    return _of(
        claim,
        statement,
        term("attention"),
        term("shuffled labels of the sentences"),
        say("Attention is a screen, not a cause."),
    )


def _of(claim: Claim, statement: str, unit: str, null: str, *notes: str) -> Words:
    if (draws := claim.figures.beside.get("draws")) is not None:
        notes = (say("Each of the {draws} nulls chose its own part of that rank.", draws=int(draws)), *notes)
    return Words(statement, unit, term("groups of sentences"), null if claim.figures.null else "", notes)


KINDS = (Kind("trace.writers", _writes), Kind("trace.readers", _reads), Kind("trace.attention", _looks))

ASPECTS = (
    Aspect(
        "taken-in",
        "heads that look at emotion words",
        ("trace.attention",),
        "trace",
        some="Looking at emotion words more than at the same place of neutral sentences is supported for "
        "{supported} of {total} candidates (a head and an emotion: {names}; clearest: {figure}, {beside}).",
        none="None of {total} candidate heads is shown to look at emotion words more than at the same place of "
        "neutral sentences (closest: {figure}, {beside}).",
        plainly="Some heads look at the words that name it.",
        otherwise="No head is shown to look at the words that name it.",
    ),
    Aspect(
        "travels",
        "who writes it at the last token",
        ("trace.writers",),
        "trace",
        some="Writing along an emotion's direction at the last token is supported for {supported} of {total} "
        "candidates (a head or MLP and an emotion; parts: {names}; clearest: {figure} residual norms, "
        "{beside}).",
        none="None of {total} candidate parts is shown to write along an emotion's direction at the last token "
        "(closest: {figure} residual norms, {beside}).",
        names="part",
        plainly="Some heads or MLPs write it into the last token ({names}).",
        otherwise="Which heads and MLPs write it is not shown.",
    ),
    Aspect(
        "travels",
        "who reads it",
        ("trace.readers",),
        "trace",
        some="Reading it downstream, that is an output which changes when the direction is taken out, is "
        "supported for {supported} of {total} ({names}; clearest: {figure}, {beside}).",
        none="None of {total} candidates is shown to read it downstream (closest: {figure}, {beside}).",
        plainly="Some parts further on read it ({names}).",
        otherwise="Which parts read it further on is not shown.",
    ),
)
