"""What the claims about steering say; two models compared say the same of mapped directions."""

from __future__ import annotations

import re

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import interval, number, percent, signed
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS", "effect_words", "fluency_words"]

_METRICS = {
    "share": "share classed as the emotion",
    "probability": "mean classifier probability of the emotion",
    "vader": "mean VADER score",
    "words": "share with a word of the emotion's lexicon",
}
"""What each metric of a steered text is."""


def metric_words(metric: str) -> str:
    """What a metric is; of one that is a judge's own figure, its mean."""
    return term(_METRICS[metric]) if metric in _METRICS else say("mean score of {judge}", judge=metric)


_NAMED = re.compile(r"(?:sink (?P<first>\S+) )?.+ L(?P<layers>[\d+-]+) α=(?P<alpha>\S+)")
"""How :func:`emotion_circuits.steering.grid` names a place and a strength in residual norms, a sink's before it."""


def place_words(condition: str | None) -> str:
    """Where and how strongly a condition pushes, in words; a name of another making as it is."""
    found = _NAMED.fullmatch(condition or "")
    if found is None or str(condition).startswith("raw "):
        return str(condition)
    layers, alpha, first = found["layers"], found["alpha"], found["first"]
    at = say("layer {layers}", layers=layers) if layers.isdecimal() else say("layers {layers}", layers=layers)
    if first is None:
        return say("{at}, {alpha} residual norms", at=at, alpha=alpha)
    return say(
        "{at}, {first} residual norms at the first token and {alpha} at the others", at=at, first=first, alpha=alpha
    )


def effect_words(claim: Claim) -> Words:
    """That a direction moves a metric further than directions of nothing do."""
    about, figures = claim.about, claim.figures
    metric = metric_words(str(about.metric))
    told = {"emotion": term(str(about.value)), "condition": place_words(about.condition), "metric": metric}
    if figures.side == "less":
        statement = say(
            "Adding the {emotion} direction ({condition}) changes the continuation's {metric} downwards, further than directions "
            "of nothing of the same norm do.",
            **told,
        )
    else:
        statement = say(
            "Adding the {emotion} direction ({condition}) changes the continuation's {metric} upwards, further than directions "
            "of nothing of the same norm do.",
            **told,
        )
    null = "" if figures.null is None else say(
        "{n:.0f} random directions of the same norm (range of their changes)", n=figures.beside["n_random"]
    )  # fmt: skip
    return Words(statement, say("change of {metric}", metric=metric), term("prompts"), null, _notes(figures.beside))


def _notes(beside: dict[str, float]) -> tuple[str, ...]:
    notes = [
        say(
            "{treated} steered, {control} unsteered; {wrong} of prompts move the wrong way.",
            treated=number(beside["treated"]), control=number(beside["control"]), wrong=percent(beside["wrong_way"]),
        )
    ]  # fmt: skip
    if "p_random" in beside:
        notes.append(
            say(
                "Among {n:.0f} random directions, on {prompts:.0f} prompts: p = {p}; against the best of them: {change} "
                "{interval}.",
                n=beside["n_random"], prompts=beside["null_n"], p=number(beside["p_random"]), change=signed(beside["beats"]),
                interval=interval(beside["beats_low"], beside["beats_high"]),
            )
        )  # fmt: skip
    if "p_shuffled" in beside:
        notes.append(
            say(
                "Among {n:.0f} directions of labels shuffled within groups: p = {p}; against the best of them: {change} "
                "{interval}.",
                n=beside["n_shuffled"], p=number(beside["p_shuffled"]), change=signed(beside["shuffled_beats"]),
                interval=interval(beside["shuffled_beats_low"], beside["shuffled_beats_high"]),
            )
        )  # fmt: skip
    if len(notes) > 1:
        notes.append(say("The claim's p is the largest of these and of that against no steering."))
    return tuple(notes)


def _tokens(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    metric = metric_words(str(about.metric))
    told = {"emotion": term(str(about.value)), "metric": metric}
    alone = {
        "alone": signed(beside["alone"]),
        "interval": interval(beside["alone_low"], beside["alone_high"]),
        "condition": about.condition,
    }
    if about.arm == "first":
        statement = say("The push at the first token adds to what the {emotion} direction does ({metric}).", **told)
        note = say("Without it ({condition}) the change is {alone} {interval}.", **alone)
    else:
        statement = say(
            "The push at all tokens but the first adds to what the {emotion} direction does ({metric}).", **told
        )
        note = say("Without it ({condition}) the change is {alone} {interval}.", **alone)
    return Words(statement, say("difference in {metric}", metric=metric), term("prompts"), notes=(note,))


def fluency_words(claim: Claim) -> Words:
    """That what is written under a direction stays fluent."""
    about = claim.about
    statement = say(
        "What is written under the {emotion} direction ({condition}) stays fluent: its perplexity under the unsteered model is "
        "at most {bound:g} times that of unsteered text.",
        emotion=term(str(about.value)), condition=place_words(about.condition), bound=claim.figures.chance,
    )  # fmt: skip
    return Words(statement, term("perplexity ratio"), term("prompts"), chance=say("bound"))


def _bound(claim: Claim) -> Words:
    about = claim.about
    statement = say(
        "A condition tried for {emotion} stays fluent: the cheapest one's perplexity is at most {bound:g} times that of "
        "unsteered text (on the openings of the choice; none was written on test openings).",
        emotion=term(str(about.value)), bound=claim.figures.chance,
    )  # fmt: skip
    notes = (say("Condition: {condition}.", condition=place_words(about.condition)),)
    return Words(statement, term("perplexity ratio"), term("prompts"), notes=notes, chance=say("bound"))


def _judge(claim: Claim) -> Words:
    return Words(
        say(
            "The judge {judge}, on which verdicts on what is written rest, agrees with the labels of held-out text beyond "
            "chance by more than {bar}.",
            judge=claim.about.method, bar=number(claim.figures.zero),
        ),
        term("mean recall of the labels, from 0 (chance) to 1"),
        term("groups of labelled texts"),
        chance=term("bar"),
    )  # fmt: skip


KINDS = (
    Kind("steering.effect", effect_words),
    Kind("steering.fluency", fluency_words),
    Kind("steering.bound", _bound),
    Kind("steering.tokens", _tokens),
    Kind("steering.judge", _judge),
)

ASPECTS = (
    Aspect("shows", "the judge of what is written can be trusted", ("steering.judge",), "steered"),
    Aspect(
        "shows",
        "the tone of steered text (VADER)",
        ("steering.effect",),
        "steered",
        where={"metric": ("vader",)},
        some="Along an emotion's direction the tone of what is written moves the expected way for {supported} of "
        "{total} emotions ({names}; clearest: {figure}, {beside}).",
        none="Along no emotion's direction is the tone of what is written shown to move the expected way "
        "(closest: {figure}, {beside}).",
        names="value",
        plainly="Pushed along its direction, texts change their tone for {names}.",
        otherwise="That texts change their tone along its direction is not shown.",
    ),
    Aspect(
        "shows",
        "emotion words in steered text",
        ("steering.effect",),
        "steered",
        where={"metric": ("words",)},
        some="Words of the emotion's lexicon become more frequent for {supported} of {total} ({names}; clearest: "
        "{figure}, {beside}).",
        none="Words of the emotion's lexicon are not shown to become more frequent (closest: {figure}, {beside}).",
        names="value",
        plainly="Its words become more frequent for {names}.",
        otherwise="That its words become more frequent is not shown.",
    ),
    Aspect(
        "steered",
        "adding a direction brings out its emotion",
        ("steering.effect",),
        "steered",
        where={"metric": ("share", "probability")},
        some="Adding an emotion's direction brings that emotion out more than random directions of the same norm "
        "do for {names} ({supported} of {total} measurements; clearest: {figure}, {beside}).",
        none="That adding an emotion's direction brings that emotion out more than random directions do is not "
        "shown for any emotion (closest: {figure}, {beside}).",
        names="value",
        plainly="Adding a direction brings out its emotion for {names}.",
        otherwise="That adding a direction brings out its emotion is not shown.",
    ),
    Aspect(
        "steered",
        "the push at the first token takes part in it",
        ("steering.tokens",),
        "steering-tokens",
        where={"arm": ("first",)},
    ),
    Aspect(
        "steered",
        "the push at all other tokens takes part in it",
        ("steering.tokens",),
        "steering-tokens",
        where={"arm": ("rest",)},
    ),
    Aspect(
        "steered",
        "… at a bounded cost in fluency",
        ("steering.fluency", "steering.bound"),
        "steered",
        some="The text is shown to stay within the fluency bound for {supported} of {total} emotions ({names}; "
        "perplexity ratio {figure}, {beside}).",
        none="That the text stays within the fluency bound is not shown (perplexity ratio {figure}, {beside}).",
        ruled_out="The text does not stay fluent (perplexity ratio {figure}, {beside}).",
        names="value",
        plainly="The text stays fluent for {names}.",
        otherwise="That the text stays fluent is not shown.",
        condition=True,
    ),
)
