"""What the claims about several models say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _difference(claim: Claim) -> Words:
    return Words(
        say(
            "From the first block to the layer that tells values best, {second} gains another amount than {first}.",
            first=claim.about.arm, second=claim.about.model,
        ),
        term("difference of gains in AUROC"),
        term("scenes that both models read"),
        notes=(say("Read from equally many principal axes; scenes are drawn together for both models."),),
    )  # fmt: skip


def _trend(claim: Claim) -> Words:
    return Words(
        say("With size the layers' gain in telling values changes in {family}.", family=claim.about.model),
        term("gain in AUROC per tenfold parameters"),
        term("scenes that all models read"),
    )


KINDS = (Kind("scaling.difference", _difference), Kind("scaling.trend", _trend))

ASPECTS = (
    Aspect(
        "stable",
        "what layers add in models of several sizes",
        ("scaling.difference", "scaling.trend"),
        "scaling",
        some="Models differ in what their layers add to telling the values of the same sentences: {supported} of {total} "
        "compared (clearest: {figure}, {beside}).",
        none="That models differ in what their layers add to telling the values of the same sentences is not shown (tested: "
        "{total}; closest: {figure}, {beside}).",
        names="model",
    ),
)
