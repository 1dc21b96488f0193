"""What the claims about tuning say."""

from __future__ import annotations

from emotion_circuits.language import N_, say, term
from emotion_circuits.page.numerals import number, percent, signed
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.stations.tuning.settings import TAKEN
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS", "NAMES", "method_words"]

NAMES = {
    "none": N_("unsteered"),
    "prompting": N_("prompting"),
    "steering": N_("steering"),
    "sft": N_("adapter (SFT)"),
    "dpo": N_("adapter (DPO)"),
    "preference": N_("trained vector"),
    "baked": N_("baked vector"),
    "gated": N_("conditional steering"),
    "ablation": N_("mean ablation of the direction"),
}
"""What methods are called."""


def method_words(method: object) -> str:
    """A method's name, those of two at once, or how a value is taken away."""
    if str(method).startswith(TAKEN):
        return say("less of it by {way}", way=method_words(str(method).removeprefix(TAKEN)))
    return " + ".join(say(NAMES.get(part, part)) for part in str(method).split("+"))


def _told(claim: Claim) -> dict[str, str]:
    return {"method": method_words(claim.about.method), "value": term(str(claim.about.value))}


def _effect(claim: Claim) -> Words:
    beside = claim.figures.beside
    notes = (
        say(
            "{share} of texts are called so, {base} unsteered; perplexity ratio {ratio}, {kl} nats from the plain model's next "
            "token on neutral sentences; the label that moves most beside it by {astray}.",
            share=percent(beside["share"]), base=percent(beside["base_share"]), ratio=number(beside["ratio"]),
            kl=number(beside["kl"]), astray=signed(beside["astray_change"]),
        ),
    )  # fmt: skip
    return Words(
        say("({method}) Texts move towards {value}.", **_told(claim)),
        term("judge's probability, against unsteered text"), term("openings"), notes=notes,
    )  # fmt: skip


def _equal(claim: Claim) -> Words:
    beside = claim.figures.beside
    notes = [
        say("{effect} against {steering}.", effect=signed(beside["effect"]), steering=signed(beside["steering"])),
    ]
    if min(beside["reached"], beside["steering_reached"]) < 1:
        notes.append(
            say(
                "Where none of its strengths costs so much, a method stands with its strongest one ({own} of draws reach the "
                "cost, {other} of steering's).",
                own=percent(beside["reached"]), other=percent(beside["steering_reached"]),
            )
        )  # fmt: skip
    return Words(
        say(
            "({method}) At equal cost in fluency (perplexity ratio {ratio}) texts move further or less far towards {value} "
            "than under steering.",
            ratio=number(beside["ratio"]), **_told(claim),
        ),
        term("judge's probability, less that under steering"), term("openings"), notes=tuple(notes),
    )  # fmt: skip


def _additive(claim: Claim) -> Words:
    beside = claim.figures.beside
    notes = (
        say(
            "Together {together}, alone {first} and {second}.",
            together=signed(beside["together"]), first=signed(beside["first"]), second=signed(beside["second"]),
        ),
    )  # fmt: skip
    return Words(
        say("({method}) The two effects on {value} do not add up.", **_told(claim)),
        term("judge's probability, both less the sum of each alone"), term("openings"), notes=notes,
    )  # fmt: skip


def _along(claim: Claim) -> Words:
    beside = claim.figures.beside
    notes = [
        say(
            "The shift is {length} residual norms long; its cosine with the direction is {cosine}.",
            length=number(beside["length"]), cosine=signed(beside["cosine"]),
        )
    ]  # fmt: skip
    if "other" in beside:
        notes.append(say("Of another value's direction the share is at most {other}.", other=number(beside["other"])))
    return Words(
        say(
            "({method}) What it moves states by lies along the direction of {value}, more than along directions of nothing "
            "(layer {layer}).",
            layer=claim.about.layer, **_told(claim),
        ),
        term("share of the mean shift's squared length"), term("texts"), _NOTHING(), tuple(notes),
    )  # fmt: skip


def _NOTHING() -> str:  # noqa: N802  # spoken anew in every language
    return say("random directions and directions of labels shuffled within groups")


def _ranked(claim: Claim) -> list[str]:
    beside = claim.figures.beside
    if "ranked" not in beside:
        return []
    return [
        say(
            "Directions of nothing wrote on {n} of the openings; on those the change is {change}.",
            n=int(beside["ranked_n"]), change=signed(beside["ranked"]),
        )
    ]  # fmt: skip


def _removal(claim: Claim) -> Words:
    beside = claim.figures.beside
    notes = [say("Perplexity ratio to the adapter's own texts {ratio}.", ratio=number(beside["ratio"]))]
    if "share" in beside:
        notes.insert(0, say("That is {share} of the adapter's effect.", share=percent(beside["share"])))
    notes += _ranked(claim)
    return Words(
        say(
            "({method}) Held in every layer at what neutral sentences have of the direction of {value}, the model loses of the "
            "effect, more than with directions of nothing.",
            **_told(claim),
        ),
        term("judge's probability that goes"), term("openings"), _NOTHING(), tuple(notes),
    )  # fmt: skip


def _after(claim: Claim) -> Words:
    ratio = number(claim.figures.beside["ratio"])
    return Words(
        say(
            "({method}) In the model that has it, steering still moves texts towards {value}, further than directions of nothing "
            "do.",
            **_told(claim),
        ),
        term("judge's probability, with steering less without"), term("openings"), _NOTHING(),
        (say("Perplexity ratio to the adapter's own texts {ratio}.", ratio=ratio), *_ranked(claim)),
    )  # fmt: skip


def _less(claim: Claim) -> Words:
    beside = claim.figures.beside
    notes = [
        say(
            "Asked for it, texts have {asked}, else {plain}; perplexity ratio {ratio} to those asked for it, {kl} nats from the "
            "plain model's next token on neutral sentences; the label that moves most beside it by {astray}.",
            asked=number(beside["asked"]), plain=number(beside["plain"]), ratio=number(beside["ratio"]), kl=number(beside["kl"]),
            astray=signed(beside["astray_change"]),
        )
    ]  # fmt: skip
    if "gone" in beside:
        notes.append(say("{share} of what asking added goes.", share=percent(beside["gone"])))
    notes += _ranked(claim)
    if "harm_random_low" in beside:
        notes.append(
            say(
                "Complying with harmful requests changes by {harm} nats per token, under random directions by {low} to "
                "{high}.",
                harm=signed(beside["harm"]), low=signed(beside["harm_random_low"]), high=signed(beside["harm_random_high"]),
            )
        )  # fmt: skip
    elif "harm" in beside:
        notes.append(
            say("Complying with harmful requests changes by {harm} nats per token.", harm=signed(beside["harm"]))
        )
    return Words(
        say("({method}) Texts that were asked for {value} have less of it.", **_told(claim)),
        term("judge's probability, against texts that were asked for the value"), term("openings"),
        "" if claim.figures.null is None else _NOTHING(), tuple(notes),
    )  # fmt: skip


def _harm(claim: Claim) -> Words:
    beside = claim.figures.beside
    nothing = []
    if "random_low" in beside:
        low, high = signed(beside["random_low"]), signed(beside["random_high"])
        nothing.append(say("Under random directions it changes by {low} to {high}.", low=low, high=high))
    return Words(
        say("({method}) Complying with harmful requests becomes likelier, against declining.", **_told(claim)),
        term("nats per token of answers' beginnings, complying over declining, against the plain model"),
        term("requests"),
        notes=(
            say("{own} with it, {base} without.", own=signed(beside["margin"]), base=signed(beside["base"])),
            *nothing,
            say("A model that has not learnt to decline shows how likely two kinds of text are, and not what it would do."),
        ),
    )  # fmt: skip


KINDS = (
    Kind("tuning.effect", _effect),
    Kind("tuning.equal", _equal),
    Kind("tuning.additive", _additive),
    Kind("tuning.along", _along),
    Kind("tuning.removal", _removal),
    Kind("tuning.after", _after),
    Kind("tuning.less", _less),
    Kind("tuning.harm", _harm),
)

ASPECTS = (
    Aspect(
        "steered",
        "words, weights and vectors beside steering",
        ("tuning.effect", "tuning.equal", "tuning.additive"),
        "tuning",
    ),
    Aspect(
        "steered", "what an adapter changes inside", ("tuning.along", "tuning.removal", "tuning.after"), "tuning-inside"
    ),
    Aspect("steered", "a value taken away from texts that were asked for it", ("tuning.less",), "tuning"),
    Aspect("steered", "answers to harmful requests", ("tuning.harm",), "tuning"),
)
