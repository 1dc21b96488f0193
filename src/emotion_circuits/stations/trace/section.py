"""The report's section on the trace: written at tokens, moved by heads, read late."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.directions import Trace
from emotion_circuits.directions.trace_pictures import (
    component_bars,
    path_picture,
    projection_heatmap,
    readers_bars,
    shown_token,
)
from emotion_circuits.language import say, spoken_option, term
from emotion_circuits.page.numerals import interval, signed
from emotion_circuits.page.page import Figure, Page, Part, Section, Table, write_page
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.directions.figures import attention_panels
from emotion_circuits.stations.trace.folder import TraceFolder

__all__ = ["sections", "write_trace"]


def sections(folder: TraceFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """Who writes, who looks, who reads; and one sentence followed through the model."""
    choice = folder.choice.read()
    found, emotion = folder.example(), choice.drawn
    writers, readers = _test(folder.writers.read()), _test(folder.readers.read())
    parts: list[Part] = [*_sentence(found, emotion, readers)]
    for label in found.labels:
        own = writers[writers["emotion"] == label].sort_values("difference", key=abs, ascending=False, kind="stable")
        parts.append(
            Figure(
                f"writers-{label}",
                say("Who writes {emotion}", emotion=term(label)),
                say(
                    "Mean part of the projection at the last token of test sentences, minus that of the neutral "
                    "sentence of the same group, with 95 % interval. Grey: 95 % of directions fitted on shuffled "
                    "labels, at this part; the largest of many parts leaves it easily, so that claims are held against "
                    "the parts such directions choose themselves. L17H8: head 8 of layer 17."
                ),
                component_bars(own, count=15),
                _largest(own),
                sheet="{y}",
            )
        )
    if folder.attention.exists():
        parts.append(_attention(_test(folder.attention.read())))
    for label in found.labels:
        own = readers[readers["emotion"] == label].sort_values("difference", ascending=False, kind="stable")
        parts.append(
            Figure(
                f"readers-{label}",
                say("Who reads {emotion}", emotion=term(label)),
                say(
                    "Relative change of a component's output at the last token when the direction is taken out there "
                    "after layer {layer}, minus the mean change for directions of shuffled labels (grey: 95 % of those, "
                    "at this part).",
                    layer=choice.layer,
                ),
                readers_bars(own, count=15),
                _largest(own),
                sheet="{y}",
            )
        )
    parts += [
        Table(
            "writers",
            say("Writers, test sentences"),
            say("In residual norms. q: one family, all components."),
            writers[[c for c in _WRITERS if c in writers]],
            folded=True,
        ),
        Table(
            "readers",
            say("Readers, test sentences"),
            say("Changes relative to the output's norm. q: one family, all components."),
            readers[_READERS],
            folded=True,
        ),
    ]
    section = Section(
        "trace",
        say("Where is it written, how does it travel, who reads it?"),
        (
            say(
                "Along the directions {directions} of layer {layer}. Every head and MLP adds a vector to the "
                "residual stream; the part of it along an emotion's direction is what that component writes. The "
                "parts sum exactly to the residual stream's projection (largest gap here: {gap} of the largest "
                "part). Components named in claims were chosen on validation sentences, and directions of shuffled "
                "labels choose theirs likewise: p is the share of those whose choice stands out as far on test.",
                directions=choice.directions, layer=choice.layer, gap=f"{found.gap:.1e}",
            ),
            *((say(_NOTE),) if found.note else ()),
        ),
        tuple(claims),
        tuple(parts),
    )  # fmt: skip
    return (section,)


def _sentence(found: Trace, emotion: str, readers: pd.DataFrame) -> tuple[Figure, Figure]:
    words = say(", ").join(say("“{text}”", text=shown_token(t)) for t, _ in found.logit_lens[-1])
    return (
        Figure(
            "trace-heatmap",
            say("One sentence, layer by token: {emotion}", emotion=term(emotion)),
            say(
                "“{text}” Each layer's states on its own direction, in residual norms; red: towards the emotion, "
                "blue: away from it, centred at 0. One sentence is an illustration, so that no significance is "
                "computed. Grey: attention sinks (the first token and others with massive activations).",
                text=found.text,
            ),
            projection_heatmap(found, emotion),
            say("The model would go on with {words}.", words=words),
            sheet="T{x}",
        ),
        Figure(
            "trace-path",
            say("The path of {emotion} through that sentence", emotion=term(emotion)),
            say(
                "The largest parts written at tokens: diamonds by heads, dots by embedding and MLPs (green along the "
                "direction, orange against it). Lines lead from the token a head attends to most to where it writes. "
                "Squares: the components that read most on the test sentences."
            ),
            path_picture(found, emotion, readers=readers[readers["emotion"] == emotion]),
            say("A line shows where a head looks while it writes, not that what it reads there causes it."),
            sheet="{text}",
        ),
    )


def _attention(table: pd.DataFrame) -> Figure:
    left_out = int(table.drop_duplicates("emotion")["excluded"].sum())
    sure = int((table["q"] < 0.05).sum())
    return Figure(
        "attention",
        say("Who looks at emotion words"),
        say(
            "Attention from the last token to emotion words, minus that to the same place of a neutral sentence with "
            "as many tokens ({left_out} sentences have none and are left out); layer on y, head on x, one scale for "
            "all panels, centred at 0. Heads with q ≥ 0.05 are pale and hatched. A screen: what attends need not "
            "matter.",
            left_out=left_out,
        ),
        attention_panels(table),
        say("{sure} of {total} pairs of a head and an emotion have q < 0.05.", sure=sure, total=len(table)),
        sheet="L{y}H{x}",
    )


def _largest(table: pd.DataFrame) -> str:
    row = table.iloc[0]
    told = say(
        "Largest: {component} {figure} {ends}",
        component=row["component"], figure=signed(row["difference"]), ends=interval(row["low"], row["high"]),
    )  # fmt: skip
    if "null_low" in row:
        told += say("; null {null}", null=interval(row["null_low"], row["null_high"]))
    return told + say(".")


# The one thing a trace notes.
_NOTE = "This model's family normalises attention's output, so heads cannot be told apart exactly."

_WRITERS = [
    "emotion", "component", "part", "neutral", "difference", "low", "high", "null_low", "null_high", "p", "q", "n",
    "rank", "selected_p",
]  # fmt: skip
_READERS = [
    "emotion", "component", "change", "null", "ratio", "difference", "low", "high", "null_low", "null_high", "p", "q",
    "n", "rank", "selected_p",
]  # fmt: skip


def write_trace(path: Path, found: Trace, label: str) -> None:
    """A page of one trace: projection by layer and token, parts at the last token, the path.

    Args:
        path: of the HTML file; folders are made.
        found: the trace.
        label: the emotion drawn.
    """
    table = found.components(label)
    section = Section(
        "trace",
        say("{emotion} in “{text}”", emotion=term(label), text=found.text),
        (
            say(
                "Parts and projections are in residual norms, along the direction of layer {layer}; they sum to the "
                "residual stream's projection (largest gap {gap} of the largest part).",
                layer=found.layer, gap=f"{found.gap:.1e}",
            ),
            *((say(_NOTE),) if found.note else ()),
        ),
        (),
        (
            Figure(
                "heatmap",
                say("Layer by token"),
                say("Each layer's states on its own direction. Grey: attention sinks (massive activations)."),
                projection_heatmap(found, label),
            ),
            Figure(
                "parts",
                say("Parts at the last token"),
                say("Largest first; one text, so no interval."),
                component_bars(table),
            ),
            Figure(
                "path",
                say("The path"),
                say(
                    "The largest parts written at tokens: diamonds by heads, dots by embedding and MLPs (green along the "
                    "direction, orange against it). Lines lead from the token a head attends to most to where it writes; "
                    "they are not evidence of a cause."
                ),
                path_picture(found, label),
            ),
            Table("all-parts", say("All parts at the last token"), say("In residual norms."), table),
        ),
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    lens = ", ".join(f"{shown_token(t)} ({p:.2f})" for t, p in found.logit_lens[-1])
    sinks = ", ".join(shown_token(found.tokens[i]) for i in found.sinks)
    facts = (
        (say("text"), found.text),
        (say("emotion"), term(label)),
        (say("layer"), str(found.layer)),
        (say("sinks"), sinks),
        (say("the model goes on with"), lens),
    )
    command = f"emotion-circuits trace {json.dumps(found.text, ensure_ascii=False)} --out {path}{spoken_option()}"
    lead = say("Where a text writes an emotion, and which parts write it.")
    write_page(Page(say("Trace"), lead, facts, (section,), command, {}), path)


def _test(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["split"] == "test"].reset_index(drop=True)
