"""Raters' answers: their files and the server's, checked against the design, and as arrays."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.material import INTENSITY, NATURALNESS
from emotion_circuits.human.records import Design, Study
from emotion_circuits.human.simulating import slots_of
from emotion_circuits.human.tables import Pairs, Ratings, Singles
from emotion_circuits.paths import read_json
from emotion_circuits.prompts.loading import validation_messages

__all__ = ["FOLDER", "STORE", "Answered", "Given", "RaterFile", "answer_problem", "as_arrays", "read_answers"]

FOLDER, STORE = "ratings", "ratings.sqlite"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Given(_Record):
    """One answer.

    Attributes:
        item: id.
        answer: ``emotion intensity naturalness`` of a single text, ``choice`` of a pair.
        seconds: from when it was shown to when it was answered.
        at: when, ISO 8601.
    """

    item: str
    answer: dict[str, Any]
    seconds: float = Field(ge=0, allow_inf_nan=False)
    at: str


class RaterFile(_Record):
    """What a page saves.

    Attributes:
        format: of this file.
        study: name of the study.
        rater: code.
        language: of the page.
        consent: when it was given, ISO 8601.
        answers: in the order in which they were given.
    """

    format: Literal[1]
    study: str
    rater: str
    language: str
    consent: str = Field(min_length=1)
    answers: tuple[Given, ...]


@dataclass(frozen=True)
class Answered:
    """What one rater answered.

    Attributes:
        rater: code.
        language: of the page.
        answers: item → answer.
        where: file that it comes from.
    """

    rater: str
    language: str
    answers: dict[str, Given]
    where: Path


def answer_problem(design: Design, item: str, answer: dict[str, Any]) -> str | None:
    """What is wrong with an answer to an item, or ``None``.

    Args:
        design: of the study.
        item: id of one of its items.
        answer: given.
    """
    allowed: dict[str, Sequence[Any]] = {"choice": ("left", "tie", "right")}
    if design.items[item].kind == "single":
        allowed = {"emotion": design.answers, "intensity": INTENSITY, "naturalness": NATURALNESS}
    if set(answer) != set(allowed):
        return f"needs {', '.join(allowed)}, and nothing else"
    for name, may in allowed.items():
        given = answer[name]
        if isinstance(given, bool) or given not in may:
            return f"{name}: {str(given)[:40]!r} is none of {', '.join(map(str, may))}"
    return None


def read_answers(folder: Path, design: Design) -> list[Answered]:
    """All raters' answers, in the order of their codes.

    Args:
        folder: of the study; files lie in its folder ``ratings``, the server's answers in ``ratings.sqlite``.
        design: of the study.

    Raises:
        EmotionCircuitsError: with the file: not such a file, another study's, an unknown rater or item, an answer that the
            design does not have, the same rater twice; or no answers at all.
    """
    found: dict[str, Answered] = {}
    for one in (*_files(folder, design), *_stored(folder, design)):
        if one.rater in found:
            raise EmotionCircuitsError(
                f"{one.where}: rater {one.rater} is in {found[one.rater].where} too; keep the one that is right"
            )
        found[one.rater] = one
    if not found:
        raise EmotionCircuitsError(
            f"{folder}: no ratings; put raters' files into {folder / FOLDER}, or collect them with: emotion-circuits human "
            f"serve {folder}"
        )
    return [found[rater] for rater in sorted(found)]


def _files(folder: Path, design: Design) -> Iterator[Answered]:
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            given = RaterFile.model_validate(read_json(path))
        except ValidationError as error:
            raise EmotionCircuitsError(f"{path}: {'; '.join(validation_messages(error)[:3])}") from error
        yield _checked(path, design, given)


def _checked(path: Path, design: Design, given: RaterFile) -> Answered:
    if given.study != design.name:
        raise EmotionCircuitsError(
            f"{path}: study: is {given.study!r}, not {design.name!r}; it belongs to another study"
        )
    if given.rater not in design.forms:
        raise EmotionCircuitsError(f"{path}: rater: the study has no {given.rater!r}")
    own, answers = set(design.forms[given.rater].items), dict[str, Given]()
    for number, one in enumerate(given.answers):
        where = f"{path}: answers.{number}"
        if one.item not in own:
            raise EmotionCircuitsError(f"{where}.item: {one.item!r} is not of the form of {given.rater}")
        if one.item in answers:
            raise EmotionCircuitsError(f"{where}.item: {one.item!r} is answered twice")
        if problem := answer_problem(design, one.item, one.answer):
            raise EmotionCircuitsError(f"{where}.answer: {problem}")
        answers[one.item] = one
    return Answered(given.rater, given.language, answers, path)


def _stored(folder: Path, design: Design) -> Iterator[Answered]:
    path = folder / STORE
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as store:
            (study,) = store.execute("SELECT value FROM about WHERE name = 'study'").fetchone()
            raters = store.execute("SELECT rater, language, consent FROM raters ORDER BY rater").fetchall()
            rows = store.execute("SELECT rater, item, answer, seconds, at FROM answers ORDER BY number").fetchall()
        for rater, language, consent in raters:
            answers = tuple(
                Given(item=item, answer=loads(answer), seconds=seconds, at=at)
                for who, item, answer, seconds, at in rows if who == rater
            )  # fmt: skip
            if answers:
                given = RaterFile(
                    format=1, study=study, rater=rater, language=language, consent=consent, answers=answers
                )
                yield _checked(path, design, given)
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise EmotionCircuitsError(f"{path}: holds no answers that this version reads: {error}") from error


def as_arrays(study: Study, answered: Sequence[Answered]) -> Ratings:
    """Ratings of the run's texts; checks, unmistakable texts and repetitions are left out.

    Args:
        study: with its key.
        answered: raters; their places are the numbers of raters.
    """
    design, key = study.design, study.key
    slots = slots_of(design.values, design.arms)
    openings = {p: i for i, p in enumerate(sorted({t.prompt_id for t in key.texts.values()}))}
    texts = {name: i for i, name in enumerate(sorted(key.texts))}
    slot = {name: slots.index((t.arm, t.value)) for name, t in key.texts.items()}
    single: list[tuple[Any, ...]] = []
    pair: list[tuple[Any, ...]] = []
    for rater, one in enumerate(answered):
        for item, given in one.answers.items():
            secret, answer = key.items[item], given.answer
            if secret.kind == "single":
                (text,) = secret.texts
                named = design.answers.index(answer["emotion"])
                row = (rater, openings[key.texts[text].prompt_id], texts[text], slot[text], named)
                single.append((*row, answer["intensity"], answer["naturalness"]))
            elif secret.kind == "pair":
                left, right = secret.texts
                ask = design.values.index(design.items[item].ask)
                score = {"left": 1.0, "tie": 0.5, "right": 0.0}[answer["choice"]]
                pair.append((rater, openings[key.texts[left].prompt_id], ask, slot[left], slot[right], score))
    s = np.array(single, dtype=float).reshape(-1, 7)
    p = np.array(pair, dtype=float).reshape(-1, 6)
    whole, pairs = s[:, :5].astype(np.int64), p[:, :5].astype(np.int64)
    return Ratings(
        Singles(whole[:, 0], whole[:, 1], whole[:, 2], whole[:, 3], whole[:, 4], s[:, 5], s[:, 6]),
        # The first text of a pair is the one on the left.
        Pairs(pairs[:, 0], pairs[:, 1], pairs[:, 2], pairs[:, 3], pairs[:, 4], p[:, 5], np.ones(len(p), dtype=bool)),
    )
