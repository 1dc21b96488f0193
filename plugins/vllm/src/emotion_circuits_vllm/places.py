"""Which tokens of a text an edit acts on: counted in the whole text, whichever piece of it a forward pass is looking at."""

from __future__ import annotations

import numpy as np

from emotion_circuits_vllm.asking import Edit

__all__ = ["chosen", "how_many"]


def chosen(edit: Edit, start: int, count: int, prompt: int) -> np.ndarray:
    """Where an edit acts among ``count`` tokens of a text from place ``start`` on.

    Args:
        edit: asked for.
        start: place in the text of the first of them, from 0.
        count: of tokens.
        prompt: tokens of the prompt; what lies behind is generated.

    Returns:
        ``[count]`` of bool.

    Example:
        >>> chosen(Edit("joy", 0, 1.0, positions="rest"), 0, 3, 2).tolist()
        [False, True, True]
    """
    place = np.arange(start, start + count)
    of_prompt = place < prompt
    allowed = {"all": of_prompt | ~of_prompt, "prompt": of_prompt, "generated": ~of_prompt}[edit.when]
    if edit.positions == "all":
        return allowed
    if edit.positions == "rest":
        return allowed & (place > 0)
    if edit.positions == "first":
        return allowed & (place == 0)
    if edit.positions == "last":
        return allowed & (~of_prompt | (place == prompt - 1))
    return allowed & np.isin(place, np.asarray(edit.positions))


def how_many(edits: list[Edit], upto: int, prompt: int) -> int:
    """How many of the first tokens of a text any of the edits acts on.

    Args:
        edits: of one layer.
        upto: tokens looked at.
        prompt: tokens of the prompt.
    """
    found = np.zeros(upto, dtype=bool)
    for edit in edits:
        found |= chosen(edit, 0, upto, prompt)
    return int(found.sum())
