"""A study for other programs: tables, or a project of Potato, the annotation tool. Nothing in it tells a condition."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import yaml

from emotion_circuits.human.material import INTENSITY, NATURALNESS
from emotion_circuits.human.reading import FOLDER, STORE, read_answers
from emotion_circuits.human.records import Design, Item, read_design
from emotion_circuits.paths import replacing

__all__ = ["export_study"]


def export_study(folder: Path, to: Literal["csv", "potato"], out: Path, *, language: str = "en") -> list[Path]:
    """Write a study's items, forms and, as ``csv``, its ratings so far.

    Args:
        folder: of the study; its key is not read.
        to: the kind.
        out: folder to write into.
        language: of questions and labels.

    Returns:
        The files.

    Raises:
        EmotionCircuitsError: as :func:`read_design`; ratings that do not fit; a file that cannot be written.
    """
    design = read_design(folder)
    files = _tables(folder, design, language) if to == "csv" else _potato(design, language)
    for name, text in files.items():
        with replacing(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [out / name for name in files]


def _text(item: Item, place: int, language: str) -> str:
    if place >= len(item.texts):
        return ""
    one = item.texts[place]
    return one[language] if language in one else one[""]


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def _tables(folder: Path, design: Design, language: str) -> dict[str, str]:
    items = [
        (name, item.kind, item.opening, _text(item, 0, language), _text(item, 1, language), item.ask)
        for name, item in design.items.items()
    ]
    forms = [(rater, i, name) for rater, form in design.forms.items() for i, name in enumerate(form.items, 1)]
    found = {
        "items.csv": _csv(("item", "kind", "opening", "text", "right_text", "asked"), items),
        "forms.csv": _csv(("rater", "place", "item"), forms),
    }
    if (folder / STORE).is_file() or any((folder / FOLDER).glob("*.json")):
        names = ("emotion", "intensity", "naturalness", "choice")
        rows = [
            (one.rater, one.language, item, *(given.answer.get(name, "") for name in names), given.seconds, given.at)
            for one in read_answers(folder, design) for item, given in one.answers.items()
        ]  # fmt: skip
        found["ratings.csv"] = _csv(("rater", "language", "item", *names, "seconds", "at"), rows)
    return found


def _potato(design: Design, language: str) -> dict[str, str]:
    """Two projects, since Potato asks the same questions of every item: one of single texts, one of pairs."""
    words, labels = design.words[language], design.labels[language]
    singles = [
        {"id": name, "text": _shown(item, language, words, labels)}
        for name, item in design.items.items()
        if item.kind == "single"
    ]
    pairs = [
        {"id": name, "text": _shown(item, language, words, labels), "asked": labels[item.ask]}
        for name, item in design.items.items() if item.kind == "pair"
    ]  # fmt: skip
    questions = [
        {
            "annotation_type": "radio", "name": "emotion", "description": words["ask-emotion"],
            "labels": [{"name": value, "tooltip": labels[value]} for value in design.answers],
        },
        _likert("intensity", words, INTENSITY),
        _likert("naturalness", words, NATURALNESS),
    ]  # fmt: skip
    choice = [
        {
            "annotation_type": "radio", "name": "choice", "description": words["ask-pair"].format(value="…"),
            "labels": [{"name": name, "tooltip": words[name]} for name in ("left", "tie", "right")],
        }
    ]  # fmt: skip
    found = {
        "singles.yaml": _config(design, "singles", questions), "singles.jsonl": _lines(singles),
        "singles-forms.json": _forms({rater: form.singles for rater, form in design.forms.items()}),
    }  # fmt: skip
    if pairs:
        found |= {
            "pairs.yaml": _config(design, "pairs", choice), "pairs.jsonl": _lines(pairs),
            "pairs-forms.json": _forms({rater: form.pairs for rater, form in design.forms.items()}),
        }  # fmt: skip
    return found


def _shown(item: Item, language: str, words: dict[str, str], labels: dict[str, str]) -> str:
    parts = [f"{words['opening']}: {item.opening}"] if item.opening else []
    if item.kind == "pair":
        parts.append(words["ask-pair"].format(value=labels[item.ask]))
    for place in range(len(item.texts)):
        heading = words["text" if item.kind == "single" else ("text-left", "text-right")[place]]
        parts.append(f"{heading}: {_text(item, place, language).strip() or words['empty']}")
    return "\n\n".join(parts)


def _likert(name: str, words: dict[str, str], values: tuple[int, ...]) -> dict[str, Any]:
    return {
        "annotation_type": "likert", "name": name, "description": words[f"ask-{name}"], "size": len(values),
        "min_label": words[f"{name}-{values[0]}"], "max_label": words[f"{name}-{values[-1]}"],
    }  # fmt: skip


def _config(design: Design, name: str, questions: list[dict[str, Any]]) -> str:
    value = {
        "annotation_task_name": f"{design.name} {name}", "data_files": [f"{name}.jsonl"],
        "item_properties": {"id_key": "id", "text_key": "text"}, "output_annotation_dir": "annotations",
        "output_annotation_format": "jsonl", "annotation_schemes": questions,
    }  # fmt: skip
    return str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False))


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _forms(value: dict[str, tuple[str, ...]]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
