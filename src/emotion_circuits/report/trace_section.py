"""The report's section on the trace: written at tokens, moved by heads, read late."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.directions import Trace, load_trace
from emotion_circuits.report.direction_figures import attention_panels
from emotion_circuits.report.page import Figure, Page, Section, Table, write_page
from emotion_circuits.report.parts import claims_of, read_json
from emotion_circuits.report.trace_figures import component_bars, path_picture, projection_heatmap, readers_bars

__all__ = ["trace_section", "write_trace"]


def trace_section(run: Path, claims: list[dict[str, Any]]) -> Section:
    """Who writes, who looks, who reads; and one sentence followed through the model."""
    folder = run / "trace"
    choice = read_json(folder / "choice.json")
    found, emotion = load_trace(folder / "example"), str(choice["drawn"])
    writers, readers = (_test(folder / f"{name}.parquet") for name in ("writers", "readers"))
    parts: list[Figure | Table] = []
    for label in found.labels:
        own = writers[writers["emotion"] == label]
        parts.append(
            Figure(
                f"writers-{label}",
                f"Who writes {label}",
                "Mean part of the projection at the last token of test sentences, minus that of the neutral sentence of the "
                "same group, with 95 % interval. Grey: 95 % of directions fitted on shuffled labels.",
                component_bars(own, label, count=15),
            )
        )
    if (folder / "attention.parquet").exists():
        attention = _test(folder / "attention.parquet")
        left_out = int(attention.drop_duplicates("emotion")["excluded"].sum())
        parts.append(
            Figure(
                "attention",
                "Who looks at emotion words",
                "Attention from the last token to emotion words, minus that to the same place of a neutral sentence with as "
                f"many tokens ({left_out} sentences have none and are left out). Heads with q ≥ 0.05 are pale. A screen: what "
                "attends need not matter.",
                attention_panels(attention),
            )
        )
    for label in found.labels:
        parts.append(
            Figure(
                f"readers-{label}",
                f"Who reads {label}",
                f"Relative change of a component's output at the last token when the direction is taken out after layer "
                f"{choice['layer']}, minus the mean change for directions of shuffled labels (grey: 95 % of those).",
                readers_bars(readers[readers["emotion"] == label], label, count=15),
            )
        )
    parts += [
        Figure(
            "trace-heatmap",
            f"One sentence, layer by token: {emotion}",
            f"“{found.text}” Each layer's states on its own direction, in residual norms. Sinks (the first token and "
            "others with massive activations) do not set the colours.",
            projection_heatmap(found, emotion),
            f"The model would go on with {', '.join(repr(t) for t, _ in found.logit_lens[-1])}.",
        ),
        Figure(
            "trace-path",
            f"The path of {emotion} through that sentence",
            "Dots: the largest parts written at tokens. Lines lead from the token a head attends to most to where it writes. "
            "Squares: the components that read most on the test sentences.",
            path_picture(found, emotion, readers=readers[readers["emotion"] == emotion]),
            "A line shows where a head looks while it writes, not that what it reads there causes it.",
        ),
        Table(
            "Writers, test sentences",
            "In residual norms. q: one family, all components.",
            writers[[c for c in _WRITERS if c in writers]],
        ),
        Table(
            "Readers, test sentences",
            "Changes relative to the output's norm. q: one family, all components.",
            readers[_READERS],
        ),
    ]
    return Section(
        "trace",
        "Where is it written, how does it travel, who reads it?",
        (
            f"Along the directions {choice['directions']} of layer {choice['layer']}. The parts that components write sum "
            f"exactly to the residual stream's projection (largest gap here: {found.gap:.1e} of the largest part). "
            "Components named in claims were chosen on validation sentences.",
            *((found.note,) if found.note else ()),
        ),
        claims_of(claims, "trace."),
        tuple(parts),
    )


_WRITERS = [
    "emotion", "component", "part", "neutral", "difference", "low", "high", "null_low", "null_high", "p", "q", "n",
]  # fmt: skip
_READERS = [
    "emotion", "component", "change", "null", "ratio", "difference", "low", "high", "null_low", "null_high", "p", "q",
    "n",
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
        f"{label} in “{found.text}”",
        (
            f"Parts and projections are in residual norms, along the direction of layer {found.layer}; they sum to the "
            f"residual stream's projection (largest gap {found.gap:.1e} of the largest part).",
            *((found.note,) if found.note else ()),
        ),
        (),
        (
            Figure(
                "heatmap",
                "Layer by token",
                "Each layer's states on its own direction. Sinks (massive activations) do not set the colours.",
                projection_heatmap(found, label),
            ),
            Figure(
                "parts",
                "Parts at the last token",
                "Largest first; one text, so no interval.",
                component_bars(table, label),
            ),
            Figure(
                "path",
                "The path",
                "Dots: the largest parts written at tokens. Lines lead from the token a head attends to most to where it "
                "writes; they are not evidence of a cause.",
                path_picture(found, label),
            ),
            Table("All parts at the last token", "In residual norms.", table),
        ),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    lens = ", ".join(f"{t!r} ({p:.2f})" for t, p in found.logit_lens[-1])
    sinks = ", ".join(repr(found.tokens[i]) for i in found.sinks)
    facts = (
        ("text", found.text),
        ("emotion", label),
        ("layer", str(found.layer)),
        ("sinks", sinks),
        ("the model goes on with", lens),
    )
    command = f"emotion-circuits trace {json.dumps(found.text, ensure_ascii=False)} --out {path}"
    write_page(
        Page("Trace", "Where a text writes an emotion, and which parts write it.", facts, (section,), command, {}), path
    )


def _test(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    return table[table["split"] == "test"].reset_index(drop=True)
