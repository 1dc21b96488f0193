"""The report's sections on directions: what can be read from the states, and how the directions lie to one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from emotion_circuits.language import N_, gap, say, term
from emotion_circuits.page import figures as draw
from emotion_circuits.page.numerals import estimate, number, percent
from emotion_circuits.page.page import Figure, Section, Table
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.directions import figures as lines
from emotion_circuits.stations.directions.claims import MOST_PAIRS
from emotion_circuits.stations.directions.folder import DirectionsFolder

__all__ = ["sections"]


def sections(folder: DirectionsFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """What can be read, and how the directions lie."""
    cosines = [told for told in claims if told.claim.kind == "directions.cosine"]
    return (
        _reading(folder, [told for told in claims if told not in cosines]),
        _geometry(folder, cosines),
    )


def _reading(folder: DirectionsFolder, claims: Sequence[Told]) -> Section:
    """What held-out sentences show to the states, beside words, chance and nulls."""
    table = folder.evaluation.read()
    single = folder.single.read()
    reader = folder.reader.read()
    candidates = folder.candidates.read()
    extractors = folder.extractors.read()
    choice = folder.choice.read()
    extractor, pooling = str(single["extractor"].iloc[0]), str(single["pooling"].iloc[0])
    part = table[table["split"] == "test"]
    return Section(
        "taken-in",
        say("Where does emotion show in the activations?"),
        (
            say(
                "A direction is a vector per emotion and layer, fitted on training sentences; a sentence is read by "
                "projecting its residual stream on the directions. Beside each figure stands what words alone "
                "(n-grams or the model's own static embeddings, tuned as the reader is) tell, and chance."
            )
            + "".join(gap() + say(_CORPORA[name]) for name in _last(reader["set"]) if name in _CORPORA)
            + _unnamed(reader),
        ),
        tuple(claims),
        (
            Figure(
                "accuracy-by-layer",
                say(
                    "Test accuracy by layer ({extractor}, {pooling})", extractor=term(extractor), pooling=term(pooling)
                ),
                say(
                    "Share of held-out sentences whose emotion is read right, by layer, one colour per corpus. "
                    "Dashed: words alone, on the same sentences. Dotted: chance."
                ),
                draw.accuracy_by_layer(part.rename(columns={"set": "series"})),
                say("The layer chosen on validation is {layer}.", layer=choice.layer) + gap() + _accuracies(reader),
                sheet="L{x}",
            ),
            Figure(
                "extractors",
                say("Every extractor at the layer it chose on validation, test sentences"),
                say(
                    "An extractor is a way to fit directions; behind it the token or mean it reads, the best of them on "
                    "validation (a table below has all). Dot: accuracy with 95 % interval over groups. Grey bar: 95 % of "
                    "the same procedure on labels shuffled within groups. Dashed: words alone. Dotted: chance."
                )
                + gap()
                + say(
                    "pca: first principal axis of differences within groups; lda: linear discriminant analysis; denoised: mean "
                    "difference without the leading axes of neutral states; token: mean difference on emotion words. last: the "
                    "last token's state; mean: that of all tokens; frame: the state behind the words “I feel” put after the "
                    "sentence."
                ),
                lines.extractor_dots(extractors),
            ),
            Table(
                "reader",
                say("The reader on held-out test sentences"),
                say(
                    "The reader (several layers and poolings together) was chosen on validation. Intervals: 95 % "
                    "cluster bootstrap over groups. 'difference' is paired, states minus words alone; p is not "
                    "corrected, the claims' q is."
                ),
                reader,
            ),
            Table(
                "extractors-table",
                say("Every extractor beside its nulls, test sentences"),
                say(
                    "'shuffled': the same procedure on labels permuted within groups. 'random': random directions of "
                    "the same length. Ranges hold 95 % of the draws. 'stability': cosine between directions of two "
                    "disjoint halves of the training groups, beside 1/√d. 'relative_norm' is in residual norms."
                ),
                extractors[[c for c in _EXTRACTOR_COLUMNS if c in extractors]].sort_values(
                    ["set", "validation"], ascending=[True, False]
                ),
                folded=True,
            ),
            Table(
                "candidates",
                say("Candidates for the reader, on validation sentences"),
                say("Accuracy by corpus and mean."),
                candidates,
                folded=True,
            ),
        ),
    )


_CORPORA = {
    "core": N_("The corpus 'core' names the emotion outright."),
    "implicit": N_("The corpus 'implicit' never names it."),
    "scenarios": N_("The corpus 'scenarios' tells one event in four ways."),
    "registers-a": N_(
        "'registers-a' and 'registers-b' say it in other kinds of text: letters, speeches, notices, diaries …"
    ),
    "registers": N_("The corpus 'registers' says it in other kinds of text: letters, speeches, notices, diaries …"),
}
"""Said of a corpus where the run has it."""


def _last(sets: pd.Series) -> list[str]:
    """Names of corpora without the folders of their language or attribute."""
    return list(dict.fromkeys(str(name).rpartition("/")[2] for name in sets))


def _accuracies(reader: pd.DataFrame) -> str:
    told = [
        say(
            "'{set}': {accuracy}, words alone {words}, chance {chance}",
            set=row["set"], accuracy=estimate(float(row["accuracy"]), (row["low"], row["high"])),
            words=number(row["words_alone"]), chance=number(row["chance"]),
        )
        for row in reader.to_dict("records")
    ]  # fmt: skip
    return say("The reader, which joins several layers: {figures}.", figures=say("; ").join(told))


def _unnamed(reader: pd.DataFrame) -> str:
    """What the reader makes of sentences without any emotion word, fresh ones last: those decide."""
    told = [
        say(
            "{accuracy} of '{set}' (words alone {words})",
            accuracy=percent(row["accuracy"]), set=name, words=percent(row["words_alone"]),
        )
        for name in ("implicit", "implicit-fresh")
        for row in reader[reader["set"] == name].to_dict("records")
    ]  # fmt: skip
    if not told:
        return ""
    found = gap() + say(
        "On sentences without any emotion word the reader is right on {figures}.", figures=say(" and on ").join(told)
    )
    if len(told) > 1:
        found += gap() + say(
            "The fresh sentences were written after every choice and never edited against a model or classifier; "
            "where the two differ, they decide."
        )
    return found


_EXTRACTOR_COLUMNS = (
    "set", "extractor", "pooling", "kind", "layer", "validation", "accuracy", "low", "high", "auroc", "words_alone", "words_by",
    "difference", "difference_low", "difference_high", "shuffled_high", "random_high", "chance", "stability",
    "stability_chance", "relative_norm", "n", "groups",
)  # fmt: skip


def _geometry(folder: DirectionsFolder, claims: Sequence[Told]) -> Section:
    """Cosines, lengths, stability and subspaces, each beside chance."""
    cosines = folder.cosines.read()
    choice = folder.choice.read()
    extractor, kind, pooling = choice.steering.split(".")
    norms = folder.norms.read().rename(columns={"label": "emotion", "relative": "relative_norm"})
    own = norms[(norms["extractor"] == extractor) & (norms["pooling"] == pooling) & (norms["kind"] == kind)]
    stability = folder.stability.read()
    subspaces = folder.subspaces.read()
    beside = folder.cosines_by_extractor.read()
    return Section(
        "geometry",
        say("How do the directions lie to one another?"),
        (
            say(
                "Shown for the directions that steer ({extractor} of pooling '{pooling}'). Directions of several "
                "emotions share the neutral mean they are measured from; that alone makes their cosines positive. "
                "The null is therefore the cosine under shuffled labels, not 0.",
                extractor=term(extractor), pooling=term(pooling),
            ),
        ),
        tuple(claims),
        (
            *([] if cosines.empty else [_cosines(cosines, choice.steering_layer)]),
            Figure(
                "stability",
                say("Stability: cosine between directions of two disjoint halves of the groups"),
                say(
                    "Near 1: other sentences of the same emotion give the same direction. Mean and range over five "
                    "halvings; dotted: 1/√d, the typical cosine of unrelated directions."
                ),
                lines.stability_by_layer(stability),
            ),
            Figure(
                "subspaces",
                say("Do emotion subspaces of two halves agree, and do they differ from topics?"),
                say(
                    "Overlap ‖QᵀQ'‖²/k of subspaces fitted on disjoint halves, by their dimension k: 1 is the same "
                    "subspace. Dashed: k/d, what chance gives; grey: 95 % of random subspaces. 'emotion × topics' "
                    "compares the emotion subspace with that of neutral states."
                ),
                lines.overlap_by_k(subspaces),
            ),
            Figure(
                "norms",
                say("Length of the directions, by layer"),
                say(
                    "L2 norm as a fraction of the residual norm (median over neutral token states without "
                    "attention sinks). A long direction is not yet an effective one: see the steering section."
                ),
                draw.norms_by_layer(own),
            ),
            Table(
                "subspaces-table",
                say("Subspaces"),
                say(
                    "'centred states': PCA of states without their group's mean; 'directions': PCA of the direction "
                    "set; 'topics': PCA of neutral states (the control). Angles in degrees."
                ),
                subspaces,
                folded=True,
            ),
            *([] if beside.empty else [_every_cosine(beside)]),
        ),
    )  # fmt: skip


def _cosines(cosines: pd.DataFrame, layer: int) -> Figure:
    if cosines["pair"].nunique() > MOST_PAIRS:
        return Figure(
            "cosines",
            say("Cosine between the directions of every two values (layer {layer})", layer=layer),
            say(
                "Cosine less that of labels shuffled within groups: above 0 the two share more than the neutral mean they are "
                "measured from. Values that are alike stand beside one another. So many pairs are shown, not claimed one by one."
            ),
            lines.cosine_matrix(cosines, layer),
        )
    return Figure(
        "cosines",
        say("Cosine between emotions, by layer"),
        say(
            "1: the same direction, 0: at right angles. Bands: 95 % bootstrap over groups. Dotted: labels "
            "shuffled within groups. Grey: where 95 % of unrelated random directions lie."
        ),
        draw.cosines_by_layer(cosines),
    )


def _every_cosine(beside: pd.DataFrame) -> Table:
    return Table(
        "cosines-table",
        say("Cosines between emotions, every extractor"),
        say("At the layer each extractor chose on validation, or at all layers where the profile asks for it."),
        beside[["extractor", "pooling", "kind", "pair", "layer", "cosine", "low", "high", "shared", "chance"]],
        folded=True,
    )
