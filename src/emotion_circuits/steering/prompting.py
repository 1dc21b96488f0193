"""The baseline in words: an instruction, or a few examples, instead of a direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.prompts import Prompt, load_prompts
from emotion_circuits.steering.conditions import Condition

__all__ = ["few_shot_examples", "prompted"]

_ADVERBS = {"gratitude": "gratitude", "anger": "anger", "apology": "an apology"}


def few_shot_examples(
    emotion: str, *, count: int = 4, seed: int = 0, prompts: Sequence[Prompt] | None = None
) -> list[str]:
    """Training sentences that express an emotion.

    Args:
        emotion: which.
        count: how many.
        seed: of the choice.
        prompts: labelled texts; the bundled core set by default. Only their train split is used.

    Raises:
        EmotionCircuitsError: too few sentences.
    """
    rows = [p.text for p in (prompts or load_prompts("core")) if p.label == emotion and p.split == "train"]
    if len(rows) < count:
        raise EmotionCircuitsError(f"few-shot prompting: {len(rows)} training sentences of {emotion!r}, {count} needed")
    return [rows[int(i)] for i in np.random.default_rng(seed).permutation(len(rows))[:count]]


def prompted(
    model: LanguageModel, text: str, condition: Condition, *, examples: Sequence[str] | None = None
) -> tuple[str, bool]:
    """The text to feed for a prompting condition, and whether a chat template rendered it.

    The model is asked to continue the same opening, so that its continuation is scored like every other arm's. A model
    with a chat template gets the instruction as the user's turn and the opening as the start of its own answer.

    Args:
        model: the model.
        text: the opening.
        condition: of kind ``prompting``; without an emotion it is the prompting baseline's own neutral arm.
        examples: for ``few_shot``; training sentences of the emotion by default.
    """
    emotion = condition.emotion
    named = None if emotion is None else _ADVERBS.get(emotion, emotion)
    wish = "Continue the text." if named is None else f"Continue the text. Express {named}."
    if condition.style == "few_shot":
        if emotion is None:
            raise EmotionCircuitsError(f"condition {condition.name!r}: few-shot prompting needs an emotion")
        shots = list(examples) if examples is not None else few_shot_examples(emotion)
        shown = "\n".join(f"- {shot}" for shot in shots)
        wish = f"{wish} Write in the spirit of these sentences:\n{shown}"
    if getattr(model.tokenizer, "chat_template", None):
        turn = [{"role": "user", "content": f"{wish}\n\nText: {text}"}]
        head = model.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        return head + text, True
    return f"{wish}\n\n{text}", False
