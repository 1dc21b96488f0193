"""The five questions that a study asks, what each is made of, and what is said where claims turn out one way or the other.

A question has aspects; an aspect gathers the claims whose ids begin with its prefixes and has one sentence for each way they can
turn out. Aspects with a sentence are told, the others stand in the table below the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUESTIONS", "Aspect", "Question"]


@dataclass(frozen=True)
class Aspect:
    """A group of claims that answer a question together.

    Attributes:
        name: what was asked, in a few words.
        prefixes: of the claims' ids.
        anchor: of the section that shows them.
        some: said where at least one is supported; may name ``{supported} {total} {names} {figure} {beside}``.
        none: said where none is supported.
        ruled_out: said where every one is not supported; else ``none``.
        place: which part of the id names a claim (0: all behind the prefix).
    """

    name: str
    prefixes: tuple[str, ...]
    anchor: str
    some: str = ""
    none: str = ""
    ruled_out: str = ""
    place: int = 0


@dataclass(frozen=True)
class Question:
    """One of the five.

    Attributes:
        key: for links.
        text: the question.
        aspects: in the order they are told.
        unstudied: what is said where no claim answers it.
        command: the command that would.
    """

    key: str
    text: str
    aspects: tuple[Aspect, ...]
    unstudied: str
    command: str


_RUN = "emotion-circuits run --profile baseline --out {run}"

QUESTIONS = (
    Question(
        "taken-in",
        "Where is emotion taken in: which layers, heads and directions of the residual stream does it reach?",
        (
            Aspect(
                "states tell more than words do",
                ("directions.reading",),
                "taken-in",
                "The residual stream tells the emotion of held-out sentences better than a bag of words on "
                "{supported} of {total} corpora ({names}; clearest: {figure} of accuracy, {beside}).",
                "On none of {total} corpora does the residual stream tell the emotion of held-out sentences better "
                "than a bag of words (closest: {figure} of accuracy, {beside}).",
            ),
            Aspect(
                "… on fresh sentences without any emotion word",
                ("directions.reading.implicit-fresh",),
                "taken-in",
                "It also does so on fresh sentences without any emotion word ({figure}, {beside}).",
                "On fresh sentences without any emotion word this is not shown ({figure}, {beside}): there, what is "
                "read may be words that go with an emotion.",
                "On fresh sentences without any emotion word it does not ({figure}, {beside}): what is read there is "
                "words that go with an emotion.",
            ),
            Aspect(
                "heads that look at emotion words",
                ("trace.attention",),
                "trace",
                "Looking at emotion words more than at the same place of neutral sentences is supported for "
                "{supported} of {total} candidates (a head and an emotion: {names}; clearest: {figure}, {beside}).",
                "None of {total} candidate heads is shown to look at emotion words more than at the same place of "
                "neutral sentences (closest: {figure}, {beside}).",
            ),
            Aspect("a single direction set reads", ("directions.single",), "taken-in"),
            Aspect("directions of two emotions are alike", ("directions.cosine",), "geometry"),
        ),
        "This run has no claim about it.",
        _RUN,
    ),
    Question(
        "travels",
        "How does it travel, and which modules read it?",
        (
            Aspect(
                "who writes it at the last token",
                ("trace.writers",),
                "trace",
                "Writing along an emotion's direction at the last token is supported for {supported} of {total} "
                "candidates (a head or MLP and an emotion; parts: {names}; clearest: {figure} residual norms, "
                "{beside}).",
                "None of {total} candidate parts is shown to write along an emotion's direction at the last token "
                "(closest: {figure} residual norms, {beside}).",
                place=-1,
            ),
            Aspect(
                "who reads it",
                ("trace.readers",),
                "trace",
                "Reading it downstream, that is an output which changes when the direction is taken out, is "
                "supported for {supported} of {total} ({names}; clearest: {figure}, {beside}).",
                "None of {total} candidates is shown to read it downstream (closest: {figure}, {beside}).",
            ),
            Aspect(
                "attending tells which heads matter",
                ("circuits.attention",),
                "circuits",
                "Heads that look at the emotion word more also matter more for the answers (rank correlation "
                "{figure}, {beside}).",
                "That a head looks at the emotion word does not tell whether it matters for the answers (rank "
                "correlation {figure}, {beside}).",
            ),
            Aspect("each emotion has heads of its own", ("circuits.emotions",), "circuits"),
            Aspect("heads stand in for one another", ("circuits.backup",), "circuits"),
        ),
        "This run has no claim about it.",
        _RUN,
    ),
    Question(
        "shows",
        "How does it show in the style of the output?",
        (
            Aspect(
                "answers follow the prompt's emotion",
                ("circuits.task",),
                "circuits",
                "After an emotional prompt the model prefers the answers of that emotion ({figure} logits, {beside}).",
                "That the model prefers the answers of the prompt's emotion is not shown ({figure} logits, {beside}).",
            ),
            Aspect(
                "the tone of steered text (VADER)",
                ("steering.*.vader",),
                "steered",
                "Along an emotion's direction the tone of what is written moves the expected way for {supported} of "
                "{total} emotions ({names}; clearest: {figure}, {beside}).",
                "Along no emotion's direction is the tone of what is written shown to move the expected way "
                "(closest: {figure}, {beside}).",
                place=1,
            ),
            Aspect(
                "emotion words in steered text",
                ("steering.*.words",),
                "steered",
                "Words of the emotion's lexicon become more frequent for {supported} of {total} ({names}; clearest: "
                "{figure}, {beside}).",
                "Words of the emotion's lexicon are not shown to become more frequent (closest: {figure}, {beside}).",
                place=1,
            ),
        ),
        "This run has no claim about it.",
        _RUN,
    ),
    Question(
        "stable",
        "Is it stable across models, sizes and languages?",
        (
            Aspect(
                "one model's directions read in another",
                ("alignment.reading",),
                "alignment",
                "One model's directions, carried over by a map of neutral sentences alone, tell the other model's "
                "test sentences apart (AUROC {figure}, {beside}).",
                "That one model's directions tell the other model's test sentences apart is not shown (AUROC "
                "{figure}, {beside}).",
            ),
            Aspect(
                "they lie where its own directions lie",
                ("alignment.geometry",),
                "alignment",
                "Carried over, they share more with the other model's own directions than shuffled labels do (cos² "
                "{figure}, {beside}).",
                "That they lie where the other model's own directions lie is not shown (cos² {figure}, {beside}).",
            ),
            Aspect(
                "they steer the other model",
                ("alignment.mapped",),
                "alignment",
                "Steering the other model with them is supported by {supported} of {total} measurements ({names}; "
                "clearest: {figure}, {beside}).",
                "That they steer the other model is not shown ({total} measurements; closest: {figure}, {beside}).",
                place=3,
            ),
            Aspect("the other model's own directions steer it", ("alignment.own",), "alignment"),
        ),
        "One run is one model in one language. Compare it with the run of another model, size or language, then make "
        "this page again with both.",
        "emotion-circuits align {run} OTHER_RUN --steer --out {run}/aligned\nemotion-circuits report {run} --aligned "
        "{run}/aligned",
    ),
    Question(
        "steered",
        "Can it be steered by intervening?",
        (
            Aspect(
                "adding a direction brings out its emotion",
                ("steering.*.share", "steering.*.probability"),
                "steered",
                "Adding an emotion's direction brings that emotion out more than random directions of the same norm "
                "do for {names} ({supported} of {total} measurements; clearest: {figure}, {beside}).",
                "That adding an emotion's direction brings that emotion out more than random directions do is not "
                "shown for any emotion (closest: {figure}, {beside}).",
                place=1,
            ),
            Aspect(
                "… at a bounded cost in fluency",
                ("steering.*.fluency",),
                "steered",
                "The text is shown to stay within the fluency bound for {supported} of {total} emotions ({names}; "
                "perplexity ratio {figure}, {beside}).",
                "That the text stays within the fluency bound is not shown (perplexity ratio {figure}, {beside}).",
                "The text does not stay fluent (perplexity ratio {figure}, {beside}).",
                place=1,
            ),
            Aspect(
                "a set of heads and MLPs carries the answers",
                ("circuits.faithfulness",),
                "circuits",
                "With everything else swapped for another prompt's activations, the circuit found keeps {figure} of "
                "the difference between answers ({beside}).",
                "No circuit is shown to keep the difference between answers better than random ones ({figure}, {beside}).",
            ),
            Aspect("… and its heads do, its MLPs given", ("circuits.heads",), "circuits"),
            Aspect("heads held at emotional prompts change the text", ("circuits.patched",), "circuits"),
        ),
        "This run has no claim about it.",
        _RUN,
    ),
)
