"""Token ids that a model wrote, as the text they are behind their prompt.

Ids and text say the same: the text is decoded together with its prompt, since SentencePiece tokenizers drop the space before
the first word of what they decode, and what is cut off inside a character ends before it. The ids of that unfinished character
are dropped with it, at most three bytes: what is shown is what is counted and scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emotion_circuits.model.token_texts import ends_within

__all__ = ["Unfolding", "continuation"]


def continuation(tokenizer: Any, prompt: Sequence[int], written: Sequence[int]) -> tuple[str, tuple[int, ...]]:
    """The text of what was written, and its ids without those of a last character that is not whole.

    Special tokens stand for no text; they are not shown and stay among the ids.

    Args:
        tokenizer: the model's.
        prompt: ids that the model read.
        written: ids that it wrote behind them.
    """
    ids = list(written)
    while ids and ends_within(tokenizer, ids):
        ids.pop()
    if not ids:
        return "", ()
    return _behind(tokenizer, prompt, ids), tuple(ids)


class Unfolding:
    """The text of what is being written, token by token, ending with a whole character.

    Only the last tokens are decoded at each step, with some before them.

    Args:
        prompt: ids that the model read.

    Attributes:
        text: so far.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self.text = ""
        self._before, self._new = list(prompt[-_CONTEXT:]), []  # type: tuple[list[int], list[int]]

    def add(self, tokenizer: Any, token: int) -> None:
        """Put a token behind what was written."""
        self._new.append(token)
        if ends_within(tokenizer, self._new):
            return
        self.text += _behind(tokenizer, self._before, self._new)
        self._before, self._new = [*self._before, *self._new][-_CONTEXT:], []


_CONTEXT = 12  # tokens that a decoder looks at before others, at most


def _behind(tokenizer: Any, prompt: Sequence[int], ids: Sequence[int]) -> str:
    before, whole = (_decoded(tokenizer, row) for row in (prompt, [*prompt, *ids]))
    shared = next(
        (i for i, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), min(len(before), len(whole))
    )
    return whole[shared:]


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    # What some tokenizers tidy up (" ." to ".") was not written so.
    text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text
