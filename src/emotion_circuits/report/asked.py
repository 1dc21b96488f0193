"""The five questions that a study asks; which claims answer them is declared by the stations."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUESTIONS", "Question"]


@dataclass(frozen=True)
class Question:
    """One of the five.

    Attributes:
        key: for links, and for the aspects that belong to it.
        text: the question.
        unstudied: what is said where no claim answers it.
        command: the command that would.
    """

    key: str
    text: str
    unstudied: str
    command: str


_RUN = "emotion-circuits run --profile baseline --out {run}-baseline"
"""Another folder: in the run's own, another profile would supersede what is there."""

QUESTIONS = (
    Question(
        "taken-in",
        "Where is emotion taken in: which layers, heads and directions of the residual stream does it reach?",
        "This run has no claim about it.",
        _RUN,
    ),
    Question("travels", "How does it travel, and which modules read it?", "This run has no claim about it.", _RUN),
    Question("shows", "How does it show in the style of the output?", "This run has no claim about it.", _RUN),
    Question(
        "stable",
        "Is it stable across models, sizes and languages?",
        "One run is one model in one language. Compare it with the run of another model, size or language, then make "
        "this page again with both.",
        "emotion-circuits align {run} OTHER_RUN --steer --out {run}/aligned\nemotion-circuits report {run} --aligned "
        "{run}/aligned",
    ),
    Question("steered", "Can it be steered by intervening?", "This run has no claim about it.", _RUN),
)
