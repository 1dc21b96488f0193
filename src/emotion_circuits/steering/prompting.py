"""The baseline in words: an instruction, or a few examples, instead of a direction. The phrases are the attribute's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.chat import chat_turns, has_chat_template, refuse_special
from emotion_circuits.prompts import Prompt, load_prompts
from emotion_circuits.prompts.attribute_parts import SHOTS, Prompting
from emotion_circuits.steering.conditions import Condition

__all__ = ["all_prompted", "examples_for", "few_shot_examples", "prompted", "wish_of"]


def few_shot_examples(emotion: str, prompts: Sequence[Prompt], *, count: int = SHOTS, seed: int = 0) -> list[str]:
    """Training sentences that express an emotion.

    Args:
        emotion: which.
        prompts: labelled texts. Only their train split is used.
        count: how many.
        seed: of the choice.

    Raises:
        EmotionCircuitsError: too few sentences.
    """
    rows = [p.text for p in prompts if p.label == emotion and p.split == "train"]
    if len(rows) < count:
        raise EmotionCircuitsError(f"few-shot prompting: {len(rows)} training sentences of {emotion!r}, {count} needed")
    return [rows[int(i)] for i in np.random.default_rng(seed).permutation(len(rows))[:count]]


def examples_for(emotion: str, phrases: Prompting, count: int | None = None) -> list[str]:
    """The sentences an attribute shows of an emotion.

    Args:
        emotion: which.
        phrases: of the attribute.
        count: at most so many; by default all that the attribute's file names, or as many as are usual of its corpus.

    Raises:
        EmotionCircuitsError: none, or too few in the attribute's corpus.
    """
    if isinstance(phrases.examples, str):
        return few_shot_examples(emotion, load_prompts(phrases.examples), count=SHOTS if count is None else count)
    if emotion not in phrases.examples:
        raise EmotionCircuitsError(f"prompting.examples: no sentence of {emotion!r}; give some in the attribute's file")
    return list(phrases.examples[emotion])[:count]


def prompted(
    model: LanguageModel,
    text: str,
    condition: Condition,
    phrases: Prompting,
    *,
    examples: Sequence[str] | None = None,
) -> tuple[str, bool]:
    """:func:`all_prompted` for one opening.

    Args:
        model: the model.
        text: the opening.
        condition: of kind ``prompting``.
        phrases: of the attribute.
        examples: for ``few_shot``; by default the attribute's.

    Raises:
        EmotionCircuitsError: as there.
    """
    shots = {} if examples is None else {str(condition.emotion): examples}
    return all_prompted(model, [(text, condition)], phrases, examples=shots)[0]


def all_prompted(
    model: LanguageModel,
    asked: Sequence[tuple[str, Condition]],
    phrases: Prompting,
    *,
    examples: Mapping[str, Sequence[str]],
    requests: bool = False,
) -> list[tuple[str, bool]]:
    """The text to feed for each opening and prompting condition, and whether a chat template rendered it.

    The model is asked to continue the same opening, so that its continuation is scored like every other arm's. A model
    with a chat template gets the instruction as the user's turn and the opening as the start of its own answer.

    Args:
        model: the model.
        asked: openings, each with a condition of kind ``prompting``; without an emotion that is the prompting baseline's own
            neutral arm.
        phrases: of the attribute.
        examples: for ``few_shot``, by emotion; by default the attribute's.
        requests: the texts are requests to be answered; nothing of them begins the answer, and a chat template is needed.

    Raises:
        EmotionCircuitsError: few-shot prompting without an emotion, an emotion the attribute has no phrase for, or as
            :func:`emotion_circuits.model.chat.chat_turns`.
    """
    wishes = [wish_of(condition, phrases, examples.get(str(condition.emotion))) for _, condition in asked]
    if not has_chat_template(model):
        return [(f"{wish}\n\n{text}", False) for wish, (text, _) in zip(wishes, asked, strict=True)]
    turns = [phrases.chat.format(instruction=wish, text=text) for wish, (text, _) in zip(wishes, asked, strict=True)]
    if requests:
        return [(turn, True) for turn in chat_turns(model, turns)]
    refuse_special(
        model, [text for text, _ in asked]
    )  # a template may drop it from its turn; it also begins the answer
    heads = chat_turns(model, turns)
    return [(head + text, True) for head, (text, _) in zip(heads, asked, strict=True)]


def wish_of(condition: Condition, phrases: Prompting, examples: Sequence[str] | None) -> str:
    """What the model is asked for.

    Args:
        condition: of kind ``prompting``.
        phrases: of the attribute.
        examples: for ``few_shot``; by default the attribute's.

    Raises:
        EmotionCircuitsError: as :func:`all_prompted`.
    """
    emotion = condition.emotion
    if emotion is not None and emotion not in phrases.instructions:
        raise EmotionCircuitsError(
            f"condition {condition.name!r}: prompting.instructions has no sentence for {emotion!r}; write one in the "
            "attribute's file"
        )
    wish = phrases.plain if emotion is None else phrases.instructions[emotion]
    if condition.style == "few_shot":
        if emotion is None:
            raise EmotionCircuitsError(f"condition {condition.name!r}: few-shot prompting needs an emotion")
        shots = list(examples) if examples is not None else examples_for(emotion, phrases)
        shown = "\n".join(f"- {shot}" for shot in shots)
        wish = phrases.few_shot.format(instruction=wish, examples=shown)
    return wish
