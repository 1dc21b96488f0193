"""What the claims about directions say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import interval, number
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _reading(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    what = (
        say("reader of several layers and poolings")
        if about.method is None
        else say("single direction set {name}", name=about.method)
    )
    return Words(
        say(
            "On held-out '{set}' sentences the model's states tell the emotion better than words alone, tuned on the same "
            "sentences ({what}).",
            set=about.corpus, what=what,
        ),
        term("difference of accuracy"),
        term("groups of sentences"),
        notes=(
            say(
                "Accuracy {accuracy} {interval}, words alone {words} ({words_by}), chance {chance}, {n} sentences.",
                accuracy=number(beside["accuracy"]), interval=interval(beside["low"], beside["high"]),
                words=number(beside["words_alone"]), words_by=term(str(about.arm)),
                chance=number(beside["chance"]), n=int(beside["sentences"]),
            ),
        ),
        chance=say("no difference"),
    )  # fmt: skip


def _cosine(claim: Claim) -> Words:
    about = claim.about
    return Words(
        say(
            "The directions of {pair} (layer {layer}) are more alike than those of shuffled labels, which share the neutral mean "
            "too.",
            pair=" – ".join((term(str(about.value)), term(str(about.other)))), layer=about.layer,
        ),
        term("cosine"),
        term("groups of sentences"),
        null=say("labels shuffled within groups"),
        notes=(
            say("95 % of unrelated random directions lie within ±{range}.", range=number(claim.figures.beside["random"])),
        ),
        chance=say("shuffled labels"),
    )  # fmt: skip


KINDS = (
    Kind("directions.reading", _reading),
    Kind("directions.single", _reading),
    Kind("directions.cosine", _cosine),
)

ASPECTS = (
    Aspect(
        "taken-in",
        "states tell more than words do",
        ("directions.reading",),
        "taken-in",
        some="The residual stream tells the emotion of held-out sentences better than words alone on "
        "{supported} of {total} corpora ({names}; clearest: {figure} of accuracy, {beside}).",
        none="On none of {total} corpora does the residual stream tell the emotion of held-out sentences better "
        "than words alone (closest: {figure} of accuracy, {beside}).",
        plainly="Its states tell more about the emotion of a sentence than the sentence's words do ({names}).",
        otherwise="That its states tell more about the emotion of a sentence than the sentence's words do is not shown.",
    ),
    Aspect(
        "taken-in",
        "… on fresh sentences without any emotion word",
        ("directions.reading",),
        "taken-in",
        where={"corpus": ("implicit-fresh",)},
        some="It also does so on fresh sentences without any emotion word ({figure}, {beside}).",
        none="On fresh sentences without any emotion word this is not shown ({figure}, {beside}): there, what is "
        "read may be words that go with an emotion.",
        ruled_out="On fresh sentences without any emotion word it does not ({figure}, {beside}): what is read there is "
        "words that go with an emotion.",
        plainly="So they do on fresh sentences without any emotion word.",
        otherwise="On fresh sentences without any emotion word, which decide, it is not shown.",
    ),
    Aspect("taken-in", "a single direction set reads", ("directions.single",), "taken-in"),
    Aspect("taken-in", "directions of two emotions are alike", ("directions.cosine",), "geometry"),
)
