"""What each kind of claim says, from its id and the run's artefacts: one rule per kind.

A claim's id is its structure: ``trace.writers.<emotion>.L17H8`` is a kind (``trace.writers``) and what it speaks about. What an
id does not hold (a layer, a condition) comes from :class:`Facts`. The English templates are those of the claims' generators; a
test holds them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emotion_circuits.language import say, term
from emotion_circuits.report.numerals import interval, number, percent, signed

__all__ = ["TEMPLATES", "Facts", "Words", "expected_side", "words_of"]


@dataclass(frozen=True)
class Facts:
    """What statements speak of beside what the claims' ids hold.

    Attributes:
        model: its name.
        single: the single direction set.
        layers: ``cosine`` and ``trace``: whose directions.
        reading: row of the reader's table by ``(reading or single, corpus)``.
        effects: row of the effects' table by ``(emotion, metric)``, behind ``(arm, …)`` for two models.
        circuit: ``size total samples heads exact hits`` of the circuits stage.
        alignment: ``where`` and the chosen row of a comparison of two models.
    """

    model: str = ""
    single: str = ""
    layers: Mapping[str, int] = field(default_factory=dict)
    reading: Mapping[tuple[str, ...], Mapping[str, Any]] = field(default_factory=dict)
    effects: Mapping[tuple[str, ...], Mapping[str, Any]] = field(default_factory=dict)
    circuit: Mapping[str, Any] = field(default_factory=dict)
    alignment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Words:
    """The words for one claim.

    Attributes:
        statement: one sentence.
        unit: of the estimate.
        null: what the null is.
        notes: sentences behind the reason for the verdict.
        chance: what ``chance`` is, where it isn't a chance level.
    """

    statement: str
    unit: str
    null: str = ""
    notes: tuple[str, ...] = ()
    chance: str = ""


def words_of(claim: Mapping[str, Any], facts: Facts) -> Words | None:
    """The words for a claim in the language that is spoken; ``None`` for a kind that no rule knows."""
    for kind, rule in _RULES.items():
        if claim["id"].startswith(kind):
            return rule(claim, claim["id"].removeprefix(kind).lstrip("."), facts)
    return None


def expected_side(name: str, facts: Facts) -> int:
    """Which way a claim says its figure goes: up, but for the cost in fluency, and where the table of effects says so.

    Args:
        name: the claim's id.
        facts: of its run or comparison.
    """
    parts = name.split(".")
    if parts[-1] == "fluency":
        return -1
    row = facts.effects.get((parts[1], *parts[3:]) if parts[0] == "alignment" else tuple(parts[1:]))
    return 1 if row is None else int(row["side"])


def _reading(claim: Mapping[str, Any], rest: str, facts: Facts) -> Words:
    kind = claim["id"].split(".")[1]
    what = (
        say("reader of several layers and poolings")
        if kind == "reading"
        else say("single direction set {name}", name=facts.single)
    )
    row = facts.reading.get((kind, rest))
    notes = () if row is None else (
        say(
            "Accuracy {accuracy} {interval}, bag of words {words}, chance {chance}, {n} sentences.",
            accuracy=number(row["accuracy"]), interval=interval(row["low"], row["high"]),
            words=number(row["bag_of_words"]), chance=number(row["chance"]), n=row["n"],
        ),
    )  # fmt: skip
    statement = say(
        "On held-out '{set}' sentences the model's states tell the emotion better than a bag of words fitted on the same "
        "training sentences ({what}).",
        set=rest, what=what,
    )  # fmt: skip
    return Words(statement, term(claim["unit"]), notes=notes, chance=say("no difference"))


def _cosine(claim: Mapping[str, Any], rest: str, facts: Facts) -> Words:
    statement = say(
        "The directions of {pair} (layer {layer}) are more alike than those of shuffled labels, which share the neutral mean "
        "too.",
        pair=term(rest.replace(".", " – ")), layer=facts.layers.get("cosine", "?"),
    )  # fmt: skip
    return Words(statement, term(claim["unit"]), chance=say("shuffled labels"))


def _traced(template: str, *extra: str) -> Callable[[Mapping[str, Any], str, Facts], Words]:
    def rule(claim: Mapping[str, Any], rest: str, facts: Facts) -> Words:
        emotion, _, name = rest.partition(".")
        statement = say(template, name=name, emotion=term(emotion), layer=facts.layers.get("trace", "?"))
        return Words(statement, term(claim["unit"]), term(claim["null"] or ""), tuple(say(e) for e in extra))

    return rule


_WRITES = (
    "{name} writes {emotion} at the last token: more along its direction (layer {layer}) than in the neutral sentence of "
    "the same group."
)
_READS = (
    "{name} reads {emotion}: taking the direction out after layer {layer} changes its output more than taking out as "
    "much along directions of shuffled labels."
)
_LOOKS = (
    "{name} attends from the last token to {emotion} words more than to the same place of a neutral sentence of the same "
    "length."
)


def _steering(claim: Mapping[str, Any], rest: str, facts: Facts, arm: str = "") -> Words:
    emotion, _, metric = rest.partition(".")
    key = (arm, emotion) if arm else (emotion,)
    row = next((r for k, r in facts.effects.items() if k[:-1] == key and metric in (k[-1], "fluency")), None)
    condition = "?" if row is None else str(row["condition"])
    if metric == "fluency" and row is None:
        statement = say(
            "A condition tried for {emotion} stays fluent: the cheapest one's perplexity is at most {bound:g} times that of "
            "unsteered text (on the openings of the choice; none was written on test openings).",
            emotion=term(emotion), bound=claim["chance"],
        )  # fmt: skip
        return Words(statement, term(claim["unit"]), chance=say("bound"))
    if metric == "fluency":
        statement = say(
            "What is written under the {emotion} direction ({condition}) stays fluent: its perplexity under the "
            "unsteered model is at most {bound:g} times that of unsteered text.",
            emotion=term(emotion), condition=condition, bound=claim["chance"],
        )  # fmt: skip
        return Words(statement, term(claim["unit"]), chance=say("bound"))
    unit = term(claim["unit"].removeprefix("change of "))
    up = row is None or row["side"] > 0
    statement = say(_UPWARDS if up else _DOWNWARDS, emotion=term(emotion), condition=condition, metric=unit)
    notes = () if row is None else _beside_controls(row)
    null = "" if not claim["null"] or row is None else say(
        "{n:.0f} random directions of the same norm (range of their changes)", n=row["n_random"]
    )  # fmt: skip
    return Words(statement, say("change of {metric}", metric=unit), null, notes)


_UPWARDS = (
    "Adding the {emotion} direction ({condition}) changes the continuation's {metric} upwards, beyond random directions of "
    "the same norm."
)
_DOWNWARDS = (
    "Adding the {emotion} direction ({condition}) changes the continuation's {metric} downwards, beyond random directions of "
    "the same norm."
)


def _beside_controls(row: Mapping[str, Any]) -> tuple[str, ...]:
    notes = [
        say(
            "{treated} steered, {control} unsteered; {wrong} of prompts move the wrong way.",
            treated=number(row["treated"]), control=number(row["control"]), wrong=percent(row["wrong_way"]),
        )
    ]  # fmt: skip
    if row.get("beats") is not None and row["beats"] == row["beats"]:
        notes.append(
            say(
                "Against the best of {n:.0f} random directions: {change} {interval}.",
                n=row["n_random"], change=signed(row["beats"]), interval=interval(row["beats_low"], row["beats_high"]),
            )
        )  # fmt: skip
    return tuple(notes)


def _aligned_steering(claim: Mapping[str, Any], rest: str, facts: Facts) -> Words:
    arm = claim["id"].split(".")[1]
    words = _steering(claim, rest, facts, arm)
    layer = facts.alignment.get("layer_b", "?")
    statement = say(_OF_MAPPED if arm == "mapped" else _OF_OWN, layer=layer, statement=words.statement)
    return Words(statement, words.unit, words.null, words.notes)


_OF_MAPPED = "(mapped directions, layer {layer}) {statement}"
_OF_OWN = "(own directions, layer {layer}) {statement}"


def _task(claim: Mapping[str, Any], rest: str, facts: Facts) -> Words:
    statement = say("{model} prefers the answers of the emotion in the prompt ({task}).", model=facts.model, task=rest)
    return Words(statement, term(claim["unit"]), say("random answer sets"))


def _circuit(template: str, null: str) -> Callable[[Mapping[str, Any], str, Facts], Words]:
    def rule(claim: Mapping[str, Any], rest: str, facts: Facts) -> Words:
        about = facts.circuit
        named = say(null, samples=about.get("samples", "?"))
        statement = say(
            template,
            size=about.get("size", "?"),
            total=about.get("total", "?"),
            model=facts.model,
            null=named,
            task=rest,
        )
        return Words(statement, term(claim["unit"]), named)

    return rule


_CARRY = "{size} of {total} heads and MLPs of {model} carry the behaviour on test pairs better than {null} ({task})."
_HEADS_CARRY = (
    "{size} of {total} heads and MLPs of {model}, and among them its heads, carry the behaviour on test pairs better "
    "than {null} ({task})."
)


def _attention(claim: Mapping[str, Any], _rest: str, facts: Facts) -> Words:
    exact = facts.circuit.get("exact")
    what = say("exact noising effect") if exact else say("attribution on train pairs")
    statement = say(
        "Heads whose attention to the emotion word grows more are the heads that matter more ({what}).", what=what
    )
    return Words(statement, term(claim["unit"]), say("heads permuted"))


def _overlap(claim: Mapping[str, Any], _rest: str, facts: Facts) -> Words:
    statement = say(
        "The {k} strongest heads of one emotion agree more between disjoint halves of the pairs than those of two emotions do.",
        k=facts.circuit.get("heads", "?"),
    )
    return Words(statement, term(claim["unit"]), say("emotions of the groups shuffled"))


def _dissociation(claim: Mapping[str, Any], _rest: str, facts: Facts) -> Words:
    statement = say(
        "Taking out the {k} strongest heads of an emotion hurts that emotion's pairs more than the others' heads do.",
        k=facts.circuit.get("heads", "?"),
    )
    return Words(statement, term(claim["unit"]))


def _backup(claim: Mapping[str, Any], rest: str, facts: Facts) -> Words:
    statement = say(
        "Taking out the heads of {model}'s circuit at once does more than the sum of taking out each ({task}): they "
        "stand in for one another.",
        model=facts.model, task=rest,
    )  # fmt: skip
    return Words(statement, term(claim["unit"]))


def _patched(claim: Mapping[str, Any], rest: str, _facts: Facts) -> Words:
    statement = say(
        "Heads of {emotion}, held at what they were in prompts of {emotion}, make neutral openings go on with more "
        "{emotion} than the same heads from neutral prompts.",
        emotion=term(rest),
    )
    return Words(statement, term(claim["unit"]))


def _alignment(template: str, null: str) -> Callable[[Mapping[str, Any], str, Facts], Words]:
    def rule(claim: Mapping[str, Any], _rest: str, facts: Facts) -> Words:
        row = facts.alignment
        where = say("layer {a} → {b}, {method}", a=row.get("layer_a"), b=row.get("layer_b"), method=row.get("method"))
        notes: tuple[str, ...] = ()
        if "auroc_own" in row and claim["id"] == "alignment.reading":
            notes = (say("The model's own directions reach {own}.", own=number(float(row["auroc_own"]))),)
        return Words(say(template, where=where), term(claim["unit"]), say(null), notes)

    return rule


_MAPPED_READ = (
    "Directions of the first model, mapped by neutral sentences alone, tell the second model's test sentences apart "
    "better than mapped directions of shuffled labels ({where})."
)
_MAPPED_LIE = (
    "Mapped directions and the second model's own, fitted on different sentences, share more than directions of shuffled "
    "labels do ({where})."
)

_SCREEN = "Attention is a screen, not a cause."
_RANDOM_CIRCUITS = "{samples} random circuits with as many heads and MLPs"
_RANDOM_HEADS = "{samples} circuits of the same MLPs and random heads"
_SHUFFLED = "directions of shuffled labels"
_SAME_SHUFFLED = "the same with shuffled labels"

TEMPLATES = (
    _WRITES, _READS, _LOOKS, _UPWARDS, _DOWNWARDS, _OF_MAPPED, _OF_OWN, _CARRY, _HEADS_CARRY, _MAPPED_READ, _MAPPED_LIE, _SCREEN,
    _RANDOM_CIRCUITS, _RANDOM_HEADS, _SHUFFLED, _SAME_SHUFFLED,
)  # fmt: skip
"""Sentences that are chosen while a claim is told; catalogues hold them all."""

_RULES: dict[str, Callable[[Mapping[str, Any], str, Facts], Words]] = {
    "directions.reading": _reading,
    "directions.single": _reading,
    "directions.cosine": _cosine,
    "trace.writers": _traced(_WRITES),
    "trace.readers": _traced(_READS),
    "trace.attention": _traced(_LOOKS, _SCREEN),
    "steering": _steering,
    "circuits.task": _task,
    "circuits.faithfulness": _circuit(_CARRY, _RANDOM_CIRCUITS),
    "circuits.heads": _circuit(_HEADS_CARRY, _RANDOM_HEADS),
    "circuits.attention": _attention,
    "circuits.emotions.overlap": _overlap,
    "circuits.emotions.dissociation": _dissociation,
    "circuits.backup": _backup,
    "circuits.patched": _patched,
    "alignment.reading": _alignment(_MAPPED_READ, _SHUFFLED),
    "alignment.geometry": _alignment(_MAPPED_LIE, _SAME_SHUFFLED),
    "alignment.mapped.steering": _aligned_steering,
    "alignment.own.steering": _aligned_steering,
}
