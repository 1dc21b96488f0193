"""What a pilot of the research plan reported, beside what this run measured of the same quantity.

The pilot's figures, with the chance level each of them had or lacked and the emotions they are about, are data
(``plan.json``); this file says where a run holds the same quantity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from emotion_circuits.documents import loads
from emotion_circuits.language import N_, say, term
from emotion_circuits.page.numerals import estimate, interval, number, percent, signed
from emotion_circuits.page.page import Comparisons
from emotion_circuits.page.telling import Told, beside, figure_words
from emotion_circuits.report.questions import lead_claim
from emotion_circuits.stations.alignment.folder import AlignmentFolder
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.circuits.figures import moves
from emotion_circuits.stations.circuits.folder import CircuitsFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.steering.folder import SteeringFolder

__all__ = ["PlanRow", "plan_rows", "plan_table"]


@dataclass(frozen=True)
class PlanRow:
    """One quantity.

    Attributes:
        what: the quantity.
        phase: of the plan.
        pilot: what the pilot reported.
        level: its chance level, or why it had none.
        ours: this run's figure with what stands beside it.
        anchor: of the section that shows it.
        verdict: of the claim about it, where there is one.
        instead: shown where there is no verdict.
    """

    what: str
    phase: str
    pilot: str
    level: str
    ours: str
    anchor: str
    verdict: str
    instead: str


class _Run(NamedTuple):
    folder: Path
    aligned: Path | None
    claims: Sequence[Told]
    layers: int
    emotions: tuple[str, ...] = ()  # those that the quantity is about, where it is about some


class _Ours(NamedTuple):
    text: str
    anchor: str
    verdict: str = ""


def plan_table(rows: Sequence[PlanRow]) -> Comparisons:
    """The rows as a part of the page."""
    return Comparisons(
        "plan",
        say("Plan against measurement"),
        say(
            "Left: what the pilot of the plan reported, and the chance level or control that its figure had. Right: "
            "the same quantity in this run. Models and sentences differ, so figures are not to be compared digit by "
            "digit; what can be compared is whether they lie beyond chance. 'described': a property that is no claim."
        ),
        (say("quantity"), say("pilot"), say("the pilot's chance level or control"), say("this run"), say("verdict")),
        tuple(rows),
    )


def plan_rows(run: Path, aligned: Path | None, claims: Sequence[Told], manifest: dict[str, Any]) -> tuple[PlanRow, ...]:
    """Every quantity of the plan, with what a run and a comparison of two models say about it.

    Args:
        run: folder of a finished run.
        aligned: folder of a comparison with another model, where there is one.
        claims: of both.
        manifest: of the run.
    """
    data = loads((files("emotion_circuits.report") / "plan.json").read_text(encoding="utf-8"))
    about = _Run(run, aligned, claims, int(manifest["model"]["n_layers"]))
    rows = []
    for row in data:
        found = _MEASURES[row["id"]](about._replace(emotions=tuple(row.get("emotions", ()))))
        how = _HOW[row["id"]]
        ours = found or _Ours(say("not measured in this run: {how}", how=say(how)), "")
        instead = say("described") if found else say("not measured")
        what, phase, pilot, level = (say(row[key]) for key in ("what", "phase", "pilot", "level"))
        rows.append(PlanRow(what, phase, pilot, level, ours.text, ours.anchor, ours.verdict, instead))
    return tuple(rows)


def _sentences(run: _Run) -> _Ours | None:
    rows = CaptureFolder.of(run.folder).rows()
    return _Ours(
        say("{rows} sentences, {unique} of them unique", rows=len(rows), unique=rows["text"].nunique()), "method"
    )


def _cosine(extractor: str, pooling: str) -> Callable[[_Run], _Ours | None]:
    def measure(run: _Run) -> _Ours | None:
        table = DirectionsFolder.of(run.folder).cosines_by_extractor.read()
        own = table[
            (table["extractor"] == extractor)
            & (table["pooling"] == pooling)
            & (table["pair"] == " – ".join(run.emotions))
        ]
        if own.empty:
            return None
        row = own.iloc[-1]
        text = say(
            "{figure} at layer {layer}; shuffled labels {shared}",
            figure=estimate(row["cosine"], (row["low"], row["high"])), layer=row["layer"], shared=number(row["shared"]),
        )  # fmt: skip
        return _Ours(text, "geometry")

    return measure


def _strongest_layer(run: _Run) -> _Ours | None:
    folder = DirectionsFolder.of(run.folder)
    choice, norms = folder.choice.read(), folder.norms.read()
    extractor, kind, pooling = choice.steering.split(".")
    own = norms[(norms["extractor"] == extractor) & (norms["pooling"] == pooling) & (norms["kind"] == kind)]
    longest = own.groupby("layer")["relative"].mean().idxmax()
    text = say(
        "reads best at layer {best} of {layers} (chosen on validation); longest in residual norms at layer {longest}",
        best=choice.layer, layers=run.layers, longest=longest,
    )  # fmt: skip
    return _Ours(text, "norms")


def _overlap(run: _Run) -> _Ours | None:
    if run.aligned is None or not (table := AlignmentFolder.of(run.aligned).subspaces).exists():
        return None
    row = table.read().sort_values("k").iloc[-1]
    text = say(
        "{figure} (k = {k}); chance {chance}, random subspaces {null}",
        figure=number(row["overlap"]), k=row["k"], chance=number(row["chance"]), null=interval(row["null_low"], row["null_high"]),
    )  # fmt: skip
    return _Ours(text, "subspaces-aligned")


def _claimed(anchor: str, kind: str, *, metric: str = "", named: bool = False) -> Callable[[_Run], _Ours | None]:
    def measure(run: _Run) -> _Ours | None:
        own = [t for t in run.claims if t.claim.kind == kind and metric in ("", t.claim.about.metric)]
        if not own:
            return None
        told = lead_claim(own)
        figure, level, verdict = figure_words(told), beside(told), told.claim.verdict
        if not named:
            return _Ours(f"{figure}; {level}", anchor, verdict)
        name = say(", ").join(term(name) for name in told.claim.about.names())
        return _Ours(say("{name}: {figure}; {beside}", name=name, figure=figure, beside=level), anchor, verdict)

    return measure


def _place(run: _Run) -> _Ours | None:
    folder = SteeringFolder.of(run.folder)
    if folder.skipped is not None:
        return None
    chosen = folder.choice.read().conditions()
    if not chosen:
        return _Ours(say("no condition within the bound"), "steered")
    told = [
        say(
            "{emotion}: layer {layers}, alpha {alpha:g}",
            emotion=term(e), layers=" ".join(map(str, c.layers)), alpha=c.alpha,
        )
        + (say(", at the first token (the attention sink) {first:g}", first=c.first) if c.first else "")
        for e, c in chosen.items()
    ]  # fmt: skip
    return _Ours(
        say("{conditions} (in residual norms, chosen on validation)", conditions=say("; ").join(told)), "steering-grid"
    )


def _one_head(run: _Run) -> _Ours | None:
    if not (file := CircuitsFolder.of(run.folder).heads).exists():
        return None
    table = file.read()
    heads = table[(table["kind"] == "head") & table["effect"].notna()]
    if heads.empty:
        return None
    row = heads.iloc[int(heads["share"].abs().to_numpy().argmax())]
    text = say(
        "largest of {n} measured: {node}, {share} of the gap; {sure} of them beyond random answers",
        n=len(heads), node=row["node"], share=signed(float(row["share"])), sure=int(moves(heads).sum()),
    )  # fmt: skip
    return _Ours(text, "head-grids")


def _patched_words(run: _Run) -> _Ours | None:
    if not (file := CircuitsFolder.of(run.folder).patched).exists():
        return None
    table = file.read()
    (emotion,) = run.emotions
    if f"n_{emotion}" not in table:
        return None
    share = {
        arm: float((rows[f"n_{emotion}"] > 0).mean())
        for arm, rows in table[table["emotion"].isin([emotion, ""])].groupby("arm")
    }
    if not {"plain", "circuit"} <= set(share):
        return None
    text = say(
        "texts with such a word: {plain} → {patched}", plain=percent(share["plain"]), patched=percent(share["circuit"])
    )
    return _Ours(text, "patched-texts")


_MEASURES: dict[str, Callable[[_Run], _Ours | None]] = {
    "sentences": _sentences,
    "cosine-last": _cosine("mean_difference", "last"),
    "cosine-token": _cosine("token", "emotion"),
    "strongest-layer": _strongest_layer,
    "overlap": _overlap,
    "after-map": _claimed("geometry-aligned", "alignment.geometry"),
    "injection": _claimed("steered", "steering.effect", metric="share", named=True),
    "place": _place,
    "attention": _claimed("attention", "trace.attention", named=True),
    "one-head": _one_head,
    "patched-sentiment": _claimed("circuits", "circuits.patched", named=True),
    "patched-words": _patched_words,
}

_PATCH = N_("set circuits.generation_prompts (the baseline profile does)")
_HOW = {
    "sentences": N_("no sentences"),
    "cosine-last": N_("the profile compares one pooling per extractor (directions.geometry)"),
    "cosine-token": N_("the direction set is not among directions.extractors"),
    "strongest-layer": N_("no directions"),
    "overlap": N_("needs emotion-circuits align with a model of the same width"),
    "after-map": N_("needs emotion-circuits align"),
    "injection": N_("no condition within the bound"),
    "place": N_("no condition within the bound"),
    "attention": N_("no sentences for it"),
    "one-head": N_("no pair aligns under this tokenizer"),
    "patched-sentiment": _PATCH,
    "patched-words": _PATCH,
}
