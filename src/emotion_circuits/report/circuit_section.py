"""The report's section on heads and circuits: grids, attention beside effect, faithfulness, the circuit's drawing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from emotion_circuits.circuits import circuit_figure, curve_figure, load_circuit
from emotion_circuits.circuits.finding import Circuit
from emotion_circuits.report.page import Figure, Section, Table, Texts

__all__ = ["attention_against_effect", "circuit_sections", "head_grids", "moves"]

_SELECTION = (
    "A caveat on the bundled pairs: some were dropped or reworded after looking at the logit differences of SmolLM2-135M, so "
    "on that model the size of the gap is partly selected. What is compared within the pairs (one head with another, a "
    "circuit with random ones) is not."
)


def moves(heads: pd.DataFrame) -> pd.Series:
    """Nodes whose interval lies beyond 0 and beyond the null of random answers, with q of at most 0.05."""
    above = heads["low"] > heads["null_high"].clip(lower=0)
    below = heads["high"] < heads["null_low"].clip(upper=0)
    found: pd.Series = (above | below) & (heads["q"] <= 0.05)
    return found


def head_grids(heads: pd.DataFrame, gap: float) -> go.Figure:
    """Layer by head: attribution (train), exact noising (test), and noising where it is beyond its null; one scale.

    Args:
        heads: columns ``layer head attribution share low high null_low null_high q``; one row per head.
        gap: mean gap of the train pairs that attribution is divided by.
    """
    size = (int(heads["layer"].max()) + 1, int(heads["head"].max()) + 1)

    def grid(values: pd.Series) -> np.ndarray:
        out = np.full(size, np.nan)
        out[heads["layer"], heads["head"]] = values
        return out

    sure = heads["share"].where(moves(heads))
    panels = {
        "estimated (attribution, train)": grid(heads["attribution"] / gap),
        "exact (noising, test)": grid(heads["share"]),
        "exact, beyond the null": grid(sure),
    }
    top = max(float(np.nanmax(np.abs(p), initial=0.0, where=~np.isnan(p))) for p in panels.values()) or 1.0
    figure = make_subplots(rows=1, cols=3, subplot_titles=list(panels), shared_yaxes=True, horizontal_spacing=0.04)
    for column, values in enumerate(panels.values(), start=1):
        figure.add_heatmap(
            z=values, coloraxis="coloraxis", row=1, col=column, xgap=1, ygap=1, hoverongaps=False,
            hovertemplate="L%{y}H%{x}: %{z:+.3f} of the gap<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title="head", dtick=1 if size[1] <= 16 else None, row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    figure.update_yaxes(title="layer", row=1, col=1)
    figure.update_layout(
        template="plotly_white",
        height=150 + 15 * size[0],
        margin={"l": 60, "r": 20, "t": 56, "b": 50},
        coloraxis={"colorscale": "RdBu_r", "cmin": -top, "cmax": top, "colorbar": {"title": "share of<br>the gap"}},
    )
    return figure


def attention_against_effect(heads: pd.DataFrame, *, name: str) -> go.Figure:
    """One point per head: Δattention against what the head does; heads extreme in either are named.

    Args:
        heads: columns ``node attention effect_shown``.
        name: of the effect's axis.
    """
    figure = go.Figure()
    best = set(heads["attention"].abs().nlargest(5).index) | set(heads["effect_shown"].abs().nlargest(5).index)
    named = heads.index.isin(best)
    for part, text in ((heads[~named], False), (heads[named], True)):
        figure.add_scatter(
            x=part["attention"],
            y=part["effect_shown"],
            mode="markers+text" if text else "markers",
            text=part["node"],
            textposition="top center",
            textfont={"size": 10},
            marker={"size": 8 if text else 5, "color": "#D55E00" if text else "rgba(60,60,60,0.45)"},
            hovertemplate="%{text}: Δattention %{x:+.3f}, effect %{y:+.3f}<extra></extra>",
            name="largest in either" if text else "other heads",
        )
    figure.add_hline(y=0, line={"color": "#888", "dash": "dot"})
    figure.add_vline(x=0, line={"color": "#888", "dash": "dot"})
    figure.update_xaxes(title="Δattention to the emotion word (emotion − neutral, last token)")
    figure.update_yaxes(title=name)
    figure.update_layout(
        template="plotly_white",
        height=440,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "y": -0.2},
    )
    return figure


def dissociation_matrix(table: pd.DataFrame) -> go.Figure:
    """Circuits by tasks: share of each emotion's gap that goes when a set of heads is taken out."""
    circuits, tasks = list(dict.fromkeys(table["circuit"])), list(dict.fromkeys(table["task"]))
    grid = table.pivot_table(index="circuit", columns="task", values="share").loc[circuits, tasks].to_numpy()
    top = float(np.nanmax(np.abs(grid))) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=grid, x=tasks, y=[c if c.startswith("random") else f"heads of {c}" for c in circuits], colorscale="RdBu_r",
            zmin=-top, zmax=top, texttemplate="%{z:+.2f}", colorbar={"title": "share of<br>the gap"},
        )
    )  # fmt: skip
    figure.update_xaxes(title="pairs of")
    figure.update_yaxes(title="taken out", autorange="reversed")
    figure.update_layout(template="plotly_white", height=380, margin={"l": 150, "r": 20, "t": 30, "b": 50})
    return figure


def circuit_sections(run: Path, claims: list[dict[str, Any]]) -> tuple[Section, ...]:
    """The section on heads and circuits of a finished run.

    Args:
        run: its folder.
        claims: all claims of the run.
    """
    folder = run / "circuits"
    skipped = folder / "skipped.json"
    if skipped.exists():
        reason = json.loads(skipped.read_text(encoding="utf-8"))["reason"]
        return (Section("circuits", "Which heads and circuits carry it?", (f"Not measured: {reason}.",)),)
    circuit = load_circuit(folder / "circuit.json")
    table = pd.read_parquet(folder / "heads.parquet")
    heads = table[table["kind"] == "head"].reset_index(drop=True)
    measured = heads[heads["effect"].notna()]
    own = tuple(c for c in claims if c["id"].startswith("circuits."))
    every = len(measured) == len(heads)
    sure = int(moves(measured).sum())
    largest = measured.iloc[int(measured["share"].abs().to_numpy().argmax())] if len(measured) else None
    agreement = circuit.agreement
    prose = [
        f"Minimal pairs differ in one place; the effect of a head is how much of the gap between both prompts' answers goes when "
        f"the head alone is given the other prompt's output (noising, before the output projection). Parts were scored on "
        f"{circuit.pairs['train']} train pairs, the circuit's size was chosen on {circuit.pairs['validation']} validation pairs, "
        f"and what stands here is from {circuit.pairs['test']} test pairs in {circuit.groups} groups. Pairs stand both ways "
        "round, so noising and denoising are the same figure on average.",
        f"{len(measured)} of {len(heads)} heads were measured exactly; {sure} of them move the answers beyond the null of random "
        "answers (q ≤ 0.05)."
        + (f" The largest is {largest['node']} with {largest['share']:+.1%} of the gap." if largest is not None else "")
        + f" Attribution on train pairs and exact effects on test pairs agree to a rank correlation of "
        f"{agreement['spearman']:.2f} over {agreement['nodes']:.0f} nodes.",
    ]
    if circuit.model.startswith("smollm2") and circuit.task == "pairs":
        prose.append(_SELECTION)
    gap = _train_gap(circuit, table)
    parts: list[Figure | Table | Texts] = [
        Figure(
            "head-grids",
            "What every head does",
            "Red supports the answers of the emotion in the prompt, blue opposes them; one scale in all panels, centred at 0. "
            "Right: only heads whose 95 % interval lies beyond 0 and beyond random answers, q ≤ 0.05 over all measured nodes.",
            head_grids(heads, gap),
            f"{sure} heads are beyond the null.",
        ),
        _attention(heads, own, every),
        Figure(
            "faithfulness",
            "How much a circuit carries, by its size",
            "Share of the clean-corrupted gap that is left when everything outside the circuit has the other prompt's output. "
            "Grey: random circuits with as many heads and as many MLPs; band: middle 95 % of "
            "the random orderings. "
            f"CPR {circuit.cpr['circuit']:.2f} (random {circuit.cpr['random']:.2f}), CMD {circuit.cmd['circuit']:.2f} "
            f"(random {circuit.cmd['random']:.2f}).",
            curve_figure(circuit),
        ),
        Figure(
            "circuit",
            "The circuit",
            f"{len(circuit.nodes)} heads and MLPs by layer; the strongest estimated links, red supports the answers, blue "
            "opposes them. Colour of a head: its estimated role. "
            f"Jaccard index of the members over resampled train pairs {circuit.stability['jaccard']:.2f} "
            f"[{circuit.stability['low']:.2f}, {circuit.stability['high']:.2f}], chance {circuit.stability['chance']:.2f}.",
            circuit_figure(circuit),
        ),
        Table(
            "The members",
            "score: estimated share of the gap (train). exact: noised alone, share of the gap (test) with 95 % interval; empty "
            "where it was not measured.",
            pd.DataFrame([n.model_dump() for n in circuit.nodes]),
        ),
        *_more(folder, circuit),
    ]
    return (Section("circuits", "Which heads and circuits carry it?", tuple(prose), own, tuple(parts)),)


def _train_gap(circuit: Circuit, table: pd.DataFrame) -> float:
    """Attribution in logits over its share of the gap, from the strongest member."""
    member = circuit.nodes[0]
    logits = float(table.set_index("node")["attribution"][member.node])
    return logits / member.score if member.score else 1.0


def _attention(heads: pd.DataFrame, claims: tuple[dict[str, Any], ...], every: bool) -> Figure:
    shown = heads.assign(effect_shown=heads["effect"] if every else heads["attribution"])
    name = "effect of noising (logits, test)" if every else "attribution (logits, train)"
    claim = next((c for c in claims if c["id"] == "circuits.attention"), None)
    words = ""
    if claim is not None:
        low, high = claim["interval"]
        words = f"Rank correlation of the sizes {claim['estimate']:+.2f} [{low:+.2f}, {high:+.2f}]."
    return Figure(
        "attention-effect",
        "Attending is not causing",
        "One point per head. If attention to the emotion word told what a head does, the points would lie on a line. "
        + words,
        attention_against_effect(shown, name=name),
        words,
    )


def _more(folder: Path, circuit: Circuit) -> list[Figure | Table | Texts]:
    found: list[Figure | Table | Texts] = []
    if circuit.evidence:
        found.append(
            Table(
                "Roles and what they stand on",
                "Shares of the gap on test pairs; the rules are in docs/circuits.md. 'none': no figure reaches 0.1.",
                pd.DataFrame(circuit.evidence),
            )
        )
    if (folder / "dissociation.parquet").exists():
        found.append(
            Figure(
                "dissociation",
                "Emotions by emotions: heads taken out",
                "Share of the gap that goes when the strongest heads of one emotion (rows) are mean-ablated on the pairs of "
                "another (columns), test pairs. Own heads on the diagonal; random sets of as many heads below.",
                dissociation_matrix(pd.read_parquet(folder / "dissociation.parquet")),
            )
        )
        found.append(
            Table(
                "Do the strongest heads of emotions differ?",
                "Mean Jaccard index of the strongest heads from disjoint halves of the train groups; chance: random sets.",
                pd.read_parquet(folder / "overlap.parquet"),
            )
        )
    if (folder / "weights.parquet").exists():
        found.append(
            Table(
                "Weights of the strongest heads against other heads of their layers",
                "reads_v, reads_q, reads_k: length of the emotion's direction through value, query and key maps; output: through "
                "the output map; 1 is a random direction. p: random choices of as many heads per layer with as high a "
                "mean, uncorrected.",
                pd.read_parquet(folder / "weights.parquet"),
            )
        )
    if (folder / "patched.parquet").exists():
        found.append(_patched(pd.read_parquet(folder / "patched.parquet")))
    return found


def _patched(table: pd.DataFrame) -> Texts:
    """Every opening with its plain and patched continuations, unselected."""
    circuit = table[table["arm"] == "circuit"]
    emotions = list(dict.fromkeys(circuit["emotion"]))
    plain = table[table["arm"] == "plain"].set_index("prompt")["text"]
    by = circuit.set_index(["emotion", "prompt"])["text"]
    rows = tuple((p, (str(plain[p]), *(str(by[e, p]) for e in emotions))) for p in plain.index)
    return Texts(
        "Written with patched heads",
        "Neutral openings; the heads of an emotion are held at what they were at the end of an emotional prompt. The same random "
        "draws in every column, nothing selected.",
        ("plain", *emotions),
        rows,
    )
