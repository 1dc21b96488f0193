"""The report's sections on directions: what can be read from the states, and how the directions lie to one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.report import direction_figures as lines
from emotion_circuits.report import figures as draw
from emotion_circuits.report.page import Figure, Section, Table
from emotion_circuits.report.parts import claims_of, read_json

__all__ = ["geometry_section", "reading_section"]


def reading_section(run: Path, claims: list[dict[str, Any]]) -> Section:
    """What held-out sentences show to the states, beside words, chance and nulls."""
    folder = run / "directions"
    table = pd.read_parquet(folder / "evaluation.parquet")
    single = pd.read_parquet(folder / "single.parquet")
    reader = pd.read_parquet(folder / "reader.parquet")
    candidates = pd.read_parquet(folder / "candidates.parquet")
    extractors = pd.read_parquet(folder / "extractors.parquet")
    choice = read_json(folder / "choice.json")
    extractor, pooling = str(single["extractor"].iloc[0]), str(single["pooling"].iloc[0])
    part = table[table["split"] == "test"]
    curves = part.rename(columns={"set": "series"})
    words = _unnamed(reader)
    return Section(
        "taken-in",
        "Where does emotion show in the activations?",
        (
            "A direction is a vector per emotion and layer, fitted on training sentences. Beside each figure stands what "
            "a bag of words reaches after training on the same sentences, and chance. The corpus 'core' names the "
            f"emotion outright; 'implicit' never does; 'scenarios' tells one event in four ways.{words}",
        ),
        (*claims_of(claims, "directions.reading"), *claims_of(claims, "directions.single")),
        (
            Figure(
                "accuracy-by-layer",
                f"Test accuracy by layer ({extractor}, {pooling})",
                "Share of held-out sentences labelled right among all labels. Dashed: bag of words. Dotted: chance.",
                draw.accuracy_by_layer(curves),
                f"The layer chosen on validation is {choice['layer']}.",
            ),
            Figure(
                "extractors",
                "Every extractor at the layer it chose on validation, test sentences",
                "Dot: accuracy with 95 % interval over groups. Grey bar: 95 % of the same procedure on labels shuffled within "
                "groups. Dashed: bag of words.",
                lines.extractor_dots(extractors),
            ),
            Table(
                "The reader on held-out test sentences",
                "Chosen on validation. Intervals: 95 % cluster bootstrap over groups. 'difference' is paired, states "
                "minus bag of words.",
                reader,
            ),
            Table(
                "Every extractor beside its nulls, test sentences",
                "'shuffled': the same procedure on labels permuted within groups. 'random': random directions of the same "
                "length. Ranges hold 95 % of the draws. 'stability': cosine between directions of two disjoint halves of "
                "the training groups, beside 1/√d. 'relative_norm' is in residual norms.",
                extractors[[c for c in _EXTRACTOR_COLUMNS if c in extractors]].sort_values(
                    ["set", "validation"], ascending=[True, False]
                ),
            ),
            Table("Candidates for the reader, on validation sentences", "Accuracy by corpus and mean.", candidates),
        ),
    )


def _unnamed(reader: pd.DataFrame) -> str:
    """What the reader makes of sentences without any emotion word, fresh ones last: those decide."""
    told = [
        f"{row['accuracy']:.0%} of '{row['set']}' (bag of words {row['bag_of_words']:.0%})"
        for name in ("implicit", "implicit-fresh")
        for row in reader[reader["set"] == name].to_dict("records")
    ]
    if not told:
        return ""
    fresh = (
        " The fresh sentences were written after every choice and never edited against a model or classifier; where the two "
        "differ, they decide."
        if len(told) > 1
        else ""
    )
    return f" On sentences without any emotion word the reader is right on {' and on '.join(told)}.{fresh}"


_EXTRACTOR_COLUMNS = (
    "set", "extractor", "pooling", "kind", "layer", "validation", "accuracy", "low", "high", "auroc", "bag_of_words",
    "difference", "difference_low", "difference_high", "shuffled_high", "random_high", "chance", "stability",
    "stability_chance", "relative_norm", "n", "groups",
)  # fmt: skip


def geometry_section(run: Path, claims: list[dict[str, Any]]) -> Section:
    """Cosines, lengths, stability and subspaces, each beside chance."""
    folder = run / "directions"
    cosines = pd.read_parquet(folder / "cosines.parquet")
    choice = read_json(folder / "choice.json")
    extractor, kind, pooling = choice["steering"].split(".")
    norms = pd.read_parquet(folder / "norms.parquet").rename(columns={"label": "emotion", "relative": "relative_norm"})
    own = norms[(norms["extractor"] == extractor) & (norms["pooling"] == pooling) & (norms["kind"] == kind)]
    stability = pd.read_parquet(folder / "stability.parquet")
    subspaces = pd.read_parquet(folder / "subspaces.parquet")
    beside = pd.read_parquet(folder / "cosines_by_extractor.parquet")
    return Section(
        "geometry",
        "How do the directions lie to one another?",
        (
            f"Shown for the directions that steer ({extractor} of pooling '{pooling}'). Directions of several emotions share "
            "the neutral mean they are measured from; that alone makes their cosines positive. The null is therefore the "
            "cosine under shuffled labels, not 0.",
        ),
        claims_of(claims, "directions.cosine"),
        (
            Figure(
                "cosines",
                "Cosine between emotions, by layer",
                "Bands: 95 % bootstrap over groups. Dotted: labels shuffled within groups. Grey: where 95 % of unrelated "
                "random directions lie.",
                draw.cosines_by_layer(cosines),
            ),
            Figure(
                "stability",
                "Stability: cosine between directions of two disjoint halves of the groups",
                "Mean and range over five halvings; dotted: 1/√d, the typical cosine of unrelated directions.",
                lines.stability_by_layer(stability),
            ),
            Figure(
                "subspaces",
                "Do emotion subspaces of two halves agree, and do they differ from topics?",
                "Overlap ‖QᵀQ'‖²/k of subspaces fitted on disjoint halves, by their dimension k. Dashed: k/d; grey: 95 % of "
                "random subspaces. 'emotion × topics' compares the emotion subspace with that of neutral states.",
                lines.overlap_by_k(subspaces),
            ),
            Figure(
                "norms",
                "Length of the directions, by layer",
                "L2 norm as a fraction of the residual norm (root mean square over neutral token states without the first).",
                draw.norms_by_layer(own),
            ),
            Table(
                "Subspaces",
                "'centred states': PCA of states without their group's mean; 'directions': PCA of the direction set; "
                "'topics': PCA of neutral states (the control). Angles in degrees.",
                subspaces,
            ),
            Table(
                "Cosines between emotions, every extractor",
                "At the layer each extractor chose on validation, or at all layers where the profile asks for it.",
                beside[["extractor", "pooling", "kind", "pair", "layer", "cosine", "low", "high", "shared", "chance"]],
            ),
        ),
    )
