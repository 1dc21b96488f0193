"""A user's own table of labelled sentences, made into an attribute that can be studied, with its file to look at and edit."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emotion_circuits.curation.checking import check_corpora, write_corpus
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import make_folder, replacing
from emotion_circuits.prompts import Prompt, split_groups
from emotion_circuits.prompts.attribute import available_attributes, load_attribute
from emotion_circuits.prompts.contrast import labels_of
from emotion_circuits.prompts.loading import available_sets

__all__ = ["OTHERS", "OwnAttribute", "own_attribute"]

OTHERS = "others"
"""Label of the sentences of all other values, where one value is studied without a reference."""
_JUDGED = 60
"""Groups from which on a quarter of the training groups are set aside for a judge."""
_NAME = "attribute.yaml"
_REFUSED = ("row", "empty", "text with two labels", "divided group", "labels alike")
"""Kinds of findings with which a table cannot be studied."""
_STATES = "states:gemma3-270m"


@dataclass(frozen=True)
class OwnAttribute:
    """What was made of a table.

    Attributes:
        path: of the attribute's file.
        notes: what a person should know of it, a sentence each.
    """

    path: Path
    notes: tuple[str, ...]


def own_attribute(
    table: Path | str,
    folder: Path,
    *,
    columns: Mapping[str, str] | None = None,
    values: Sequence[str] | None = None,
    reference: str | None = None,
    language: str = "en",
) -> OwnAttribute:
    """Write an attribute's file, and the corpora it names, into a folder.

    Sentences are split by group. Without a column for groups the first sentences of every label form one, the second ones
    another and so on: blocks that share no scene, so that figures are paired at random and keep what the words of a scene add.
    Where there are enough groups a quarter of the training ones are set aside for the attribute's own judge. Openings are the
    bundled ones of the language, where there are some; without them, or without a judge, steering is left out of a study.

    Args:
        table: CSV, TSV, JSONL, JSON, Parquet or Excel.
        folder: where the files are written.
        columns: field → column, as ``--map`` says it.
        values: labels that are studied; all but the reference by default.
        reference: label that they are compared with. Without one each value is compared with the mean of the others, and a
            single one with all other labels together.
        language: ISO 639-1 code of the sentences, where no column says it.

    Raises:
        EmotionCircuitsError: a table that cannot be read or whose rows are wrong, labels that it does not hold, sentences of one
            label alone or in several languages, or an attribute's file of something else in the folder.

    Example:
        >>> own_attribute("moods.csv", Path("runs/moods"), values=["joy", "fear"], reference="neutral")  # doctest: +SKIP
        OwnAttribute(path=PosixPath('runs/moods/attribute.yaml'), notes=(...))
    """
    table = Path(table)
    values = None if values is None else [unicodedata.normalize("NFC", value) for value in values]
    reference = None if reference is None else unicodedata.normalize("NFC", reference)
    report, rows = check_corpora([table], columns=columns, language=language)
    if wrong := [e for e in report.errors if e.kind in _REFUSED]:
        shown = "\n  ".join(f"line {e.line}: {e.message}" if e.line else e.message for e in wrong[:10])
        more = f"\n  … and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise EmotionCircuitsError(f"{table}: {len(wrong)} problems:\n  {shown}{more}")
    if len(languages := sorted({row.language for row in rows})) > 1:
        raise EmotionCircuitsError(f"{table}: sentences in {', '.join(languages)}; study one language at a time")
    rows, studied, against, notes = _labelled(table, rows, values, reference)
    names = labels_of(studied, against)
    rows, more_notes = _once(rows)
    notes += more_notes
    rows, more_notes = _grouped(rows, table)
    notes += more_notes
    if alike := sum(e.kind == "near duplicate in two splits" for e in report.errors):
        notes.append(
            f"{alike} sentences are nearly those of another split, which makes held-out figures too good: "
            f"emotion-circuits data check {table} names them; sentences of one group (--map group=COLUMN) stay in one split"
        )
    spoken = rows[0].language
    fitted, judged = _set_aside(rows, names)
    fields = _fields(
        _name_of(table), studied, against, spoken, judged=bool(judged), marked=any(row.spans for row in rows)
    )
    if not judged:
        notes.append(f"fewer than {_JUDGED} groups: none are set aside for a judge, so steering is left out")
    elif "openings" not in fields:
        notes.append(
            f"there are no bundled openings in {spoken!r}, so steering is left out; name some under 'openings'"
        )
    path = make_folder(folder) / _NAME
    text = _HEAD.format(table=table) + yaml.safe_dump(fields, allow_unicode=True, sort_keys=False)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise EmotionCircuitsError(
            f"{path}: is there already and says something else; to study it as it is, run with --attribute {path} and without "
            "--corpus, or use another --out"
        )
    write_corpus(folder / "corpus.jsonl", fitted)
    if judged:
        write_corpus(folder / "judge.jsonl", judged)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    load_attribute(path)
    counts = Counter(row.label for row in fitted)
    return OwnAttribute(path, (", ".join(f"{counts[name]} {name}" for name in names), *notes))


_HEAD = """# Made of {table}. Everything here can be edited; to study it as edited, run with --attribute and this file.
"""


def _name_of(table: Path) -> str:
    name = re.sub(r"[^\w-]+", "-", table.stem).strip("-") or "own"
    return f"{name}-own" if name in available_attributes() else name


def _labelled(
    table: Path, rows: Sequence[Prompt], values: Sequence[str] | None, reference: str | None
) -> tuple[list[Prompt], tuple[str, ...], str | None, list[str]]:
    """The rows that are studied, the values, the reference, and what is to be told of it."""
    known = list(dict.fromkeys(row.label for row in rows))
    asked = tuple(dict.fromkeys(values)) if values else tuple(label for label in known if label != reference)
    if unknown := [v for v in (*asked, *([reference] if reference else [])) if v not in known]:
        raise EmotionCircuitsError(f"{table}: no sentence is labelled {', '.join(unknown)}; labels: {', '.join(known)}")
    if reference is not None:
        if reference in asked:
            raise EmotionCircuitsError(f"--reference {reference}: is one of the values; leave it out of --values")
        wanted = {*asked, reference}
        return [row for row in rows if row.label in wanted], asked, reference, []
    if len(asked) > 1:
        told = f"no reference: each of {', '.join(asked)} is compared with the mean of the others"
        return [row for row in rows if row.label in asked], asked, None, [told]
    others = [label for label in known if label != asked[0]]
    if not others:
        raise EmotionCircuitsError(
            f"{table}: every sentence is labelled {asked[0]}, so there is nothing to compare with"
        )
    relabelled = [
        row if row.label == asked[0] else row.model_copy(update={"label": OTHERS, "spans": ()}) for row in rows
    ]
    return relabelled, asked, OTHERS, [f"no reference: {asked[0]} is compared with {', '.join(others)} together"]


def _once(rows: list[Prompt]) -> tuple[list[Prompt], list[str]]:
    """Every text once: the same one in two splits would be learnt and then tested on."""
    seen: set[str] = set()
    kept = [row for row in rows if not (row.text in seen or seen.add(row.text))]  # type: ignore[func-returns-value]
    dropped = len(rows) - len(kept)
    return kept, [f"{dropped} sentences that repeat an earlier one are left out"] if dropped else []


def _grouped(rows: list[Prompt], table: Path) -> tuple[list[Prompt], list[str]]:
    """Rows whose groups hold several labels; where none does, in blocks of one sentence per label."""
    labels: dict[str, set[str]] = {}
    for row in rows:
        labels.setdefault(row.group, set()).add(row.label)
    if any(len(own) > 1 for own in labels.values()):
        return rows, []
    seen: Counter[str] = Counter()
    blocks = {}
    for row in rows:
        blocks[row.id] = f"block-{seen[row.label] + 1}"
        seen[row.label] += 1
    splits = split_groups(blocks.values(), salt=table.stem)
    made = [row.model_copy(update={"group": blocks[row.id], "split": splits[blocks[row.id]]}) for row in rows]
    note = "no group holds two labels, so sentences stand in blocks of one per label, in the order of the file"
    return made, [note]


def _set_aside(rows: list[Prompt], names: Sequence[str]) -> tuple[list[Prompt], list[Prompt]]:
    """Sentences for directions, and a quarter of the training groups for a judge."""
    train = sorted({row.group for row in rows if row.split == "train"})
    aside = set(train[::4])
    groups = len({row.group for row in rows})
    judged = [row for row in rows if row.group in aside]
    if groups < _JUDGED or any(sum(row.label == name for row in judged) < 4 for name in names):
        return rows, []
    order = {group: place for place, group in enumerate(sorted(aside))}
    judged = [
        row.model_copy(update={"split": "validation" if order[row.group] % 4 == 3 else "train"}) for row in judged
    ]
    return [row for row in rows if row.group not in aside], judged


def _fields(
    name: str, values: Sequence[str], reference: str | None, language: str, *, judged: bool, marked: bool
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": name,
        "title": {"en": name},
        "language": language,
        "values": list(values),
        "reference": reference,
        "corpora": {"fit": ["corpus.jsonl"]},
    }
    if marked:
        fields["corpora"]["trace"] = "corpus.jsonl"
    openings = _openings(language)
    if openings:
        fields["openings"] = openings
    if judged:
        fields["judges"] = [name]
        fields["classifier"] = {"fit": ["judge.jsonl"], **({} if language == "en" else {"features": _STATES})}
    return fields


def _openings(language: str) -> dict[str, str]:
    if language == "en":
        return {"choose": "continuations", "report": "continuations-fresh"}
    found = {role: f"languages/{language}/openings-{role}" for role in ("choose", "report")}
    return found if set(found.values()) <= set(available_sets()) else {}
