"""Whether an attribute's texts and words are there: its corpora, openings, pairs, lexicon and prompting baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.attribute import Attribute
from emotion_circuits.prompts.attribute_parts import SHOTS
from emotion_circuits.prompts.contrast import labels_of
from emotion_circuits.prompts.lexicon import lexicon_languages
from emotion_circuits.prompts.loading import load_pairs, load_prompts
from emotion_circuits.prompts.schema import Prompt

__all__ = ["text_problems"]

_SPLITS = ("train", "validation", "test")


def text_problems(attribute: Attribute, values: Sequence[str] | None = None) -> list[str]:
    """Everything that is wrong with an attribute's texts and words, as ``field: what is wrong and what to do``.

    Args:
        attribute: the attribute.
        values: those that are studied; all by default.
    """
    wanted = tuple(values) if values is not None else attribute.values
    checks: tuple[Callable[[Attribute, tuple[str, ...]], Iterator[str]], ...] = (
        _fitted, _traced, _opened, _answered, _paired, _classified, _tested, _worded, _asked,
    )  # fmt: skip
    return [problem for check in checks for problem in check(attribute, wanted)]


def _rows(field: str, names: Sequence[str]) -> tuple[list[Prompt], list[str]]:
    """Rows of all corpora that can be read, and a problem for every other one."""
    rows: list[Prompt] = []
    problems = []
    for name in names:
        try:
            rows += load_prompts(name)
        except EmotionCircuitsError as error:
            problems.append(f"{field}: {error}")
    return rows, problems


def _lacking(rows: Sequence[Prompt], labels: Sequence[str], split: str) -> str:
    present = {row.label for row in rows if row.split == split}
    return ", ".join(label for label in labels if label not in present)


def _fitted(attribute: Attribute, values: tuple[str, ...]) -> Iterator[str]:
    rows, problems = _rows("corpora.fit", attribute.corpora.fit)
    yield from problems
    for split in _SPLITS if rows else ():
        if lacking := _lacking(rows, labels_of(values, attribute.reference), split):
            named = "training" if split == "train" else split
            yield f"corpora.fit: no {named} sentence is labelled {lacking} in {', '.join(attribute.corpora.fit)}; add some"
    yield from _other_language("corpora.fit", rows, attribute)


def _other_language(field: str, rows: Sequence[Prompt], attribute: Attribute) -> Iterator[str]:
    # Judges, openings and words are of the attribute's language: other texts would be scored by those who cannot read them.
    if others := sorted({row.language for row in rows} - {attribute.language}):
        yield (
            f"{field}: {sum(row.language in others for row in rows)} of {len(rows)} texts are {', '.join(map(repr, others))}, "
            f"the attribute's are {attribute.language!r}; name an attribute of that language, e.g. "
            f"--attribute emotion-{others[0]}"
        )


def _traced(attribute: Attribute, _values: tuple[str, ...]) -> Iterator[str]:
    # What a trace needs besides is the station's to say: without it the trace is left out.
    if attribute.corpora.trace is not None:
        yield from _rows("corpora.trace", [attribute.corpora.trace])[1]


def _opened(attribute: Attribute, _values: tuple[str, ...]) -> Iterator[str]:
    openings = attribute.openings
    if openings is None:
        return
    yield from _in_splits(attribute, "openings.choose", openings.choose, "opening", "train", "validation")
    yield from _in_splits(attribute, "openings.report", openings.report, "opening", "test")
    if openings.held is not None:
        yield from _in_splits(attribute, "openings.held", openings.held, "opening", "test")


def _in_splits(attribute: Attribute, field: str, name: str, what: str, *splits: str) -> Iterator[str]:
    rows, problems = _rows(field, [name])
    yield from problems
    yield from _other_language(field, rows, attribute)
    absent = [split for split in splits if split not in {row.split for row in rows}]
    if rows and absent:
        yield f"{field}: {name} has no {what} in its split {', '.join(absent)}; add some"


def _answered(attribute: Attribute, _values: tuple[str, ...]) -> Iterator[str]:
    chat = attribute.chat
    if chat is None:
        return
    yield from _in_splits(attribute, "chat.fit", chat.fit, "request", "train")
    yield from _in_splits(attribute, "chat.choose", chat.choose, "request", "validation")
    yield from _in_splits(attribute, "chat.report", chat.report, "request", "test")


def _paired(attribute: Attribute, values: tuple[str, ...]) -> Iterator[str]:
    if attribute.pairs is None:
        return
    try:
        pairs = load_pairs(attribute.pairs)
    except EmotionCircuitsError as error:
        yield f"pairs: {error}"
        return
    labels = set(labels_of(values, attribute.reference))
    inside = [p for p in pairs if {p.label, p.corrupted_label} <= labels]
    for value in values:
        if not any(value in (p.label, p.corrupted_label) for p in inside):
            yield f"pairs: {attribute.pairs} has no pair of {value}; add some, or leave 'pairs' out"


def _classified(attribute: Attribute, _values: tuple[str, ...]) -> Iterator[str]:
    # Corpora with the labels are looked at where the judge itself is made.
    yield from _rows("classifier.none", attribute.classifier.none)[1]
    rows, problems = _rows("classifier.choose", attribute.classifier.choose)
    yield from problems
    if rows and (lacking := _lacking(rows, attribute.labels, "validation")):
        yield (
            f"classifier.choose: no validation text is labelled {lacking} in {', '.join(attribute.classifier.choose)}; add some, "
            "or leave 'choose' out"
        )


def _tested(attribute: Attribute, _values: tuple[str, ...]) -> Iterator[str]:
    for axis, labelled in attribute.validation.items():
        yield from _rows(f"validation.{axis}.sets", labelled.sets)[1]


def _worded(attribute: Attribute, values: tuple[str, ...]) -> Iterator[str]:
    words = attribute.lexicon
    if isinstance(words, str):
        if words not in lexicon_languages():
            yield (
                f"lexicon: there is none for language {words!r}; there are {', '.join(lexicon_languages())}. Give the words "
                "themselves, e.g. lexicon: {warm: [red, amber]}"
            )
            return
        words = attribute.lexicon_words()
    if words is not None and (lacking := [value for value in values if not words.get(value)]):
        yield f"lexicon: no words for {', '.join(lacking)}; give them, or leave 'lexicon' and the judge 'keywords' out"


def _asked(attribute: Attribute, values: tuple[str, ...]) -> Iterator[str]:
    prompting = attribute.prompting
    if prompting is None:
        return
    if lacking := [value for value in values if value not in prompting.instructions]:
        yield f"prompting.instructions: no sentence for {', '.join(lacking)}; write one each"
    given = prompting.examples
    if isinstance(given, str):
        rows, problems = _rows("prompting.examples", [given])
        yield from problems
        if problems:
            return
        counts = {v: sum(row.label == v and row.split == "train" for row in rows) for v in values}
        if few := [f"{value} ({count})" for value, count in counts.items() if count < SHOTS]:
            yield (
                f"prompting.examples: {SHOTS} training sentences each are shown, {given} has fewer of {', '.join(few)}; add "
                "some, or name another corpus"
            )
    elif lacking := [value for value in values if not given.get(value)]:
        yield f"prompting.examples: no sentence of {', '.join(lacking)}; give some"
