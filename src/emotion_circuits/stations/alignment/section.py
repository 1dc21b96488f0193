"""What a comparison of two models shows, in its own page and in a study's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import interval, number
from emotion_circuits.page.page import Figure, Part, Section, Table, Texts
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.alignment.folder import AlignmentFolder, Choice
from emotion_circuits.stations.directions.figures import alignment_dots, overlap_by_k

__all__ = ["sections"]


def sections(folder: AlignmentFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """Reading, geometry and, where the second model was steered, its texts."""
    alignment, choice = folder.alignment.read(), folder.choice.read()
    parts: list[Part] = [
        *_figures(alignment, _row(alignment, choice), folder.words.read()),
        *_tables(folder, alignment),
    ]
    if folder.texts.exists():
        parts[2:2] = [_texts(folder.texts.read())]
    prose = say(
        "The same sentences went through both models. A map from the first model's states to the second's is fitted "
        "on neutral training sentences, so it knows nothing of emotion; the first model's emotion directions are "
        "carried over by it. Claims are about the layers and method whose map predicts neutral validation sentences "
        "best: layer {a} → {b} ({matching}), {method}.",
        a=choice.layers[0], b=choice.layers[1], matching=term(choice.matching), method=choice.method,
    )  # fmt: skip
    title = say(
        "Do the directions of {first} do their work in {second}?", first=choice.first.model, second=choice.second.model
    )
    return (Section("alignment", title, (prose,), tuple(claims), tuple(parts)),)


def _row(alignment: pd.DataFrame, choice: Choice) -> pd.Series:
    """The chosen row of the table."""
    own = (alignment["control"] == "paired") & (alignment["method"] == choice.method)
    own &= (alignment["layer_a"] == choice.layers[0]) & (alignment["layer_b"] == choice.layers[1])
    return alignment[own & (alignment["matching"] == choice.matching)].iloc[0]


def _figures(alignment: pd.DataFrame, row: Any, words: pd.DataFrame) -> list[Part]:
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
                "At the chosen layers {figure} {ends}, words carried over alike {words}, shuffled labels {null}, the model's own "
                "directions {own}.",
                figure=number(row["auroc"]), ends=interval(row["auroc_low"], row["auroc_high"]),
                words=number(words["auroc"].max()),
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


def _tables(folder: AlignmentFolder, alignment: pd.DataFrame) -> list[Part]:
    found: list[Part] = [
        Table(
            "similarity",
            say("The same sentences in both models"),
            say(
                "Linear CKA (unbiased) and RSA on test sentences; ranges: 95 % under permuted sentences. 'depth': "
                "layers at the same relative depth; 'best': the second model's most similar layer on neutral "
                "training sentences."
            ),
            folder.similarity.read(),
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
        Table(
            "words-aligned",
            say("Words carried over alike"),
            say(
                "Directions of word features, mapped at the chosen layers as those of states are, each by a map of its own that "
                "was fitted on the same neutral training sentences. 'difference': what states tell more."
            ),
            folder.words.read(),
            folded=True,
        ),
    ]
    if folder.subspaces.exists():
        subspaces = folder.subspaces.read()
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
    if folder.steering.exists():
        found.append(
            Table(
                "steering-aligned",
                say("Steering the second model"),
                say(
                    "Change against unsteered continuations of the same openings and draws; 'beats': minus the best "
                    "of the random directions. 'mapped': the first model's directions; 'own': the second's."
                ),
                folder.steering.read(),
                folded=True,
            )
        )
    return found


def _texts(scored: pd.DataFrame, count: int = 10) -> Texts:
    steered = scored[scored["arm"] != ""]
    columns = {say("unsteered"): "none"}
    names = {(str(e), str(a)): str(c) for e, a, c in steered[["emotion", "arm", "condition"]].to_numpy().tolist()}
    for emotion in dict.fromkeys(emotion for emotion, _ in names):
        columns[say("{emotion}: mapped direction", emotion=term(emotion))] = names[emotion, "mapped"]
        columns[say("{emotion}: own direction", emotion=term(emotion))] = names[emotion, "own"]
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
