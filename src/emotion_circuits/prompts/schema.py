"""One row of a corpus, and what may stand in it."""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, field_validator, model_validator

__all__ = ["Pair", "Prompt", "Span", "Split", "corpora_dir", "corpus_of"]

Split = Literal["train", "validation", "test"]
Span = tuple[Annotated[int, Strict(), Field(ge=0)], Annotated[int, Strict(), Field(gt=0)]]
Text = Annotated[str, Field(min_length=1, max_length=100_000)]


class Prompt(BaseModel):
    """A labelled text.

    Attributes:
        id: unique within its corpus.
        text: the text, without control characters but line feeds.
        label: what it expresses: a value of an attribute, or its reference.
        group: rows that belong together (one scenario, topic or template); a group is never divided by a split.
        split: ``train`` (directions are fitted), ``validation`` (choices are made), ``test`` (figures are reported).
        language: ISO 639-1 code.
        set: the corpus it belongs to, and after a ``/`` which part of it (``core/baseline``), or its register
            (``registers-a/letter``).
        spans: character spans ``[start, end)`` of the words that name the label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=False)

    id: str = Field(min_length=1)
    text: Text
    label: str = Field(min_length=1)
    group: str = Field(min_length=1)
    split: Split
    language: str = Field(pattern=r"^[a-z]{2,3}(-[A-Za-z]{2,8})?$")
    set: str = Field(min_length=1)
    spans: tuple[Span, ...] = ()

    @field_validator("id", "label", "group", "set")
    @classmethod
    def _composed(cls, name: str) -> str:
        return composed(name)

    @field_validator("text")
    @classmethod
    def _printable(cls, text: str) -> str:
        return printable(text)

    @model_validator(mode="after")
    def _spans_inside(self) -> Prompt:
        check_spans(self.text, self.spans, "spans")
        return self

    def span_texts(self) -> tuple[str, ...]:
        """The marked words."""
        return tuple(self.text[a:b] for a, b in self.spans)


class Pair(Prompt):
    """A minimal pair for patching: two prompts that differ in one place and have equally many tokens.

    ``text``, ``label`` and ``spans`` (the differing place) are the clean prompt's.

    Attributes:
        answers: next words that show the clean prompt's emotion, with their leading space.
        corrupted: the other prompt.
        corrupted_label: its emotion.
        corrupted_spans: its differing place.
        corrupted_answers: its answers.
    """

    answers: tuple[str, ...] = Field(min_length=1)
    corrupted: Text
    corrupted_label: str = Field(min_length=1)
    corrupted_spans: tuple[Span, ...] = Field(min_length=1)
    corrupted_answers: tuple[str, ...] = Field(min_length=1)

    @field_validator("corrupted_label")
    @classmethod
    def _corrupted_composed(cls, name: str) -> str:
        return composed(name)

    @field_validator("corrupted")
    @classmethod
    def _corrupted_printable(cls, text: str) -> str:
        return printable(text)

    @model_validator(mode="after")
    def _one_difference(self) -> Pair:
        if len(self.spans) != 1 or len(self.corrupted_spans) != 1:
            raise ValueError("spans: a pair has exactly one differing place, marked in both texts")
        check_spans(self.corrupted, self.corrupted_spans, "corrupted_spans")
        (a, b), (c, d) = self.spans[0], self.corrupted_spans[0]
        if self.text[:a] != self.corrupted[:c] or self.text[b:] != self.corrupted[d:]:
            raise ValueError("corrupted: differs from text outside of the marked place")
        if set(self.answers) & set(self.corrupted_answers):
            raise ValueError("corrupted_answers: shares an answer with answers")
        return self


@cache
def corpus_of(set_name: str) -> str:
    """The corpus a row's ``set`` names, without the part of it.

    Bundled corpora lie in folders (``languages/ja/core``), so of those the longest name that begins it is the corpus.

    Example:
        >>> corpus_of("core/implicit"), corpus_of("languages/ja/core/letter"), corpus_of("mine/letter")
        ('core', 'languages/ja/core', 'mine')
    """
    bundled, parts = corpora_dir(), set_name.split("/")
    for end in range(len(parts), 1, -1):
        if all(part.strip(".") for part in parts[:end]) and (bundled / f"{'/'.join(parts[:end])}.jsonl").is_file():
            return "/".join(parts[:end])
    return parts[0]


def corpora_dir() -> Path:
    """Folder of the bundled corpora."""
    return Path(str(files("emotion_circuits.prompts") / "corpora"))


def composed(name: str) -> str:
    r"""A name with its accents in the characters (NFC), so that two that look the same are the same.

    Raises:
        ValueError: it holds a character that cannot be seen.

    Example:
        >>> composed("joe\u0301") == "jo\u00e9"
        True
    """
    if "\n" in name:
        raise ValueError("holds a line end; a name is one line")
    return printable(unicodedata.normalize("NFC", name))


def printable(text: str) -> str:
    """The text itself, or ``ValueError`` where it holds a control or replacement character."""
    if text.replace("\n", "").isprintable() and "\ufffd" not in text:
        return text
    for index, character in enumerate(text):
        if unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn") or character in "\ufffd\ufeff\u200b":
            if character == "\n":
                continue  # a letter has lines
            raise ValueError(f"holds the control or invalid character U+{ord(character):04X} at position {index}")
    return text


def check_spans(text: str, spans: tuple[Span, ...], field: str) -> None:
    """``ValueError`` where a span is empty, outside the text, out of order, or starts or ends on white space."""
    previous = 0
    for start, end in spans:
        if not start < end <= len(text):
            raise ValueError(f"{field}: [{start}, {end}) does not lie inside the text of {len(text)} characters")
        if start < previous:
            raise ValueError(f"{field}: [{start}, {end}) overlaps or precedes the span before it")
        if text[start].isspace() or text[end - 1].isspace():
            raise ValueError(f"{field}: [{start}, {end}) starts or ends with white space ({text[start:end]!r})")
        previous = end
