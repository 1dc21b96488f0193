"""The page of a human study."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from emotion_circuits.human.analysing import Analysis, confusion
from emotion_circuits.human.records import Study
from emotion_circuits.human.words import KINDS
from emotion_circuits.language import say, speaking, spoken_option, term
from emotion_circuits.page.figures import CYCLE, GREY, dress
from emotion_circuits.page.page import Figure, Page, Section, Table, write_page
from emotion_circuits.page.telling import Told, counted, tell

__all__ = ["read_by_people", "write_human_page"]


def write_human_page(folder: Path, study: Study, found: Analysis, *, language: str = "en") -> Path:
    """Write ``analysis.html`` into the folder of a study; returns its path.

    Args:
        folder: of the study.
        study: with its key.
        found: what came of it.
        language: of the page.
    """
    path = folder / "analysis.html"
    with speaking(language, study.design.labels.get(language, {})):
        write_page(_page(folder, study, found), path)
    return path


def _page(folder: Path, study: Study, found: Analysis) -> Page:
    design = study.design
    verdicts = ", ".join(f"{term(verdict)} {n}" for verdict, n in counted(found.claims))
    facts = (
        (say("study"), found.study),
        (say("run"), study.key.run),
        (say("raters"), say("{kept} of {all}", kept=len(found.raters) - len(found.excluded), all=len(found.raters))),
        (say("ratings"), say("{singles} of single texts, {pairs} of pairs", singles=found.ratings[0], pairs=found.ratings[1])),
        (say("verdicts"), verdicts or "–"),
    )  # fmt: skip
    sections = (_claims(found), _understood(found), _pairs(found), _raters(found), _judges(found))
    return Page(
        say("What people read"),
        say(
            "Do people feel what the figures say? All hypotheses, tests and rules were declared before anybody had rated."
        ),
        facts,
        sections,
        f"emotion-circuits human analyse {folder}{spoken_option()}",
        design.model_dump(mode="json", exclude={"items", "forms", "words", "labels"}),
    )


def read_by_people(found: Analysis, claims: Sequence[Told]) -> tuple[Section, ...]:
    """One section for the report of the run whose texts were read: claims, what was understood, and judges beside people.

    Args:
        found: of the study.
        claims: its claims, told.
    """
    own = (_claims(found), _understood(found), _judges(found))
    prose = say(
        "{kept} of {all} raters count by the rules that were declared before anybody had rated; they gave {singles} ratings of "
        "single texts and {pairs} of pairs.",
        kept=len(found.raters) - len(found.excluded), all=len(found.raters), singles=found.ratings[0], pairs=found.ratings[1],
    )  # fmt: skip
    return (
        Section(
            "human", say("What people read"), (prose, *(line for part in own for line in part.prose)), tuple(claims),
            tuple(part for section in own for part in section.parts),
        ),
    )  # fmt: skip


def _claims(found: Analysis) -> Section:
    of_all = {c.id: c for c in found.claims_of_all}
    rows = pd.DataFrame(
        [
            {
                "claim": c.id.removeprefix("human."), "verdict": c.verdict, "estimate": c.figures.estimate,
                "with everybody": of_all[c.id].figures.estimate, "verdict with everybody": of_all[c.id].verdict,
            }
            for c in found.claims
        ]
    )  # fmt: skip
    prose = say(
        "Raters and openings are both a sample: intervals are over both. All hypotheses are corrected together. A null result is "
        "one where the interval rules out the smallest effect that matters."
    )
    table = Table(
        "excluded",
        say("With and without the raters who are left out"),
        say("One row per hypothesis."),
        rows,
        folded=True,
    )
    return Section("claims", say("What was declared"), (prose,), tell(found.claims, KINDS), (table,))


def _understood(found: Analysis) -> Section:
    named = pd.DataFrame(confusion(found))
    arms = pd.DataFrame(
        [
            {
                "arm": r.arm, "value": r.value, "naturalness": r.naturalness,
                **_ends("naturalness_", r.naturalness_interval), "intensity": r.intensity,
                **_ends("intensity_", r.intensity_interval), "ratings": r.ratings,
            }
            for r in found.arms
        ]
    )  # fmt: skip
    parts = (
        Figure(
            "named", say("Which emotion people name"),
            say("A row per arm and value meant; shares of ratings, which sum to 1."), _matrix(named),
        ),
        Table("named-table", say("Which emotion people name"), say("Shares of ratings."), named, folded=True),
        Table(
            "arms", say("Naturalness and intensity"),
            say("Naturalness from 1 to 7, intensity from 0 to 6; 95 % intervals over raters and openings."), arms,
        ),
    )  # fmt: skip
    return Section("understood", say("What was understood"), (), (), parts)


def _ends(name: str, interval: tuple[float, float] | None) -> dict[str, float]:
    low, high = interval or (float("nan"), float("nan"))
    return {f"{name}low": low, f"{name}high": high}


def _matrix(named: pd.DataFrame) -> go.Figure:
    labels = [c for c in named.columns if c not in ("arm", "meant", "ratings")]
    rows = [" – ".join(term(part) for part in (r["arm"], r["meant"]) if part) for r in named.to_dict("records")]
    figure = go.Figure(
        go.Heatmap(
            z=named[labels].to_numpy().tolist(), x=[term(label) for label in labels], y=rows, zmin=0, zmax=1,
            colorscale="Cividis", texttemplate="%{z:.2f}", showscale=False,
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    dress(figure, 160 + 34 * max(len(rows), 1))
    return figure.update_layout(margin={"l": 170})


def _pairs(found: Analysis) -> Section:
    rows = pd.DataFrame(
        [
            {
                "value": r.value,
                "arm": r.arm,
                "log_strength": r.strength,
                **_ends("log_strength_", r.interval),
                "comparisons": r.comparisons,
            }
            for r in found.strengths
        ]
    )
    prose = say(
        "Strengths of Bradley and Terry in logits, unsteered texts at 0; a tie is half a win for both, and one tie is added to "
        "every pair of arms."
    )
    table = Table("strengths", say("Strengths from pairs"), say("95 % intervals over raters and openings."), rows)
    return Section("pairs", say("Side by side"), (prose,), (), (table,) if len(rows) else ())


def _raters(found: Analysis) -> Section:
    agreement = pd.DataFrame(
        [
            {
                "scale": r.scale, "alpha": r.alpha, **_ends("alpha_", r.by_text), **_ends("by_rater_", r.by_rater),
                "texts": r.texts, "raters": r.raters,
            }
            for r in found.agreement
        ]
    )  # fmt: skip
    people = pd.DataFrame([{**r.model_dump(), "reasons": ", ".join(r.reasons)} for r in found.raters])
    parts = (
        Table(
            "agreement", say("Agreement"),
            say(
                "Krippendorff's alpha: nominal for the emotion, ordinal for the scales; 1 is agreement, 0 is chance. Intervals "
                "resample texts, and in the column beside it raters."
            ),
            agreement,
        ),
        Table("raters", say("Raters by the rules"), say("One reason is enough to be left out."), people, folded=True),
    )  # fmt: skip
    return Section("raters", say("Raters"), (), (), parts)


def _judges(found: Analysis) -> Section:
    rows = pd.DataFrame(
        [
            {
                "judge": r.judge, "value": r.value, "icc": r.icc, **_ends("icc_", r.interval), "bias": r.bias, "texts": r.texts,
            }
            for r in found.judges
        ]
    )  # fmt: skip
    if rows.empty:
        return Section("judges", say("Judges against people"), (say("No judge of the run scored these texts."),))
    prose = say(
        "Absolute agreement (ICC) of a judge's probability with the share of raters who name the value, text by text. Few raters "
        "per text make that share coarse, which lowers it."
    )
    figure = go.Figure()
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line={"color": GREY, "dash": "dot"}, showlegend=False)
    for index, judged in enumerate(found.judges):
        figure.add_scatter(
            x=[b.judge for b in judged.curve], y=[b.people for b in judged.curve], mode="lines+markers",
            name=f"{judged.judge}, {term(judged.value)}", line={"color": CYCLE[index % len(CYCLE)]},
        )  # fmt: skip
    figure.update_xaxes(title=say("probability by the judge"), range=[0, 1])
    figure.update_yaxes(title=say("share of raters"), range=[0, 1])
    dress(figure, 420)
    parts = (
        Table("judges", say("Judges against people"), say("95 % intervals resample openings."), rows),
        Figure(
            "calibration",
            say("Calibration by people"),
            say("Fifths of the texts by probability; dotted: equal."),
            figure,
        ),
    )
    return Section("judges", say("Judges against people"), (prose,), (), parts)
