"""A tokenizer as the checks need it: text → ids and character offsets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["Encoding", "Tokenize", "load_tokenizer", "unreadable_text"]


class Encoding(NamedTuple):
    """Token ids and the characters ``[start, end)`` each stands for, without special tokens."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


Tokenize = Callable[[str], Encoding]


def unreadable_text(who: object, text: object, error: BaseException, called: str = "a text") -> BaseException:
    """What a tokenizer's failure on a text means; the error itself where it is none of the text.

    The library says neither which text nor, of a pattern that gives up, that it is an ordinary error: it panics.

    Args:
        who: the tokenizer, for the message.
        text: what it was given.
        error: what it raised.
        called: the text, for the message.
    """
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return error
    if not isinstance(text, str):
        return EmotionCircuitsError(f"{called} is a {type(text).__name__}, not a string")
    if any("\ud800" <= character <= "\udfff" for character in text):
        return EmotionCircuitsError(
            f"{called} ({text[:40]!r}) holds half of a surrogate pair, which is no character; correct the file it comes from"
        )
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return EmotionCircuitsError(f"{who}: its tokenizer cannot read {called} ({text[:40]!r}): {first}")


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenize:
    """A tokenizer from a ``tokenizer.json``, a folder that holds one, or GPT-2's own two files.

    Args:
        path: ``tokenizer.json``; a model's folder; or a folder with ``vocab.json`` and ``merges.txt`` (the original
            release calls them ``encoder.json`` and ``vocab.bpe``).

    Raises:
        EmotionCircuitsError: there is no such file, or it is no tokenizer.
    """
    from tokenizers import ByteLevelBPETokenizer, Tokenizer

    place = Path(path).expanduser()
    tokenizer: Any = None
    try:
        if place.is_file():
            tokenizer = Tokenizer.from_file(str(place))
        elif (place / "tokenizer.json").is_file():
            tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
        else:
            for vocabulary, merges in (("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")):
                if (place / vocabulary).is_file() and (place / merges).is_file():
                    tokenizer = ByteLevelBPETokenizer(str(place / vocabulary), str(place / merges))
    except Exception as error:  # the library raises bare Exception
        raise EmotionCircuitsError(f"{place}: is not a tokenizer: {error}") from error
    if tokenizer is None:
        raise EmotionCircuitsError(f"{place}: no tokenizer there; give a tokenizer.json or a folder that holds one")
    if hasattr(tokenizer, "no_truncation"):
        # A saved tokenizer may cut or pad; lengths are of the whole text.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True  # a text that spells a special token is characters

    def tokenize(text: str) -> Encoding:
        try:
            encoded = tokenizer.encode(text, add_special_tokens=False)
        except BaseException as error:
            raise unreadable_text(place, text, error) from error
        return Encoding(tuple(encoded.ids), tuple(encoded.offsets))

    return tokenize
