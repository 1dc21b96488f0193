"""Tokens as text a person can read, also where a token is only some bytes of a character."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

__all__ = ["ends_within", "token_text", "token_texts"]

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_LONGEST = 8
"""Tokens that make one run of characters; a character has at most four bytes, and a token may end one and begin another."""


def token_text(tokenizer: Any, token: int) -> str:
    """One token alone; bytes that are no whole character are shown as ``<0xE3>``.

    Args:
        tokenizer: a Hugging Face tokenizer.
        token: its id.
    """
    text: str = tokenizer.decode([token])
    if _BROKEN not in text:
        return text
    piece = str(tokenizer.convert_ids_to_tokens([token])[0])
    if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):  # how SentencePiece names a byte
        return piece
    known = _bytes_of()
    if any(character not in known for character in piece):
        return text
    return _readable(bytes(known[character] for character in piece))


def token_texts(tokenizer: Any, tokens: Sequence[int]) -> list[str]:
    """Every token of a text; those that share characters are told by these and by a count: ``あ[1/2]``, ``あ[2/2]``.

    Args:
        tokenizer: a Hugging Face tokenizer.
        tokens: ids in the order of the text.
    """
    found: list[str] = []
    start = 0
    while start < len(tokens):
        size = next(
            (n for n in range(1, _LONGEST + 1) if _BROKEN not in tokenizer.decode(list(tokens[start : start + n]))),
            None,
        )
        if size is None:
            found.append(token_text(tokenizer, tokens[start]))
            start += 1
            continue
        text = tokenizer.decode(list(tokens[start : start + size]))
        found += [text] if size == 1 else [f"{text}[{i + 1}/{size}]" for i in range(size)]
        start += size
    return found


def ends_within(tokenizer: Any, tokens: Sequence[int]) -> bool:
    """Whether a text ends inside a character: its last bytes are the beginning of one that further bytes could complete.

    Args:
        tokenizer: a Hugging Face tokenizer.
        tokens: ids of the text.
    """
    if not tokenizer.decode(list(tokens[-_LONGEST:])).endswith(_BROKEN):
        return False
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(b"".join(_raw(tokenizer, token) for token in tokens))
    return bool(decoder.getstate()[0])


def _raw(tokenizer: Any, token: int) -> bytes:
    """The bytes of a token."""
    piece = str(tokenizer.convert_ids_to_tokens([token])[0])
    if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
        return bytes([int(piece[3:5], 16)])
    known = _bytes_of()
    if _BROKEN in tokenizer.decode([token]) and all(character in known for character in piece):
        return bytes(known[character] for character in piece)
    return str(tokenizer.decode([token])).encode()


@cache
def _bytes_of() -> dict[str, int]:
    """Byte-level vocabularies write every byte as a printable character (Radford et al. 2019)."""
    return {character: byte for byte, character in bytes_to_unicode().items()}


def _readable(raw: bytes) -> str:
    parts: list[str] = []
    while raw:
        try:
            parts.append(raw.decode("utf-8"))
            break
        except UnicodeDecodeError as error:
            parts.append(raw[: error.start].decode("utf-8"))
            parts += [f"<0x{byte:02X}>" for byte in raw[error.start : error.end]]
            raw = raw[error.end :]
    return "".join(parts)
