"""The page of a comparison of two models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions import Comparison
from emotion_circuits.paths import write_json, write_table
from emotion_circuits.report.direction_figures import alignment_dots, overlap_by_k
from emotion_circuits.report.page import Figure, Page, Section, Table, Texts, write_page
from emotion_circuits.statistics import Claim
from emotion_circuits.study.aligning import MappedSteering

__all__ = ["write_alignment"]


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
    names = [str(s.manifest["model"]["name"]) for s in (a, b)]
    row = found.chosen()
    parts: list[Figure | Table | Texts] = [
        Figure(
            "transfer",
            "Do mapped directions tell the second model's sentences apart?",
            "AUROC on test sentences, mean over emotions, each against all others, with 95 % interval over groups. Grey: "
            "mapped directions of labels shuffled alike in both models. Dotted: 0.5.",
            alignment_dots(found.alignment, quantity="auroc"),
        ),
        Figure(
            "geometry",
            "Do mapped directions lie where the second model's own lie?",
            "cos² of the spans, after orthonormalisation, of directions fitted on disjoint halves of the sentences: mean "
            "and range over halvings. Grey: the same with shuffled labels. Dotted: k/d.",
            alignment_dots(found.alignment, quantity="cos2_apart"),
        ),
        Table(
            "The same sentences in both models",
            "Linear CKA (unbiased) and RSA on test sentences; ranges: 95 % under permuted sentences. 'depth': layers at the "
            "same relative depth; 'best': the second model's most similar layer on neutral training sentences.",
            found.similarity,
        ),
        Table(
            "Maps and their controls",
            "Maps are fitted on neutral training sentences. R²: share of standardised variance explained on neutral "
            "validation, neutral test and emotional test sentences. cos2: directions of the same sentences in both models "
            "(shares their noise, see cos2_shuffled); cos2_apart: of disjoint halves.",
            found.alignment,
        ),
    ]
    if len(found.subspaces):
        shown = found.subspaces[found.subspaces["layer_a"] == found.subspaces["layer_a"].iloc[-1]]
        parts += [
            Figure(
                "subspaces",
                "Emotion subspaces in raw coordinates (models of one width)",
                "Overlap by dimension k. Models trained apart share no axes: chance is what to expect.",
                overlap_by_k(shown.assign(comparison="halves")),
            ),
            Table("Subspaces in raw coordinates", "Angles in degrees.", found.subspaces),
        ]
    if steered is not None:
        write_table(steered.effects, folder / "steering.parquet")
        write_table(steered.scored, folder / "texts.parquet")
        parts += [
            Table(
                "Steering the second model",
                "Change against unsteered continuations of the same openings and draws; 'beats': minus the best of the random "
                "directions. 'mapped': the first model's directions; 'own': the second's.",
                steered.effects,
            ),
            _texts(steered, found.directions[1].labels),
        ]
    section = Section(
        "alignment",
        f"{names[0]} → {names[1]}",
        (
            "Layers and method reported in claims are those whose map predicts neutral validation sentences best: layer "
            f"{row['layer_a']} → {row['layer_b']} ({row['matching']}), {row['method']}.",
        ),
        tuple(c.model_dump(mode="json") for c in claims),
        tuple(parts),
    )
    facts = (
        ("first model", f"{names[0]} (width {a.d_model})"),
        ("second model", f"{names[1]} (width {b.d_model})"),
        ("sentences", f"{len(a.rows)} and {len(b.rows)} captured; maps fitted on neutral training sentences alone"),
    )
    path = folder / "align.html"
    supported = sum(c.verdict == "supported" for c in claims)
    lead = f"Do the emotion directions of {names[0]} do their work in {names[1]}? {supported} of {len(claims)} claims supported."
    command = f"emotion-circuits align {a.folder} {b.folder} --out {folder}"
    write_page(Page("Two models", lead, facts, (section,), command, {"a": a.manifest, "b": b.manifest}), path)
    return path


def _texts(steered: MappedSteering, labels: Sequence[str], count: int = 10) -> Texts:
    columns = {"unsteered": "none"} | {f"{arm} {e}": f"{e} {arm}" for e in labels for arm in ("mapped", "own")}
    first = steered.scored[steered.scored["sample"] == 0]
    prompts = list(dict.fromkeys(first["prompt"]))[:count]
    by = first.set_index(["condition", "prompt"])["text"]
    rows = tuple((p, tuple(str(by.get((name, p), "")) for name in columns.values())) for p in prompts)
    return Texts("Texts side by side", f"The first {len(prompts)} test openings, unselected.", tuple(columns), rows)
