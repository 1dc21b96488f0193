"""What can be wrong with one row beyond its schema: encoding, spans, emotion words, token alignment."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

from emotion_circuits.prompts.lexicon import UNSPACED, find_words, lexicon, lexicon_languages
from emotion_circuits.prompts.schema import Pair, Prompt, Span
from emotion_circuits.prompts.spans import tokens_of_span
from emotion_circuits.prompts.tokenizing import Tokenize

__all__ = ["RowProblem", "alignment_problems", "row_problems"]

# UTF-8 bytes that were read as Latin-1 or Windows-1252 once.
_MOJIBAKE = re.compile(r"[ÂÃ][\u0080-\u00bf]|â€|ï¿½|Ã[\u2010-\u203a]")


class RowProblem(NamedTuple):
    """What is wrong, of which kind, and in which field."""

    severity: Literal["error", "warning"]
    kind: str
    field: str
    message: str


_MARK_UP = re.compile(
    r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,7}|#x[0-9A-Fa-f]{1,6});|</?(?:p|br|div|span|a|b|i|em|strong)\b[^<>]*>"
)


def row_problems(
    row: Prompt,
    *,
    labels: Collection[str],
    marked: Collection[str],
    implicit: bool,
    reference: str = "neutral",
) -> Iterator[RowProblem]:
    """Everything wrong with a row's characters, spans and emotion words.

    Args:
        row: a valid row.
        labels: all labels of its corpus; emotion words matter where the lexicon of its language knows them (and the
            reference).
        marked: the labels whose words are marked in the corpus.
        implicit: whether emotion words are forbidden.
        reference: label of texts without emotion.
    """
    yield from _characters(row.text, "text")
    if isinstance(row, Pair):
        yield from _characters(row.corrupted, "corrupted")
    yield from _edges(row.text, row.spans, "spans", row.language)
    if isinstance(row, Pair):
        yield from _edges(row.corrupted, row.corrupted_spans, "corrupted_spans", row.language)
    if row.language not in lexicon_languages() or not set(labels) <= {*lexicon(row.language), reference}:
        return
    calm = row.label == reference
    # A pair's marked place is where its sides differ, so that nothing in it is excused.
    meant = () if isinstance(row, Pair) else row.spans
    yield from _emotion_words(row.text, "text", row.language, implicit=implicit, calm=calm, meant=meant)
    if isinstance(row, Pair):
        calm = row.corrupted_label == reference
        yield from _emotion_words(row.corrupted, "corrupted", row.language, implicit=implicit, calm=calm)
    elif row.label in lexicon(row.language):
        yield from _marks(row)
        if row.label in marked and not row.spans:
            message = f"other {row.label} texts mark their emotion word, this one has none"
            yield RowProblem("warning", "no mark", "spans", message)


def _characters(text: str, field: str) -> Iterator[RowProblem]:
    if found := _MOJIBAKE.search(text):
        message = f"{found[0]!r} at position {found.start()} looks like UTF-8 that was read in another encoding"
        yield RowProblem("error", "encoding", field, message)
    if found := _MARK_UP.search(text):
        yield RowProblem("warning", "mark-up", field, f"{found[0]!r} at position {found.start()} looks like HTML")
    if not unicodedata.is_normalized("NFC", text):
        yield RowProblem(
            "warning", "form", field, "is not in Unicode normal form C: equal words would not compare equal"
        )
    for position, character in enumerate(text) if not text.isascii() else ():
        category = unicodedata.category(character)
        if (category in ("Cf", "Zl", "Zp") and not _joins(text, position)) or character == "\u00a0":
            message = f"holds the invisible character U+{ord(character):04X} at position {position}"
            yield RowProblem("warning", "invisible character", field, message)
    if text != text.strip():
        yield RowProblem("warning", "white space", field, "starts or ends with white space")
    if "  " in text.strip():
        yield RowProblem("warning", "white space", field, f"two spaces at position {text.strip().index('  ')}")


_JOINERS = ("\u200d", "\u200c")
_BLACK_FLAG = "\U0001f3f4"


def _joins(text: str, position: int) -> bool:
    """Whether an invisible character belongs to the spelling: a joiner of emoji or of a joining script, a flag's tag."""
    before, after = text[:position][-1:], text[position + 1 :][:1]
    if "\U000e0020" <= text[position] <= "\U000e007f":
        return text[:position].rstrip("".join(map(chr, range(0xE0020, 0xE0080)))).endswith(_BLACK_FLAG)
    if text[position] not in _JOINERS or not before or not after:
        return False
    emoji = unicodedata.category(before) in ("So", "Sk", "Mn") and unicodedata.category(after) == "So"
    cased_or_east_asian = before.upper() != before.lower() or unicodedata.east_asian_width(before) in "WF"
    return emoji or (unicodedata.category(before) in ("Lo", "Mn", "Mc") and not cased_or_east_asian)


def _edges(text: str, spans: tuple[Span, ...], field: str, language: str) -> Iterator[RowProblem]:
    if language in UNSPACED:
        return
    for start, end in spans:
        inside_left = start > 0 and text[start - 1 : start + 1].isalnum()
        inside_right = end < len(text) and text[end - 1 : end + 1].isalnum()
        if inside_left or inside_right:
            yield RowProblem("error", "mark", field, f"[{start}, {end}) cuts a word: {text[start:end]!r} in {text!r}")


def _emotion_words(
    text: str, field: str, language: str, *, implicit: bool, calm: bool, meant: tuple[Span, ...] = ()
) -> Iterator[RowProblem]:
    for emotion, start, end in find_words(text, language):
        word = text[start:end]
        if implicit:
            yield RowProblem(
                "error", "word in an implicit text", field, f"holds the {emotion} word {word!r} in an implicit set"
            )
        elif calm and not any(a <= start and end <= b for a, b in meant):
            # "The storm rages on": whoever wants such a word in a neutral text says so by marking it.
            message = f"is neutral and holds the {emotion} word {word!r}; mark it (spans) where it names no emotion"
            yield RowProblem("error", "word in a neutral text", field, message)


def _marks(row: Prompt) -> Iterator[RowProblem]:
    own = [(a, b) for _, a, b in find_words(row.text, row.language, row.label)]
    free = [(a, b) for a, b in own if not any(a < d and c < b for c, d in row.spans)]
    for start, end in row.spans:
        if not any(a < end and start < b for a, b in own):
            word = row.text[start:end]
            if free:
                message = f"mark {word!r}, but the {row.label} word is {row.text[slice(*free[0])]!r} at {list(free[0])}"
                yield RowProblem("error", "mark", "spans", message)
            else:
                yield RowProblem(
                    "warning", "mark", "spans", f"mark {word!r}, which is not in the lexicon of {row.label}"
                )
    if row.spans and free and any(a < end and start < b for a, b in own for start, end in row.spans):
        unmarked = ", ".join(repr(row.text[a:b]) for a, b in free)
        yield RowProblem("warning", "mark", "spans", f"leave out the {row.label} word {unmarked}")


def alignment_problems(pair: Pair, tokenize: Tokenize) -> Iterator[RowProblem]:
    """Everything that keeps a pair from being patched position by position under a tokenizer.

    Aligned means: equally many tokens; the differing places cover the same positions and no token reaches over their
    edge; all other tokens are the same; and the two sides' answers begin with different tokens.
    """
    clean, corrupted = tokenize(pair.text), tokenize(pair.corrupted)
    if len(clean.ids) != len(corrupted.ids):
        message = f"text has {len(clean.ids)} tokens and corrupted has {len(corrupted.ids)}"
        yield RowProblem("error", "alignment", "corrupted", message)
        return
    places = []
    for field, text, encoding, (start, end) in (
        ("spans", pair.text, clean, pair.spans[0]),
        ("corrupted_spans", pair.corrupted, corrupted, pair.corrupted_spans[0]),
    ):
        positions = tokens_of_span(encoding.offsets, start, end)
        places.append(positions)
        # Some tokenizers count the space before a word to its token, some to none.
        covered = text[encoding.offsets[positions[0]][0] : encoding.offsets[positions[-1]][1]].strip()
        if covered != text[start:end]:
            yield RowProblem("error", "alignment", field, f"the tokens of {text[start:end]!r} are {covered!r}")
    if places[0] != places[1]:
        message = f"the differing places are tokens {list(places[0])} and {list(places[1])}"
        yield RowProblem("error", "alignment", "corrupted_spans", message)
        return
    pairs = zip(clean.ids, corrupted.ids, strict=True)
    if other := [i for i, (a, b) in enumerate(pairs) if a != b and i not in places[0]]:
        yield RowProblem("error", "alignment", "corrupted", f"tokens {other} differ outside of the marked place")
    first = {answer: tokenize(answer).ids[0] for answer in (*pair.answers, *pair.corrupted_answers)}
    for answer in pair.corrupted_answers:
        if first[answer] in {first[other_answer] for other_answer in pair.answers}:
            message = f"{answer!r} begins with the same token as an answer of the clean prompt"
            yield RowProblem("error", "alignment", "corrupted_answers", message)
