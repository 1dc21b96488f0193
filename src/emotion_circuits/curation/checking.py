"""What must hold of a corpus before a figure rests on it; every finding is listed with file, line and field."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from emotion_circuits.curation.balance import Balance, balance
from emotion_circuits.curation.duplicates import normalised, similar_texts
from emotion_circuits.curation.rows import alignment_problems, row_problems
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import replacing
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts.loading import (
    Numbered,
    corpora_dir,
    read_objects,
    resolve_set,
    validate_objects,
    with_columns,
)
from emotion_circuits.prompts.schema import Pair, Prompt
from emotion_circuits.prompts.tokenizing import Tokenize

__all__ = ["CheckedFile", "Finding", "Report", "check_corpora", "write_corpus"]


class Finding(BaseModel):
    """One thing that is wrong (``error``) or worth a look (``warning``), of a kind: ``row``, ``near duplicate``, and so on."""

    model_config = ConfigDict(frozen=True)

    severity: Literal["error", "warning"]
    kind: str
    file: str
    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        line = "" if self.line is None else f":{self.line}"
        field = f"{self.field}: " if self.field else ""
        return f"{self.file}{line}: {field}{self.message}"


class CheckedFile(BaseModel):
    """A file's counts and its balance of labels, lengths and punctuation."""

    model_config = ConfigDict(frozen=True)

    file: str
    rows: int
    groups: int
    labels: dict[str, int]
    splits: dict[str, int]
    balance: Balance | None


class Report(BaseModel):
    """The result of :func:`check_corpora`."""

    model_config = ConfigDict(frozen=True)

    files: tuple[CheckedFile, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What is wrong."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth a look."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")


class _Place(NamedTuple):
    file: str
    line: int
    row: Prompt


def check_corpora(
    names_or_paths: Sequence[str | os.PathLike[str]],
    *,
    columns: Mapping[str, str] | None = None,
    language: str = "en",
    implicit: bool | None = None,
    tokenizers: Mapping[str, Tokenize] | None = None,
    near: float = 0.65,
) -> tuple[Report, list[Prompt]]:
    """Check corpora, one by one and against one another.

    Errors: rows that break the schema; encodings; spans that do not match their text; emotion words in implicit or
    neutral texts; a text that stands in two splits (nearly); equal texts with different labels; groups divided by a
    split; pairs that are not aligned; and, with four labels or more, punctuation or length alone telling the label
    in more than 0.35 of the rows. Warnings: near duplicates within a split, groups that lack a label, imbalance.

    Args:
        names_or_paths: bundled names, folders of them, or files as :func:`~emotion_circuits.prompts.load_prompts` reads them.
        columns: field → column, of files.
        language: of files without a language column.
        implicit: whether texts may hold emotion words; by default a set called ``implicit`` may not.
        tokenizers: name → tokenizer under which pairs must be aligned.
        near: character n-gram similarity (Jaccard) from which two texts are near duplicates.

    Returns:
        The report, and all valid rows in order. A row that is like several others is one finding, beside the one that matters
        most.

    Raises:
        EmotionCircuitsError: a name or file that does not exist, or a table without the columns it needs.
    """
    findings: list[Finding] = []
    files: list[CheckedFile] = []
    everything: list[_Place] = []
    corpora = [file for name in names_or_paths for file in resolve_set(with_columns(name, columns or {}))]
    if not corpora:
        raise EmotionCircuitsError("name at least one bundled set or file")
    with progress_bar("checking", total=len(corpora)) as bar:
        for corpus in dict.fromkeys(corpora):
            shown = _shown(corpus.path)
            objects, problems = read_objects(corpus, language=language)
            numbered, invalid = validate_objects(objects)
            findings += [_finding("error", shown, line, "row", *rest) for line, *rest in sorted([*problems, *invalid])]
            if not numbered and not problems and not invalid:
                findings.append(_finding("error", shown, None, "empty", "", "holds no rows"))
            found, summary = _check_file(shown, numbered, implicit, tokenizers or {})
            findings += found
            files.append(summary)
            everything += [_Place(shown, line, row) for line, row in numbered]
            bar.advance(note=shown)
    findings += _same_ids(everything)
    findings += _duplicates(everything, near)
    report = Report(files=tuple(files), findings=tuple(findings))
    return report, [place.row for place in everything]


def write_corpus(path: Path, rows: Iterable[Prompt]) -> None:
    """Write rows as JSONL, one complete object per line."""
    with replacing(path) as temporary:
        temporary.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")


def _shown(path: Path) -> str:
    root = corpora_dir()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _finding(
    severity: Literal["error", "warning"], file: str, line: int | None, kind: str, field: str, message: str
) -> Finding:
    return Finding(severity=severity, file=file, line=line, kind=kind, field=field, message=message)


def _check_file(
    file: str, numbered: Sequence[Numbered], implicit: bool | None, tokenizers: Mapping[str, Tokenize]
) -> tuple[list[Finding], CheckedFile]:
    findings: list[Finding] = []
    rows = [row for _, row in numbered]
    labels = Counter(row.label for row in rows)
    known = set(labels)
    marked = {row.label for row in rows if row.spans}
    for line, row in numbered:
        hidden = implicit if implicit is not None else row.set.rsplit("/", 1)[-1] == "implicit"
        for severity, kind, field, message in row_problems(row, labels=known, marked=marked, implicit=hidden):
            findings.append(_finding(severity, file, line, kind, field, message))
        if isinstance(row, Pair):
            for name, tokenize in tokenizers.items():
                for severity, kind, field, message in alignment_problems(row, tokenize):
                    findings.append(_finding(severity, file, line, kind, field, f"under {name}, {message}"))
    findings += _labels_alike(file, labels)
    findings += _groups(file, numbered)
    measured = None if any(isinstance(row, Pair) for row in rows) else balance(rows)
    if measured is not None:
        findings += [
            _finding(severity, file, None, "balance", field, text) for severity, field, text in measured.problems()
        ]
    summary = CheckedFile(
        file=file,
        rows=len(rows),
        groups=len({row.group for row in rows}),
        labels=dict(labels),
        splits=dict(Counter(row.split for row in rows)),
        balance=measured,
    )
    return findings, summary


def _labels_alike(file: str, labels: Mapping[str, int]) -> Iterator[Finding]:
    """Labels that a person reads as one, and that are studied as two."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    for names in alike.values():
        if len(names) > 1:
            written = ", ".join(f"{name!r} ({labels[name]})" for name in names)
            message = f"labels differ only in how they are written: {written}; write them alike"
            yield _finding("error", file, None, "labels alike", "label", message)


def _groups(file: str, numbered: Sequence[Numbered]) -> Iterator[Finding]:
    members: dict[str, list[Numbered]] = defaultdict(list)
    for item in numbered:
        members[item.row.group].append(item)
    labels = {row.label for _, row in numbered}
    # Only where groups are contrast sets at all, and the rows no pairs, must a group hold every label.
    contrast = len(labels) > 1 and not any(isinstance(row, Pair) for _, row in numbered)
    contrast &= any({item.row.label for item in items} == labels for items in members.values())
    for group, items in members.items():
        first = items[0]
        for line, row in items[1:]:
            if row.split != first.row.split:
                message = (
                    f"group {group!r} is divided: {row.split} here, {first.row.split} in line {first.line}; "
                    "give all rows of a group one split"
                )
                yield _finding("error", file, line, "divided group", "split", message)
        if contrast and (lacking := labels - {item.row.label for item in items}):
            message = f"group {group!r} has no text for {', '.join(sorted(lacking))}"
            yield _finding("warning", file, first.line, "group without a label", "group", message)
    present = {row.split for _, row in numbered}
    if present and (lacking_splits := [split for split in ("train", "validation", "test") if split not in present]):
        message = f"no row is {' or '.join(lacking_splits)}: nothing can be fitted, chosen or reported there"
        yield _finding("warning", file, None, "missing split", "split", message)


def _same_ids(places: Sequence[_Place]) -> Iterator[Finding]:
    """Ids that stand in two files; inside one file the reader finds them."""
    first: dict[str, _Place] = {}
    for place in places:
        other = first.setdefault(place.row.id, place)
        if other.file != place.file:
            message = f"{place.row.id!r} stands already in {other.file}:{other.line}; corpora used together need different ids"
            yield _finding("warning", place.file, place.line, "id in two files", "id", message)


def _duplicates(places: Sequence[_Place], near: float) -> Iterator[Finding]:
    # A pair's clean text stands once more as the other direction's corrupted one, so a pair is looked at as a whole.
    texts = (p.row.text + "\n" + p.row.corrupted if isinstance(p.row, Pair) else p.row.text for p in places)
    equal: dict[str, list[int]] = defaultdict(list)
    for position, text in enumerate(texts):
        equal[normalised(text)].append(position)
    for positions in equal.values():
        yield from _equal(places, positions)
    yield from _near(places, list(equal), [positions[0] for positions in equal.values()], near)


def _where(there: _Place, here: _Place) -> str:
    return f"line {there.line}" if there.file == here.file else f"{there.file}:{there.line}"


def _equal(places: Sequence[_Place], positions: Sequence[int]) -> Iterator[Finding]:
    """Every later row of one text beside the first it contradicts: in the label, else in the split, else the first of all."""
    by_label: dict[str, _Place] = {}
    by_split: dict[str, _Place] = {}
    first = places[positions[0]]
    for here in (places[position] for position in positions):
        label, split = here.row.label, here.row.split
        if other := next((place for name, place in by_label.items() if name != label), None):
            message = f"is the text of {_where(other, here)}, labelled {other.row.label!r} there"
            yield _finding("error", here.file, here.line, "text with two labels", "text", message)
        elif other := next((place for name, place in by_split.items() if name != split), None):
            message = f"is the text of {_where(other, here)}, in another split ({other.row.split} there, {split} here)"
            yield _finding("error", here.file, here.line, "text in two splits", "text", message)
        elif here is not first:
            yield _finding(
                "warning", here.file, here.line, "duplicate", "text", f"is the text of {_where(first, here)}"
            )
        by_label.setdefault(label, here)
        by_split.setdefault(split, here)


def _near(places: Sequence[_Place], plain: Sequence[str], positions: Sequence[int], near: float) -> Iterator[Finding]:
    """Every text beside the one it is most like, one of another split before all others."""
    found = similar_texts(plain, threshold=near)
    at = [places[position] for position in positions]
    split, label, group = (
        np.unique(values, return_inverse=True)[1]
        for values in (
            [p.row.split for p in at], [p.row.label for p in at], [f"{p.file}\n{p.row.group}" for p in at]
        )
    ) if at else (np.array([], dtype=int),) * 3  # fmt: skip
    paired = np.array([isinstance(p.row, Pair) for p in at], dtype=bool)
    a, b = found.first, found.second
    # A minimal contrast is meant to be nearly the same.
    kept = ~((group[a] == group[b]) & ((label[a] != label[b]) | paired[a]))
    a, b, similarity = a[kept], b[kept], found.similarity[kept]
    across = split[a] != split[b]
    order = np.lexsort((a, -similarity, ~across, b))
    chosen = order[np.flatnonzero(np.diff(b[order], prepend=-1))]
    others = np.bincount(b, minlength=len(at)) - 1
    for pair in chosen.tolist():
        there, here = at[a[pair]], at[b[pair]]
        more = f"; and of {others[b[pair]]} more" if others[b[pair]] > 0 else ""
        message = f"is nearly the text of {_where(there, here)} ({similarity[pair]:.2f})"
        if across[pair]:
            message += f", which is {there.row.split}; this is {here.row.split}"
            yield _finding("error", here.file, here.line, "near duplicate in two splits", "text", message + more)
        else:
            yield _finding("warning", here.file, here.line, "near duplicate", "text", message + more)
    if not found.complete:
        message = (
            "so many texts are so much alike that each was compared with those alone that share its rarest words; mend what was "
            "found and check again"
        )
        yield _finding("warning", at[0].file, None, "near duplicate", "text", message)
