"""Text to token ids: the one place where what a person wrote becomes what a model reads.

A text is characters: what spells a special token (``<s>``) is read as it is written, and a tokenizer that ends texts with a
token of its own (``</s>``) does not, since what is read or continued would lie behind the end. Text from a chat template is the
opposite: its special tokens are meant, and it brings its own beginning.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.tokenizing import unreadable_text

__all__ = ["Encoded", "beginning", "called", "continuing", "encode", "special_ids", "unreadable"]

_LINE = "\n"
_SHOWN = 40  # characters of a text in a message


@dataclass(frozen=True)
class Encoded:
    """Token ids of texts, one row each, without padding.

    Attributes:
        ids: per text; the model's prefix first.
        offsets: per text, the character span of each token; ``(0, 0)`` for tokens that stand for no text. Tokens that share
            a character have its span each.
    """

    ids: list[list[int]]
    offsets: list[list[tuple[int, int]]]


def encode(
    tokenizer: Any,
    texts: Sequence[str],
    *,
    special: Set[int],
    rendered: bool = False,
    names: Sequence[str] | None = None,
) -> Encoded:
    """Token ids of texts as the tokenizer begins them; nothing is cut off, nothing is put behind them.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        texts: any texts.
        special: ids of :func:`special_ids`.
        rendered: by a chat template: special tokens are meant where they are spelled, and nothing is put before them.
        names: of the texts, for messages.

    Raises:
        EmotionCircuitsError: no text, a character that is none, or a special token that this tokenizer cannot read as
            characters.
    """
    if not len(texts):
        return Encoded([], [])
    found = _tokenized(tokenizer, texts, names, add_special_tokens=not rendered, split_special_tokens=not rendered)
    lead = len(beginning(tokenizer))
    rows, spans = [], []
    for index, (row, offsets, put) in enumerate(
        zip(found["input_ids"], found["offset_mapping"], found["special_tokens_mask"], strict=True)
    ):
        stop = len(row)
        while not rendered and stop > lead and put[stop - 1]:
            stop -= 1
        if not rendered and not special.isdisjoint(row):
            spelled = [i for i, own in zip(row, put, strict=True) if not own and i in special]
            if spelled:
                token = tokenizer.convert_ids_to_tokens(spelled[0])
                raise EmotionCircuitsError(
                    f"{called(texts, names, index)} spells {token!r}, which this tokenizer can only read as its special "
                    "token; write it in another way, or leave the text out"
                )
        rows.append(row[:stop])
        spans.append([(int(a), int(b)) for a, b in offsets[:stop]])
    return Encoded(rows, spans)


def continuing(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts as they stand behind another text: without anything that begins or ends one.

    SentencePiece tokenizers put a space of their own before a text, which a continuation has not.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        texts: e.g. `` thank you``, with their leading space.

    Raises:
        EmotionCircuitsError: as :func:`encode`.
    """
    if not len(texts):
        return []
    kept = {"add_special_tokens": False, "split_special_tokens": True}
    alone = _tokenized(tokenizer, texts, None, **kept)["input_ids"]
    (line,) = _tokenized(tokenizer, [_LINE], None, **kept)["input_ids"]
    behind = _tokenized(tokenizer, [_LINE + text for text in texts], None, **kept)["input_ids"]
    # Where the line break and the text share a token, the text cannot be told from it.
    return [b[len(line) :] if b[: len(line)] == line else a for a, b in zip(alone, behind, strict=True)]


def beginning(tokenizer: Any) -> list[int]:
    """The special tokens that the tokenizer puts before every text."""
    found = tokenizer("a", return_special_tokens_mask=True)
    return [
        i
        for i, _ in takewhile(lambda pair: pair[1], zip(found["input_ids"], found["special_tokens_mask"], strict=True))
    ]


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that stand for no characters; the one for what is unknown stands for some.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
    """
    marked = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset((marked | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id})


def unreadable(tokenizer: Any, rows: int) -> list[str]:
    """Tokens that text can become and that a model with so many embeddings has none for.

    Special tokens do not count: text does not become these.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        rows: of the embedding.
    """
    if len(tokenizer) <= rows:
        return []
    special = special_ids(tokenizer)
    return [
        t for t, i in sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1]) if i >= rows and i not in special
    ]


def called(texts: Sequence[str], names: Sequence[str] | None, index: int) -> str:
    """A text as messages call it: by its name, else by its number and its first words.

    Args:
        texts: the texts.
        names: theirs, where they have any.
        index: which.
    """
    if names is not None:
        return f"sentence {names[index]}"
    text = texts[index]
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"text {index + 1} ({short!r})"


def _tokenized(tokenizer: Any, texts: Sequence[str], names: Sequence[str] | None, **options: bool) -> Any:
    try:
        return tokenizer(
            list(texts),
            padding=False,
            truncation=False,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            verbose=False,
            **options,
        )
    except BaseException as error:
        # It says nothing of which text: each is tried alone.
        for index, text in enumerate(texts):
            try:
                tokenizer.backend_tokenizer.encode(text)
            except BaseException as own:
                who = f"sentence {names[index]}" if names is not None else f"text {index + 1}"
                raise unreadable_text("the model", text, own, who) from own
        raise unreadable_text("the model", texts[0], error) from error
