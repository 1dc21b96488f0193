"""A comparison of two models: its page, and its section in a study's page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions import Comparison
from emotion_circuits.language import say, spoken_option, term
from emotion_circuits.paths import write_json, write_table
from emotion_circuits.report.direction_figures import alignment_dots, overlap_by_k
from emotion_circuits.report.facts import aligned_facts
from emotion_circuits.report.numerals import interval, number
from emotion_circuits.report.page import Figure, Page, Part, Section, Table, Texts, write_page
from emotion_circuits.report.parts import read_json
from emotion_circuits.report.telling import Told, tell
from emotion_circuits.statistics import Claim
from emotion_circuits.study.aligning import MappedSteering

__all__ = ["aligned_models", "alignment_section", "write_alignment"]


def write_alignment(
    folder: Path,
    a: ActivationStore,
    b: ActivationStore,
    found: Comparison,
    claims: Sequence[Claim],
    steered: MappedSteering | None = None,
) -> Path:
    """Write tables (Parquet), claims (JSON), the mapped directions and ``align.html`` into a folder; returns the page.

    Args:
        folder: made where it is missing.
        a: the first model's capture.
        b: the second's.
        found: the comparison.
        claims: of the comparison.
        steered: what steering with mapped directions did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("similarity", "alignment", "subspaces"):
        if len(getattr(found, name)):
            write_table(getattr(found, name), folder / f"{name}.parquet")
    found.mapped().save(folder)
    write_json(folder / "claims.json", [c.model_dump(mode="json") for c in claims])
    if steered is not None:
        write_table(steered.effects, folder / "steering.parquet")
        write_table(steered.scored, folder / "texts.parquet")
    names = [str(s.manifest["model"]["name"]) for s in (a, b)]
    told = tell(read_json(folder / "claims.json"), aligned_facts(folder))
    facts = (
        (say("first model"), say("{name} (width {width})", name=names[0], width=a.d_model)),
        (say("second model"), say("{name} (width {width})", name=names[1], width=b.d_model)),
        (
            say("sentences"),
            say("{a} and {b} captured; maps fitted on neutral training sentences alone", a=len(a.rows), b=len(b.rows)),
        ),
    )
    path = folder / "align.html"
    lead = say(
        "Do the emotion directions of {a} do their work in {b}? {supported} of {total} claims supported.",
        a=names[0], b=names[1], supported=sum(c.verdict == "supported" for c in claims), total=len(claims),
    )  # fmt: skip
    command = f"emotion-circuits align {a.folder} {b.folder} --out {folder}{spoken_option()}"
    section = alignment_section(folder, told, title=f"{names[0]} → {names[1]}")
    write_page(Page(say("Two models"), lead, facts, (section,), command, {"a": a.manifest, "b": b.manifest}), path)
    return path


def aligned_models(folder: Path) -> tuple[str, str]:
    """Names of the two models that a folder compares."""
    for path in sorted(folder.glob("mapped.*.json")):
        about = read_json(path)["fit"]
        return str(about["from"]["name"]), str(about["to"]["name"])
    return "?", "?"


def alignment_section(folder: Path, claims: tuple[Told, ...], *, title: str) -> Section:
    """What a comparison's folder holds.

    Args:
        folder: written by :func:`write_alignment`.
        claims: of the comparison.
        title: heading.
    """
    alignment = pd.read_parquet(folder / "alignment.parquet")
    row = aligned_facts(folder).alignment
    parts: list[Part] = [*_figures(alignment, row), *_tables(folder, alignment)]
    if (folder / "texts.parquet").exists():
        parts[2:2] = [_texts(pd.read_parquet(folder / "texts.parquet"))]
    prose = say(
        "The same sentences went through both models. A map from the first model's states to the second's is fitted "
        "on neutral training sentences, so it knows nothing of emotion; the first model's emotion directions are "
        "carried over by it. Claims are about the layers and method whose map predicts neutral validation sentences "
        "best: layer {a} → {b} ({matching}), {method}.",
        a=row["layer_a"], b=row["layer_b"], matching=term(str(row["matching"])), method=row["method"],
    )  # fmt: skip
    return Section("alignment", title, (prose,), claims, tuple(parts))


def _figures(alignment: pd.DataFrame, row: Any) -> list[Part]:
    return [
        Figure(
            "transfer",
            say("Do mapped directions tell the second model's sentences apart?"),
            say(
                "AUROC on test sentences, mean over emotions, each against all others, with 95 % interval over "
                "groups: 1 tells all apart, 0.5 (dotted) none. Grey: mapped directions of labels shuffled alike in "
                "both models."
            ),
            alignment_dots(alignment, quantity="auroc"),
            say(
                "At the chosen layers {figure} {ends}, shuffled labels {null}, the model's own directions {own}.",
                figure=number(row["auroc"]), ends=interval(row["auroc_low"], row["auroc_high"]),
                null=interval(row["auroc_shuffled_low"], row["auroc_shuffled_high"]), own=number(row["auroc_own"]),
            ),
        ),
        Figure(
            "geometry-aligned",
            say("Do mapped directions lie where the second model's own lie?"),
            say(
                "cos² of the spans, after orthonormalisation, of directions fitted on disjoint halves of the "
                "sentences: mean and range over halvings. Grey: the same with shuffled labels. Dotted: k/d, what "
                "chance gives."
            ),
            alignment_dots(alignment, quantity="cos2_apart"),
            say(
                "At the chosen layers {figure} {ends}, shuffled labels {null}, chance {chance}.",
                figure=number(row["cos2_apart"]), ends=interval(row["cos2_apart_low"], row["cos2_apart_high"]),
                null=interval(row["apart_shuffled_low"], row["apart_shuffled_high"]), chance=number(row["cos2_chance"]),
            ),
        ),
    ]  # fmt: skip


def _tables(folder: Path, alignment: pd.DataFrame) -> list[Part]:
    found: list[Part] = [
        Table(
            "similarity",
            say("The same sentences in both models"),
            say(
                "Linear CKA (unbiased) and RSA on test sentences; ranges: 95 % under permuted sentences. 'depth': "
                "layers at the same relative depth; 'best': the second model's most similar layer on neutral "
                "training sentences."
            ),
            pd.read_parquet(folder / "similarity.parquet"),
            folded=True,
        ),
        Table(
            "maps",
            say("Maps and their controls"),
            say(
                "Maps are fitted on neutral training sentences. R²: share of standardised variance explained on "
                "neutral validation, neutral test and emotional test sentences. cos2: directions of the same "
                "sentences in both models (shares their noise, see cos2_shuffled); cos2_apart: of disjoint halves."
            ),
            alignment,
            folded=True,
        ),
    ]
    if (folder / "subspaces.parquet").exists():
        subspaces = pd.read_parquet(folder / "subspaces.parquet")
        shown = subspaces[subspaces["layer_a"] == subspaces["layer_a"].iloc[-1]]
        found += [
            Figure(
                "subspaces-aligned",
                say("Emotion subspaces in raw coordinates (models of one width)"),
                say("Overlap by dimension k. Models trained apart share no axes: chance is what to expect."),
                overlap_by_k(shown.assign(comparison="halves")),
            ),
            Table(
                "subspaces-aligned-table",
                say("Subspaces in raw coordinates"),
                say("Angles in degrees."),
                subspaces,
                folded=True,
            ),
        ]
    if (folder / "steering.parquet").exists():
        found.append(
            Table(
                "steering-aligned",
                say("Steering the second model"),
                say(
                    "Change against unsteered continuations of the same openings and draws; 'beats': minus the best "
                    "of the random directions. 'mapped': the first model's directions; 'own': the second's."
                ),
                pd.read_parquet(folder / "steering.parquet"),
                folded=True,
            )
        )
    return found


def _texts(scored: pd.DataFrame, count: int = 10) -> Texts:
    steered = scored[scored["condition"].str.endswith((" mapped", " own"))]
    columns = {say("unsteered"): "none"}
    for emotion in dict.fromkeys(steered["emotion"]):
        columns[say("{emotion}: mapped direction", emotion=term(emotion))] = f"{emotion} mapped"
        columns[say("{emotion}: own direction", emotion=term(emotion))] = f"{emotion} own"
    first = scored[scored["sample"] == 0]
    prompts = list(dict.fromkeys(first["prompt"]))[:count]
    by = first.set_index(["condition", "prompt"])["text"]
    rows = tuple((p, tuple(str(by.get((name, p), "")) for name in columns.values())) for p in prompts)
    return Texts(
        "texts-aligned",
        say("Texts of the second model side by side"),
        say("The first {count} test openings, unselected.", count=len(prompts)),
        tuple(columns),
        rows,
    )
