"""A rater's page: one HTML file that holds everything it needs and can fetch nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.material import INTENSITY, NATURALNESS
from emotion_circuits.human.records import NONE, Design, read_design
from emotion_circuits.paths import make_folder, replacing

__all__ = ["minutes", "page_html", "policy", "write_sheets"]

SHEETS = "sheets"
_SECONDS = 15
_NAMES = {"en": "English", "ja": "日本語"}


@cache
def _file(name: str) -> str:
    return files("emotion_circuits.human").joinpath("rater", name).read_text(encoding="utf-8")


def _sum(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def policy(*, connects: bool) -> str:
    """What the page may do: its own script and style, and where it is served, its own server; nothing becomes markup.

    Args:
        connects: whether it may send answers to where it came from.
    """
    connect = "connect-src 'self'; " if connects else ""
    return (
        f"default-src 'none'; script-src {_sum(_file('page.js'))}; style-src {_sum(_file('page.css'))}; {connect}"
        "img-src data:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def minutes(design: Design, rater: str) -> int:
    """About how long a form takes."""
    return max(1, round(len(design.forms[rater].items) * _SECONDS / 60))


def page_html(design: Design, rater: str, *, connects: bool = False) -> str:
    """A rater's page.

    Args:
        design: of the study; nothing of its key, seed, hypotheses or power gets into a page.
        rater: code.
        connects: see :func:`policy`.

    Raises:
        EmotionCircuitsError: no such rater.
    """
    if rater not in design.forms:
        raise EmotionCircuitsError(f"--rater {rater}: the study has {', '.join(list(design.forms)[:3])} …")
    form, turn = design.forms[rater], list(design.forms).index(rater) % len(design.values)

    def shown(item: str) -> dict[str, Any]:
        found = design.items[item]
        return {"id": item, "opening": found.opening, "texts": list(found.texts)} | (
            {"ask": found.ask} if found.ask else {}
        )

    # How a check is worded is no business of a page that may hold one.
    words = {code: {k: v for k, v in said.items() if k != "attention"} for code, said in design.words.items()}
    data = {
        "study": design.name, "rater": rater, "minutes": minutes(design, rater), "words": words, "names": _NAMES,
        "labels": design.labels, "textLanguage": design.text_language, "intensity": INTENSITY, "naturalness": NATURALNESS,
        # The order of values turns from rater to rater; none of them comes last.
        "options": [*design.values[turn:], *design.values[:turn], NONE],
        "singles": [shown(i) for i in form.singles], "pairs": [shown(i) for i in form.pairs],
    }  # fmt: skip
    inside = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Template(_file("page.html")).substitute(
        policy=policy(connects=connects), style=_file("page.css"), script=_file("page.js"), data=inside
    )


def write_sheets(folder: Path, *, rater: str | None = None) -> list[Path]:
    """Write one offline page per rater into the folder ``sheets`` of a study; its key is not read.

    Args:
        folder: of the study.
        rater: only this one's.

    Raises:
        EmotionCircuitsError: as :func:`read_design`; no such rater.
    """
    design = read_design(folder)
    made = {name: page_html(design, name) for name in (design.forms if rater is None else [rater])}
    make_folder(folder / SHEETS)
    found = []
    for name, html in made.items():
        path = folder / SHEETS / f"{name}.html"
        with replacing(path) as temporary:
            temporary.write_text(html, encoding="utf-8")
        found.append(path)
    return found
