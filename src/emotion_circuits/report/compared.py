"""Runs beside one another, by question: what each run's report answers, and the claims and settings in which they differ."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emotion_circuits.language import N_, gap, say, speaking, spoken_option, term
from emotion_circuits.page.abreast import Abreast, Cell, Row, Strip
from emotion_circuits.page.numerals import probability
from emotion_circuits.page.page import Answer, Asked, Page, Section, write_page
from emotion_circuits.page.telling import Told, beside, figure_words
from emotion_circuits.page.words import Aspect, place_of
from emotion_circuits.prompts import load_attribute
from emotion_circuits.record.reading import RunFolder
from emotion_circuits.record.studied import studied_in
from emotion_circuits.report.asked import QUESTIONS
from emotion_circuits.report.questions import answer_questions
from emotion_circuits.report.study_page import Further, aligned_of, aspects_with, model_called, told_of
from emotion_circuits.study.comparing import SIDES, compare_runs

__all__ = ["Answered", "Compared", "answered", "compared", "render_comparison", "run_names"]

_LONGEST = 300
"""Letters of a setting that are shown."""

_DIFFERS = {"verdict": N_("verdicts differ"), "part": N_("parts differ"), "intervals apart": N_("intervals apart")}
"""Flags of :func:`emotion_circuits.study.comparing.compare_runs` as they are read."""


@dataclass(frozen=True)
class Answered:
    """A run with what its report says, in the language that is spoken.

    Attributes:
        name: short, and its own among the runs it is compared with.
        run: its folder; its claims are all that the report tells.
        claims: the same in words.
        answers: to the five questions, in their order.
        aspects: what its claims may answer.
    """

    name: str
    run: RunFolder
    claims: tuple[Told, ...]
    answers: tuple[Answer, ...]
    aspects: tuple[Aspect, ...]


@dataclass(frozen=True)
class Compared:
    """A written page.

    Attributes:
        path: of the HTML file.
        page: what it holds.
        missing: sentences that the catalogue of its language lacks.
    """

    path: Path
    page: Page
    missing: frozenset[str]


def run_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Short names of runs: as much of the end of each path as tells all of them apart.

    >>> run_names([Path("runs/demo"), Path("runs/gemma3")])
    ('demo', 'gemma3')
    >>> run_names([Path("/a/run"), Path("/b/run"), Path("/b/run")])
    ('a/run', 'b/run', 'b/run (2)')
    """
    parts = [folder.resolve().parts for folder in folders]
    different = len(set(parts))
    length = next(n for n in range(1, max(map(len, parts)) + 1) if len({p[-n:] for p in parts}) == different)
    names = ["/".join(p[-length:]) for p in parts]
    before = [names[:i].count(name) for i, name in enumerate(names)]
    return tuple(f"{name} ({n + 1})" if n else name for name, n in zip(names, before, strict=True))


def answered(runs: Sequence[RunFolder], further: Sequence[Sequence[Further]] = ()) -> tuple[Answered, ...]:
    """What each run's own report answers; nothing is decided anew.

    Args:
        runs: of :func:`emotion_circuits.record.reading.open_run`.
        further: per run, what others found out about it; nothing by default.

    Raises:
        EmotionCircuitsError: a claim of a kind that no station declares.
    """
    found = []
    others = further or [()] * len(runs)
    for name, run, known in zip(run_names([run.folder for run in runs]), runs, others, strict=True):
        claims = told_of(run.folder, aligned_of(run.folder), known)
        told_first = aspects_with(known)
        answers = answer_questions(claims, str(run.folder), told_first)
        whole = replace(run, claims={told.claim.id: told.claim for told in claims})
        found.append(Answered(name, whole, claims, answers, told_first))
    return tuple(found)


def compared(runs: Sequence[Answered]) -> dict[str, Any]:
    """What :func:`emotion_circuits.study.comparing.compare_runs` finds, by question; ready for JSON.

    Args:
        runs: of :func:`answered`.

    Returns:
        Its keys; beside them ``runs``: per run its ``side`` (``a`` …), ``name``, ``folder``, and whether it has ``finished``;
        ``questions``: per question its ``key``, the ``question``, and per run ``studied``, ``verdict`` and ``gist``; each claim's
        ``question`` (its key; ``None`` for a claim that answers none). Claims stand in the order of the questions.
    """
    found = compare_runs(*(run.run for run in runs))
    sides = SIDES[: len(runs)]
    belongs = _belongs(runs)
    claims = [
        {**row, "question": belongs[row["id"]][1].question if row["id"] in belongs else None} for row in found["claims"]
    ]
    order = [question.key for question in QUESTIONS]
    last = (len(order), 0)
    claims.sort(key=lambda row: (order.index(row["question"]), belongs[row["id"]][0]) if row["id"] in belongs else last)
    return {
        **found,
        "claims": claims,
        "runs": [
            {"side": side, "name": run.name, "folder": str(run.run.folder), "finished": bool(run.run.manifest)}
            for side, run in zip(sides, runs, strict=True)
        ],
        "questions": [
            {
                "key": question.key,
                "question": say(question.text),
                **{
                    side: {
                        "studied": bool(run.answers[i].evidence),
                        "verdict": run.answers[i].verdict,
                        "gist": run.answers[i].gist,
                    }
                    for side, run in zip(sides, runs, strict=True)
                },
            }
            for i, question in enumerate(QUESTIONS)
        ],
    }


def render_comparison(
    runs: Sequence[RunFolder], out: Path, *, language: str = "en", further: Sequence[Sequence[Further]] = ()
) -> Compared:
    """Write the page of several runs beside one another.

    Args:
        runs: two or more, finished or not, of any models and attributes.
        out: the HTML file.
        language: of the page, one of :data:`emotion_circuits.language.LANGUAGES`.
        further: per run, what others found out about it.

    Raises:
        EmotionCircuitsError: fewer than two runs; no such language; a claim of a kind that no station declares; the file
            cannot be written.
    """
    with speaking(language, _words(runs, language)) as spoken:
        page = _page(answered(runs, further), out)
        write_page(page, out)
    return Compared(out, page, frozenset(spoken.missing))


def _words(runs: Sequence[RunFolder], language: str) -> dict[str, str]:
    """Words of everything that the runs study."""
    found: dict[str, str] = {}
    for run in reversed(runs):
        if "studied" in run.manifest:
            found |= studied_in(run.manifest).attribute.terms(language)
        elif "attribute" in run.config:
            found |= load_attribute(run.config["attribute"]).terms(language)
    return found


def _belongs(runs: Sequence[Answered]) -> dict[str, tuple[int, Aspect]]:
    """By its id, what each claim answers, with its place among all that is answered; without those that answer nothing."""
    aspects: list[Aspect] = []
    for aspect in (aspect for run in runs for aspect in run.aspects):
        if aspect not in aspects:
            aspects.append(aspect)
    placed = {told.claim.id: place_of(told.claim, aspects) for run in reversed(runs) for told in run.claims}
    asked = {question.key for question in QUESTIONS}
    return {
        name: (place, aspects[place])
        for name, place in placed.items()
        if place is not None and aspects[place].question in asked
    }


def _page(runs: Sequence[Answered], out: Path) -> Page:
    found = compared(runs)
    folders = " ".join(shlex.quote(str(run.run.folder)) for run in runs)
    return Page(
        title=say("Runs compared"),
        lead=_lead(runs, found["claims"]),
        facts=tuple((run.name, _fact(run)) for run in runs),
        asked=tuple(
            Asked(
                question.key,
                say(question.text),
                tuple((run.name, run.answers[i]) for run in runs),
                len({run.answers[i].verdict for run in runs if run.answers[i].verdict}) > 1,
                _claims(question.key, say(question.text), runs, found["claims"]),
            )
            for i, question in enumerate(QUESTIONS)
        ),
        sections=_sections(runs, found),
        command=f"emotion-circuits runs compare {folders} --out {shlex.quote(str(out))}{spoken_option()}",
        manifest={run.name: run.run.manifest for run in runs},
    )


def _lead(runs: Sequence[Answered], claims: Sequence[Mapping[str, Any]]) -> str:
    shared = [row for row in claims if not _alone(row)]
    said = [
        say(
            "{n} runs beside one another: what the report of each says to the same five questions. {shared} claims are made "
            "by all of them: of these {differ} come to different verdicts, and {apart} have intervals that do not overlap. "
            "{alone} are made by some of them only.",
            n=len(runs), shared=len(shared), differ=sum("verdict" in row["flags"] for row in shared),
            apart=sum("intervals apart" in row["flags"] for row in shared), alone=len(claims) - len(shared),
        )
    ]  # fmt: skip
    attributes = dict.fromkeys(str(run.run.config.get("attribute")) for run in runs if run.run.config)
    if len(attributes) > 1:
        said.append(
            say(
                "They do not study the same thing ({names}): claims stand beside one another where they have one name.",
                names=say(", ").join(attributes),
            )
        )
    said.append(
        say(
            "Verdicts that differ are no test of a difference: one figure may lie just beyond a bound and the other just "
            "short of it."
        )
    )
    return gap().join(said)


def _alone(row: Mapping[str, Any]) -> bool:
    return any(flag.startswith("only in ") for flag in row["flags"])


def _fact(run: Answered) -> str:
    manifest, said = run.run.manifest, []
    if "model" in manifest:
        model = manifest["model"]
        said.append(
            say(
                "{name} ({family}, {layers} layers, width {width})",
                name=model_called(model), family=model["family"], layers=model["n_layers"], width=model["d_model"],
            )
        )  # fmt: skip
    if "studied" in manifest:
        about = studied_in(manifest)
        values = say(", ").join(term(value) for value in about.values)
        said.append(say("{name} ({values})", name=about.attribute.name, values=values))
    if not manifest:
        said.append(say("has not finished"))
    return say("; ").join([*said, str(run.run.folder)])


def _claims(key: str, title: str, runs: Sequence[Answered], claims: Sequence[Mapping[str, Any]]) -> Abreast | None:
    """The claims of one question, a column per run."""
    belongs = _belongs(runs)
    told = [{told.claim.id: told for told in run.claims} for run in runs]
    rows = []
    for row in (row for row in claims if row["question"] == key):
        name = row["id"]
        aspect = belongs[name][1] if name in belongs else None
        asked = "" if aspect is None else say(aspect.name)
        rows.append(_claim(row, asked, [own.get(name) for own in told], [run.name for run in runs]))
    if not rows:
        return None
    return Abreast(
        f"claims-{key}",
        title,
        say(
            "Each run's estimate [95 % interval], what stands beside it, and q, corrected within that run's own family. The "
            "lines of a row share one scale: the dot is the figure, the bar its interval, the mark the chance level, the grey "
            "band what the null gives."
        ),
        say("claim"),
        tuple(run.name for run in runs),
        tuple(rows),
        say("not in this run"),
        say("difference"),
    )


def _claim(row: Mapping[str, Any], name: str, told: Sequence[Told | None], runs: Sequence[str]) -> Row:
    there = [own for own in told if own is not None]
    common = [n for n in there[0].claim.about.names() if all(n in own.claim.about.names() for own in there)]
    words = " ".join(term(n) for n in common)
    strips = [_strip(own) for own in told]
    marks = [mark for strip in strips if strip is not None for mark in strip.marks()]
    cells = tuple(
        None
        if own is None
        else Cell(
            figure_words(own),
            say("; ").join(_beside(own, common)),
            own.claim.verdict,
            None if strip is None else replace(strip, span=(min(marks), max(marks))),
            own.notes,
        )
        for own, strip in zip(told, strips, strict=True)
    )
    return Row(
        say("{name}: {unit}", name=name, unit=words) if name and words else name or words or row["id"],
        cells,
        there[0].unit,
        row["id"],
        say(", ").join(_differs(flag, runs) for flag in row["flags"]),
        _statements([(run, own) for run, own in zip(runs, told, strict=True) if own is not None]),
    )


def _statements(told: Sequence[tuple[str, Told]]) -> tuple[tuple[str, str], ...]:
    """Each statement once, with the runs that make it."""
    found: dict[str, list[str]] = {}
    for run, own in told:
        found.setdefault(own.statement, []).append(run)
    return tuple((say(", ").join(by), statement) for statement, by in found.items())


def _beside(told: Told, common: Sequence[str]) -> list[str]:
    """What stands below a figure: what only this run's claim is about, chance and null, and q."""
    figures = told.claim.figures
    own = [term(name) for name in told.claim.about.names() if name not in common]
    reference = [beside(told)] if figures.chance is not None or figures.null else []
    return [
        *own,
        *reference,
        *([] if figures.q is None else [f"q {_equal(figures.q)}".replace(" ", "\N{NO-BREAK SPACE}")]),
    ]


def _equal(q: float) -> str:
    shown = probability(q)
    return shown if shown.startswith("<") else f"= {shown}"


def _differs(flag: str, runs: Sequence[str]) -> str:
    if flag in _DIFFERS:
        return say(_DIFFERS[flag])
    sides = flag.removeprefix("only in ").split(", ")
    return say("only in {names}", names=say(", ").join(runs[SIDES.index(side)] for side in sides))


def _strip(told: Told | None) -> Strip | None:
    if told is None or told.claim.figures.interval is None:
        return None
    figures, shown = told.claim.figures, f"{figure_words(told)} {told.unit}; {beside(told)}"
    return Strip(
        told.statement, shown, figures.estimate, told.claim.figures.interval, figures.chance, figures.null,
        told.claim.verdict, figure_words(told),
    )  # fmt: skip


def _sections(runs: Sequence[Answered], found: Mapping[str, Any]) -> tuple[Section, ...]:
    """Claims that answer no question, then what was asked and chosen differently."""
    other = _claims_of_none(runs, found["claims"])
    settings = say("What only some of the runs have is marked by a dash in the others; all else is the same.")
    parts = (
        ("settings", say("Settings that differ"), found["config"]),
        ("choices", say("Choices on validation that differ"), found["choices"]),
        ("environment", say("Model, data and packages that differ"), found["environment"]),
    )
    return (
        *(() if other is None else (Section("other", other.title, (), (), (other,)),)),
        *(
            Section(name, title, (), (), (_values(name, title, settings, rows, runs),))
            if rows
            else Section(name, title, (say("Nothing differs."),))
            for name, title, rows in parts
        ),
    )


def _claims_of_none(runs: Sequence[Answered], claims: Sequence[Mapping[str, Any]]) -> Abreast | None:
    rows = [{**row, "question": "other"} for row in claims if row["question"] is None]
    return _claims("other", say("Claims that answer none of the questions"), runs, rows)


def _values(
    name: str, title: str, caption: str, rows: Sequence[Mapping[str, Any]], runs: Sequence[Answered]
) -> Abreast:
    return Abreast(
        f"{name}-table",
        title,
        caption,
        say("setting") if name == "settings" else say("what"),
        tuple(run.name for run in runs),
        tuple(
            Row(
                f"{row['stage']}: {row['key']}" if "stage" in row else row["key"],
                tuple(None if row[side] is None else Cell(_short(row[side])) for side in SIDES[: len(runs)]),
            )
            for row in rows
        ),
        "–",
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
