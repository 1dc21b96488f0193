"""What the claims about several models say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _difference(claim: Claim) -> Words:
    return Words(
        say(
            "{second} keeps the values of the same sentences further apart than {first}, or less far.",
            first=claim.about.arm, second=claim.about.model,
        ),
        term("difference of AUROCs"),
        term("scenes that both models read"),
        notes=(say("Read from equally many principal axes; scenes are drawn together for both models."),),
    )  # fmt: skip


def _trend(claim: Claim) -> Words:
    return Words(
        say("With size the separation of values changes in {family}.", family=claim.about.model),
        term("AUROC per tenfold parameters"),
        term("scenes that all models read"),
    )


KINDS = (Kind("scaling.difference", _difference), Kind("scaling.trend", _trend))

ASPECTS = (
    Aspect(
        "stable",
        "models of several sizes keep values apart alike",
        ("scaling.difference", "scaling.trend"),
        "scaling",
        some="Models differ in how far apart they keep the values of the same sentences in {supported} of {total} comparisons "
        "(clearest: {figure}, {beside}).",
        none="That models differ in how far apart they keep the values of the same sentences is not shown ({total} comparisons; "
        "closest: {figure}, {beside}).",
        names="model",
    ),
)
