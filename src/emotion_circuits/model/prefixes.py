"""What stands before every text, so that the attention sink is never the text's own first word.

A model that reads a text from its first token on makes that token its attention sink: the state is up to a hundred times as
long as others' and says nothing of the word. Models whose tokenizer begins texts with a token of its own (Gemma, Llama) spend
that one; in others the first word is lost. One neutral token before every text makes models comparable.
"""

from __future__ import annotations

from typing import Any, Literal

from emotion_circuits.model.encoding import beginning

__all__ = ["Prefix", "neutral_prefix"]

Prefix = Literal["auto", "none"]
"""``auto``: :func:`neutral_prefix`; ``none``: texts as the tokenizer makes them."""
_LINE = "\n"


def neutral_prefix(tokenizer: Any, how: Prefix = "auto") -> tuple[int, ...]:
    """The token put before every text.

    Nothing where the tokenizer begins texts with a special token itself; else its token for the beginning of a text; else that
    for the end of one, which in training stood between documents; else a line break, where that is one token.

    Args:
        tokenizer: of the model.
        how: ``none`` puts nothing there.
    """
    if how == "none":
        return ()
    if beginning(tokenizer):
        return ()
    for name in ("bos_token_id", "eos_token_id"):
        value = getattr(tokenizer, name, None)
        if value is not None:
            return (int(value),)
    line: list[int] = tokenizer(_LINE, add_special_tokens=False)["input_ids"]
    return (line[0],) if len(line) == 1 and line[0] != tokenizer.unk_token_id else ()
