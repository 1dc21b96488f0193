"""What the claims about shared heads and circuits say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import number, percent
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _heads(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    names = {"source": about.arm, "target": about.corpus}
    statement = (
        say("What single heads do on minimal pairs of {source} they do on those of {target}.", **names)
        if about.task == "pairs"
        else say("What single heads carry to the directions of {source} they carry to those of {target}.", **names)
    )
    notes = [
        say(
            "{raw} between disjoint halves; the halves of {source} agree to {first}, those of {target} to {second}.",
            raw=number(beside["raw"]), first=number(beside["reliability_source"]),
            second=number(beside["reliability_target"]), **names,
        )
    ]  # fmt: skip
    if "others" in beside:
        notes.append(say("With the other's other values: {others}.", others=number(beside["others"])))
    if "wrong" in beside:
        notes.append(
            say("With another attribute's values, whichever the sign: {wrong}.", wrong=number(beside["wrong"]))
        )
    return Words(
        statement,
        term("correlation of signed effects over heads, divided by their reliability"),
        term("groups of pairs") if about.task == "pairs" else term("groups of sentences"),
        term("heads permuted within layers"),
        tuple(notes),
        chance=term("mean of permuted heads"),
    )


def _specific(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say(
            "Heads of {source} agree more with those of {target} than either does with heads of an attribute that shares no "
            "value with them.",
            source=about.arm, target=about.corpus,
        ),
        term("difference of correlations"),
        term("groups of pairs") if about.task == "pairs" else term("groups of sentences"),
        notes=(say("With another attribute's values, whichever the sign: {wrong}.", wrong=number(beside["wrong"])),),
    )  # fmt: skip


def _circuit(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    null = say(
        "{samples} random circuits with as many heads and MLPs, and {samples} of the same MLPs and random heads of the same "
        "layers",
        samples=int(beside["samples"]),
    )
    notes = [
        say(
            "{size} of {total} heads and MLPs; the circuit of {target} itself keeps {own}.",
            size=int(beside["size"]), total=int(beside["total"]), target=about.corpus, own=percent(beside["own"]),
        )
    ]  # fmt: skip
    if "wrong" in beside:
        notes.append(say("The circuit of another attribute keeps {wrong}.", wrong=percent(beside["wrong"])))
    return Words(
        say(
            "The circuit of {source} keeps more of the behaviour on test pairs of {target} than random circuits of its make-up.",
            source=about.arm, target=about.corpus,
        ),
        term("faithfulness (share of the clean-corrupted gap)"),
        term("groups of pairs"),
        null,
        tuple(notes),
        chance=term("mean of the random circuits"),
    )  # fmt: skip


def _foreign(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    return Words(
        say(
            "The circuit of {source} keeps more of the behaviour on test pairs of {target} than the circuit of an attribute that "
            "shares no value with them.",
            source=about.arm, target=about.corpus,
        ),
        term("difference of faithfulness (share of the clean-corrupted gap)"),
        term("groups of pairs"),
        notes=(say("The circuit of another attribute keeps {wrong}.", wrong=percent(beside["wrong"])),),
    )  # fmt: skip


KINDS = (
    Kind("sharing.heads", _heads),
    Kind("sharing.specific", _specific),
    Kind("sharing.circuit", _circuit),
    Kind("sharing.circuit.specific", _foreign),
)

ASPECTS = (
    Aspect(
        "stable",
        "the same heads do the work",
        ("sharing.heads", "sharing.specific"),
        "sharing",
        some="Single heads do in other languages or attributes what they do in one: {supported} of {total} "
        "compared (clearest: {figure}, {beside}).",
        none="That the same heads work in other languages or attributes is not shown (tested: {total}; closest: {figure}, "
        "{beside}).",
        names="corpus",
        plainly="Some languages or attributes use the same heads.",
        otherwise="That languages or attributes use the same heads is not shown.",
    ),
    Aspect(
        "stable",
        "one circuit does another's work",
        ("sharing.circuit", "sharing.circuit.specific"),
        "sharing",
        names="corpus",
    ),
)
