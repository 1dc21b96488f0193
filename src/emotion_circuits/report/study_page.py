"""From a run's folder to its report: the five questions of the study, each with claims, figures and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import say, term
from emotion_circuits.report.align_page import aligned_models, alignment_section
from emotion_circuits.report.appearance import shown_as
from emotion_circuits.report.circuit_section import circuit_sections
from emotion_circuits.report.direction_sections import geometry_section, reading_section
from emotion_circuits.report.facts import aligned_facts, run_facts
from emotion_circuits.report.page import Page, Section, write_page
from emotion_circuits.report.parts import read_json
from emotion_circuits.report.plan import plan_rows, plan_table
from emotion_circuits.report.questions import answer_questions
from emotion_circuits.report.steering_section import steering_sections
from emotion_circuits.report.telling import Told, tell
from emotion_circuits.report.trace_section import trace_section
from emotion_circuits.study.studied import Studied, studied_in

__all__ = ["Report", "read_claims", "render_report", "summary_table", "write_report"]

REPORT = "report.html"


@dataclass(frozen=True)
class Report:
    """A written report.

    Attributes:
        path: of the HTML file.
        page: what it holds.
        missing: sentences that the catalogue of its language lacks.
    """

    path: Path
    page: Page
    missing: frozenset[str]


def write_report(
    run: Path | str, *, out: Path | None = None, language: str = "en", aligned: Path | str | None = None
) -> Path:
    """Write a run's report and return its path; see :func:`render_report`."""
    return render_report(run, out=out, language=language, aligned=aligned).path


def render_report(
    run: Path | str, *, out: Path | None = None, language: str = "en", aligned: Path | str | None = None
) -> Report:
    """Write a run's report from its artefacts; nothing is computed anew.

    Args:
        run: folder of a finished run.
        out: the HTML file; ``report.html`` in the run's folder by default, with the language's code where that is not English.
        language: ``en`` or ``ja``.
        aligned: folder of a comparison with another model; ``aligned`` in the run's folder where that exists.

    Raises:
        EmotionCircuitsError: not the folder of a finished run or of a comparison, or no such language.
    """
    run = Path(run)
    manifest = read_json(run / "manifest.json")
    folder = _aligned(run, aligned)
    path = out or run / (REPORT if language == "en" else f"report.{language}.html")
    about = studied_in(manifest)
    with shown_as(about.attribute, language) as spoken:
        page = _page(run, manifest, folder, about)
        write_page(page, path)
    return Report(path, page, frozenset(spoken.missing))


def read_claims(run: Path | str) -> list[dict[str, Any]]:
    """All claims of a run, in the order of its stations."""
    found: list[dict[str, Any]] = []
    for stage in ("directions", "trace", "steering", "circuits"):
        found += read_json(Path(run) / stage / "claims.json")
    return found


def summary_table(run: Path | str) -> list[dict[str, str]]:
    """One line per claim: finding, figure, unit, interval, reference (chance level or null interval), verdict."""
    rows = []
    for claim in read_claims(run):
        reference = "" if claim["chance"] is None else f"{claim['chance']:.3g}"
        if claim["null_interval"]:
            low, high = claim["null_interval"]
            reference = f"{low:+.3f} … {high:+.3f}"
        interval = claim["interval"]
        rows.append(
            {
                "finding": claim["id"],
                "figure": f"{claim['estimate']:+.3f}",
                "unit": claim["unit"],
                "interval": f"[{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else "–",
                "reference": reference,
                "verdict": claim["verdict"],
            }
        )
    return rows


def _aligned(run: Path, given: Path | str | None) -> Path | None:
    folder = run / "aligned" if given is None else Path(given)
    if (folder / "claims.json").exists() and (folder / "alignment.parquet").exists():
        return folder
    if given is not None:
        raise EmotionCircuitsError(
            f"{folder}: holds no comparison of two models; make one with emotion-circuits align {run} OTHER_RUN --out {folder}"
        )
    return None


def _page(run: Path, manifest: dict[str, Any], aligned: Path | None, about: Studied) -> Page:
    model, config = manifest["model"], manifest["config"]
    claims = tell(read_claims(run), run_facts(run, manifest))
    beside = () if aligned is None else tell(read_json(aligned / "claims.json"), aligned_facts(aligned))
    every = (*claims, *beside)
    emotions = say(", ").join(term(e) for e in about.values)
    return Page(
        title=say("Emotion in {model}", model=model["name"]),
        lead=_lead(manifest, every, emotions),
        facts=_facts(manifest, about, emotions),
        answers=answer_questions(every, str(run)),
        sections=(
            _plan_section(run, aligned, every, manifest),
            reading_section(run, claims),
            geometry_section(run, claims),
            trace_section(run, claims),
            *steering_sections(run, claims, config, about.judge),
            *circuit_sections(run, claims),
            *_stability(aligned, beside),
            _method_section(run),
        ),
        command=manifest["command"],
        manifest=manifest,
    )


def _lead(manifest: dict[str, Any], claims: tuple[Told, ...], emotions: str) -> str:
    model = manifest["model"]
    verdicts = [told.claim["verdict"] for told in claims]
    return say(
        "{model} ({family}, {layers} layers, width {width}) was given {rows} sentences of {emotions} and neutral "
        "ones. Of {total} claims, {supported} are supported, {refuted} are not supported, {open} are inconclusive. "
        "Directions were fitted on training sentences, choices made on validation, and every figure here is from "
        "held-out test sentences or openings unless it says otherwise.",
        model=model["name"], family=model["family"], layers=model["n_layers"], width=model["d_model"],
        rows=manifest["data"]["prompts"]["rows"], emotions=emotions, total=len(claims), supported=verdicts.count("supported"),
        refuted=verdicts.count("not supported"), open=verdicts.count("inconclusive"),
    )  # fmt: skip


def _facts(manifest: dict[str, Any], about: Studied, emotions: str) -> tuple[tuple[str, str], ...]:
    model = manifest["model"]
    data = manifest["data"]["prompts"]
    return (
        (
            say("model"),
            say(
                "{name} ({family}, {layers} layers, width {width})",
                name=model["name"], family=model["family"], layers=model["n_layers"], width=model["d_model"],
            ),
        ),
        (say("weights"), f"sha256 {model['weights_sha256'][:16]}…"),
        (say("sentences"), say("{rows} from {sets}", rows=data["rows"], sets=", ".join(about.fit))),
        (say("emotions"), say("{emotions}; neutral is the reference", emotions=emotions)),
        (say("splits"), say("fitted on train, chosen on validation, reported on test; groups are never divided")),
        (say("seed"), str(manifest["seed"])),
    )  # fmt: skip


def _plan_section(run: Path, aligned: Path | None, claims: tuple[Told, ...], manifest: dict[str, Any]) -> Section:
    table = plan_table(plan_rows(run, aligned, claims, manifest))
    return Section("plan-section", table.title, (), (), (table,))


def _stability(aligned: Path | None, claims: tuple[Told, ...]) -> tuple[Section, ...]:
    if aligned is None:
        return ()
    first, second = aligned_models(aligned)
    title = say("Do the directions of {first} do their work in {second}?", first=first, second=second)
    return (alignment_section(aligned, claims, title=title),)


def _method_section(run: Path) -> Section:
    store = pd.read_parquet(run / "capture" / "rows.parquet")
    excluded = int((~store["has_emotion"]).sum())
    return Section(
        "method",
        say("What stands behind the figures"),
        (
            say(
                "alpha is a fraction of the layer's residual norm. The first token, an attention sink, is left out "
                "of every mean and norm. Emotion words are located by character offsets; neutral sentences take a "
                "position-matched token of their own group. {excluded} of {total} sentences have no such token and "
                "are left out of the token-based directions, and only of those.",
                excluded=excluded, total=len(store),
            ),
            say(
                "Both arms of every comparison share openings, random draws and decoding. Only the continuation is "
                "scored, by evaluators that do not know the condition. p-values are from paired permutation tests, "
                "q-values from one declared family per table. Intervals are 95 % cluster bootstraps over groups or "
                "prompts."
            ),
        ),
    )  # fmt: skip
