"""A tokenizer as the checks need it: text → ids and character offsets."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from emotion_circuits.errors import EmotionCircuitsError

__all__ = ["Encoding", "Tokenize", "load_tokenizer"]


class Encoding(NamedTuple):
    """Token ids and the characters ``[start, end)`` each stands for, without special tokens."""

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


Tokenize = Callable[[str], Encoding]


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

    def tokenize(text: str) -> Encoding:
        encoded = tokenizer.encode(text, add_special_tokens=False)
        return Encoding(tuple(encoded.ids), tuple(encoded.offsets))

    return tokenize
