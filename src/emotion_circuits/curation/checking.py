"""What must hold of a corpus before a figure rests on it; every finding is listed with file, line and field."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from emotion_circuits.curation.balance import Balance, balance
from emotion_circuits.curation.duplicates import find_duplicates, normalised
from emotion_circuits.curation.rows import alignment_problems, row_problems
from emotion_circuits.curation.tables import TABLE_SUFFIXES, read_table
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import replacing
from emotion_circuits.progress import progress_bar
from emotion_circuits.prompts.loading import Numbered, corpora_dir, read_objects, resolve_set, validate_objects
from emotion_circuits.prompts.schema import Pair, Prompt
from emotion_circuits.prompts.tokenizing import Tokenize

__all__ = ["CheckedFile", "Finding", "Report", "check_corpora", "write_corpus"]


class Finding(BaseModel):
    """One thing that is wrong (``error``) or worth a look (``warning``)."""

    model_config = ConfigDict(frozen=True)

    severity: Literal["error", "warning"]
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
        names_or_paths: bundled names, folders of them, JSONL files, or tables (``.csv``, ``.tsv``).
        columns: field → column, for tables.
        language: of tables without a language column.
        implicit: whether texts may hold emotion words; by default a set called ``implicit`` may not.
        tokenizers: name → tokenizer under which pairs must be aligned.
        near: character n-gram similarity (Jaccard) from which two texts are near duplicates.

    Returns:
        The report, and all valid rows in order.

    Raises:
        EmotionCircuitsError: a name or file that does not exist, or a table without the columns it needs.
    """
    findings: list[Finding] = []
    files: list[CheckedFile] = []
    everything: list[_Place] = []
    paths = [path for name in names_or_paths for path in _files(name)]
    if not paths:
        raise EmotionCircuitsError("name at least one bundled set or file")
    with progress_bar("checking", total=len(paths)) as bar:
        for path in dict.fromkeys(paths):
            shown = _shown(path)
            if path.suffix.lower() in TABLE_SUFFIXES:
                objects, problems = read_table(path, columns, language=language)
            else:
                objects, problems = read_objects(path)
            numbered, invalid = validate_objects(objects)
            findings += [_finding("error", shown, *problem) for problem in sorted([*problems, *invalid])]
            if not numbered and not problems and not invalid:
                findings.append(_finding("error", shown, None, "", "holds no rows"))
            found, summary = _check_file(shown, numbered, implicit, tokenizers or {})
            findings += found
            files.append(summary)
            everything += [_Place(shown, line, row) for line, row in numbered]
            bar.advance(note=shown)
    findings += _duplicates(everything, near)
    report = Report(files=tuple(files), findings=tuple(findings))
    return report, [place.row for place in everything]


def write_corpus(path: Path, rows: Iterable[Prompt]) -> None:
    """Write rows as JSONL, one complete object per line."""
    with replacing(path) as temporary:
        temporary.write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")


def _files(name: str | os.PathLike[str]) -> list[Path]:
    path = Path(name).expanduser()
    if path.suffix.lower() in TABLE_SUFFIXES and path.is_file():
        return [path]
    return resolve_set(name)


def _shown(path: Path) -> str:
    root = corpora_dir()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _finding(severity: Literal["error", "warning"], file: str, line: int | None, field: str, message: str) -> Finding:
    return Finding(severity=severity, file=file, line=line, field=field, message=message)


def _check_file(
    file: str, numbered: Sequence[Numbered], implicit: bool | None, tokenizers: Mapping[str, Tokenize]
) -> tuple[list[Finding], CheckedFile]:
    findings: list[Finding] = []
    rows = [row for _, row in numbered]
    labels = Counter(row.label for row in rows)
    marked = {row.label for row in rows if row.spans}
    for line, row in numbered:
        hidden = implicit if implicit is not None else row.set.rsplit("/", 1)[-1] == "implicit"
        for severity, field, message in row_problems(row, labels=set(labels), marked=marked, implicit=hidden):
            findings.append(_finding(severity, file, line, field, message))
        if isinstance(row, Pair):
            for name, tokenize in tokenizers.items():
                for severity, field, message in alignment_problems(row, tokenize):
                    findings.append(_finding(severity, file, line, field, f"under {name}, {message}"))
    findings += _groups(file, numbered)
    measured = None if any(isinstance(row, Pair) for row in rows) else balance(rows)
    if measured is not None:
        findings += [_finding(severity, file, None, field, text) for severity, field, text in measured.problems()]
    summary = CheckedFile(
        file=file,
        rows=len(rows),
        groups=len({row.group for row in rows}),
        labels=dict(labels),
        splits=dict(Counter(row.split for row in rows)),
        balance=measured,
    )
    return findings, summary


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
                yield _finding("error", file, line, "split", message)
        if contrast and (lacking := labels - {item.row.label for item in items}):
            message = f"group {group!r} has no text for {', '.join(sorted(lacking))}"
            yield _finding("warning", file, first.line, "group", message)
    present = {row.split for _, row in numbered}
    if present and (lacking_splits := [split for split in ("train", "validation", "test") if split not in present]):
        message = f"no row is {' or '.join(lacking_splits)}: nothing can be fitted, chosen or reported there"
        yield _finding("warning", file, None, "split", message)


def _duplicates(places: Sequence[_Place], near: float) -> Iterator[Finding]:
    # A pair's clean text stands once more as the other direction's corrupted one, so a pair is looked at as a whole.
    texts = [p.row.text + "\n" + p.row.corrupted if isinstance(p.row, Pair) else p.row.text for p in places]
    for first, second, similarity in find_duplicates(texts, threshold=near):
        a, b = places[first], places[second]
        where = f"line {a.line}" if a.file == b.file else f"{a.file}:{a.line}"
        same_group = a.file == b.file and a.row.group == b.row.group
        if normalised(texts[first]) == normalised(texts[second]):
            if a.row.label != b.row.label:
                yield _finding(
                    "error", b.file, b.line, "text", f"is the text of {where}, labelled {a.row.label!r} there"
                )
            elif a.row.split != b.row.split:
                message = f"is the text of {where}, in another split ({a.row.split} there, {b.row.split} here)"
                yield _finding("error", b.file, b.line, "text", message)
            else:
                yield _finding("warning", b.file, b.line, "text", f"is the text of {where}")
        elif same_group and (a.row.label != b.row.label or isinstance(a.row, Pair)):
            continue  # a minimal contrast is meant to be nearly the same
        elif a.row.split != b.row.split:
            message = f"is nearly the text of {where} ({similarity:.2f}), which is {a.row.split}; this is {b.row.split}"
            yield _finding("error", b.file, b.line, "text", message)
        else:
            yield _finding("warning", b.file, b.line, "text", f"is nearly the text of {where} ({similarity:.2f})")
