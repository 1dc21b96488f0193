"""What the claims about transfer say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import number
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _reading(claim: Claim) -> Words:
    beside = claim.figures.beside
    notes = [say("The target's own directions reach {own}.", own=number(beside["own"]))]
    if "wrong" in beside:
        notes.append(say("The best of another attribute's directions reaches {wrong}.", wrong=number(beside["wrong"])))
    return Words(
        say(
            "Directions of {source} tell the test sentences of {target} apart better than directions of shuffled labels do "
            "(layer {layer}).",
            source=claim.about.arm, target=claim.about.corpus, layer=claim.about.layer,
        ),
        term("AUROC, mean over values, each against all other sentences"),
        term("groups of sentences"),
        say("directions of labels shuffled within groups, each choosing its layer"),
        tuple(notes),
    )  # fmt: skip


def _words(claim: Claim) -> Words:
    return _ahead(
        say(
            "Directions of {source} tell the test sentences of {target} apart better than n-grams tuned on {source} do.",
            source=claim.about.arm, target=claim.about.corpus,
        ),
        say("The n-grams reach {words}.", words=number(claim.figures.beside["words"])),
    )  # fmt: skip


def _other(claim: Claim) -> Words:
    return _ahead(
        say(
            "Directions of {source} tell the test sentences of {target} apart better than the best of another attribute's "
            "directions do.",
            source=claim.about.arm, target=claim.about.corpus,
        ),
        say("The best of another attribute's directions reaches {wrong}.", wrong=number(claim.figures.beside["other"])),
    )  # fmt: skip


def _ahead(statement: str, note: str) -> Words:
    counted = term("groups of sentences")
    return Words(statement, term("difference of AUROCs"), counted, chance=say("no difference"), notes=(note,))


KINDS = (Kind("transfer.reading", _reading), Kind("transfer.words", _words), Kind("transfer.other", _other))

ASPECTS = (
    Aspect(
        "stable",
        "what one set of sentences teaches reads another",
        ("transfer.reading", "transfer.words", "transfer.other"),
        "transfer",
        some="Directions carried over to other sentences read them: {supported} of {total} ({names}; clearest: "
        "{figure}, {beside}).",
        none="That directions read other sentences than their own is not shown (tested: {total}; closest: {figure}, "
        "{beside}).",
        names="corpus",
        plainly="Directions learned on one set of sentences read others, too.",
        otherwise="That directions read other sentences than their own is not shown.",
    ),
)
