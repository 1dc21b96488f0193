"""What the claims of the map say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import number
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _axis(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say(
            "A leading axis of the values (layer {layer}) runs along {dimension}, as people rated it.",
            layer=about.layer, dimension=term(str(about.metric)),
        ),
        term("correlation over values"),
        term("rated values"),
        say("labels shuffled within groups"),
        (
            say(
                "It is axis {axis}. Distances between values agree to {ceiling} (rank correlation) on training and test "
                "sentences.",
                axis=int(beside["axis"]), ceiling=number(beside["ceiling"]),
            ),
        ),
    )  # fmt: skip


def _beyond(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say(
            "States of layer {layer} follow {dimension} more closely than the model's static embeddings of the same sentences.",
            layer=about.layer, dimension=term(str(about.metric)),
        ),
        term("difference of correlations over values"),
        term("rated values"),
        notes=(
            say(
                "States {states}, static embeddings {words}.",
                states=number(beside["states"]), words=number(beside["words"]),
            ),
        ),
    )  # fmt: skip


KINDS = (Kind("map.axis", _axis), Kind("map.beyond", _beyond))

ASPECTS = (
    Aspect("taken-in", "an axis of the values is one that people rate", ("map.axis",), "map"),
    Aspect("taken-in", "… beyond what the words alone say", ("map.beyond",), "map"),
)
