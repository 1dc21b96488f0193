"""What the claims about two models say."""

from __future__ import annotations

from dataclasses import replace

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import interval, number
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.stations.steering.words import effect_words, fluency_words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _where(claim: Claim) -> str:
    about = claim.about
    assert about.layers is not None
    return say("layer {a} → {b}, {method}", a=about.layers[0], b=about.layers[1], method=about.method)


def _reading(claim: Claim) -> Words:
    beside = claim.figures.beside
    return Words(
        say(
            "Directions of the first model, mapped by neutral sentences alone, tell the second model's test sentences apart "
            "better than directions of words do that were mapped alike ({where}).",
            where=_where(claim),
        ),
        term("difference of AUROCs, mean over values, each against all other sentences"),
        term("groups of sentences"),
        chance=say("no difference"),
        notes=(
            say(
                "Mapped directions reach {mapped}; the best of n-grams and of both models' static embeddings {words}; mapped "
                "directions of shuffled labels {shuffled}; the model's own directions {own}.",
                mapped=number(beside["auroc"]), words=number(beside["words"]), own=number(beside["own"]),
                shuffled=interval(beside["shuffled_low"], beside["shuffled_high"]),
            ),
            say(
                "p is the larger one of two: that of the difference, and the share of label shuffles that do as well as the "
                "mapped directions, which cannot be below 1/(draws + 1)."
            ),
        ),
    )  # fmt: skip


def _geometry(claim: Claim) -> Words:
    beside = claim.figures.beside
    return Words(
        say(
            "Mapped directions and the second model's own, fitted on different sentences, share more than directions of "
            "shuffled labels do ({where}).",
            where=_where(claim),
        ),
        term("cos², mean over halvings of the training groups"),
        term("groups of sentences"),
        say("the same with shuffled labels"),
        (
            say(
                "The interval is the range over halvings. Directions fitted on the same sentences in both models reach {same}, "
                "but so do shuffled labels ({shuffled}): they share the sentences' noise.",
                same=number(beside["same"]), shuffled=interval(beside["same_shuffled_low"], beside["same_shuffled_high"]),
            ),
        ),
    )  # fmt: skip


def _armed(claim: Claim, words: Words) -> Words:
    assert claim.about.layers is not None
    told = {"layer": claim.about.layers[1], "statement": words.statement}
    if claim.about.arm == "mapped":
        return replace(words, statement=say("(mapped directions, layer {layer}) {statement}", **told))
    return replace(words, statement=say("(own directions, layer {layer}) {statement}", **told))


def _effect(claim: Claim) -> Words:
    return _armed(claim, effect_words(claim))


def _fluency(claim: Claim) -> Words:
    return _armed(claim, fluency_words(claim))


KINDS = (
    Kind("alignment.reading", _reading),
    Kind("alignment.geometry", _geometry),
    Kind("alignment.effect", _effect),
    Kind("alignment.fluency", _fluency),
)

ASPECTS = (
    Aspect(
        "stable",
        "one model's directions read in another",
        ("alignment.reading",),
        "alignment",
        some="One model's directions, carried over by a map of neutral sentences alone, tell the other model's "
        "test sentences apart better than words carried over alike (by {figure}, {beside}).",
        none="That one model's directions tell the other model's test sentences apart better than words carried over alike is "
        "not shown (by {figure}, {beside}).",
        plainly="One model's directions tell the other model's sentences apart better than words do.",
        otherwise="That one model's directions tell the other model's sentences apart better than words do is not shown.",
    ),
    Aspect(
        "stable",
        "they lie where its own directions lie",
        ("alignment.geometry",),
        "alignment",
    ),
    Aspect(
        "stable",
        "they steer the other model",
        ("alignment.effect", "alignment.fluency"),
        "alignment",
        where={"arm": ("mapped",)},
    ),
    Aspect(
        "stable",
        "the other model's own directions steer it",
        ("alignment.effect", "alignment.fluency"),
        "alignment",
        where={"arm": ("own",)},
    ),
)
