"""Figures of the direction sections: extractors side by side, stability, subspaces, alignment between models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from emotion_circuits.language import N_, say, term
from emotion_circuits.page.figures import CYCLE, DIVERGING, GREY, colour_of, dress, faint, hatch

__all__ = [
    "alignment_dots",
    "attention_panels",
    "cosine_matrix",
    "extractor_dots",
    "heads_heatmap",
    "overlap_by_k",
    "stability_by_layer",
]

_GREY = "rgba(120,120,120,0.35)"
_MAPS = {"paired": N_("fitted map"), "shuffled": N_("map of shuffled pairs"), "random map": N_("random map")}


def extractor_dots(table: pd.DataFrame) -> go.Figure:
    """One panel per corpus, one line per extractor with the pooling that is best on validation, best extractors first.

    Args:
        table: :func:`emotion_circuits.directions.compare_extractors`.
    """
    pairs = zip(table["extractor"], table["pooling"], strict=True)
    table = table.assign(name=[f"{term(e)} · {term(p)}".replace("_", " ") for e, p in pairs])
    if table["kind"].nunique() > 1:
        table = table.assign(name=table["name"] + " · " + table["kind"])
    corpora = list(dict.fromkeys(table["set"]))
    best = table.sort_values("validation", ascending=False, kind="stable").drop_duplicates(["extractor", "kind"])[
        "name"
    ]
    table = table[table["name"].isin(set(best))]
    order = list(dict.fromkeys(table.sort_values("validation", kind="stable")["name"]))
    figure = make_subplots(1, len(corpora), shared_yaxes=True, subplot_titles=corpora, horizontal_spacing=0.03)
    for column, corpus in enumerate(corpora, start=1):
        part = table[table["set"] == corpus].set_index("name").loc[order].reset_index()
        figure.add_bar(
            x=part["shuffled_high"] - part["shuffled_low"], base=part["shuffled_low"], y=part["name"], orientation="h",
            marker={"color": _GREY}, name=say("shuffled labels (95 %)"), showlegend=column == 1, hoverinfo="skip",
            row=1, col=column,
        )  # fmt: skip
        figure.add_scatter(
            x=part["accuracy"], y=part["name"], mode="markers", marker={"color": CYCLE[0], "size": 8},
            error_x={
                "type": "data", "symmetric": False, "array": part["high"] - part["accuracy"],
                "arrayminus": part["accuracy"] - part["low"], "thickness": 1.2,
            },
            name=say("accuracy"), showlegend=column == 1, row=1, col=column,
        )  # fmt: skip
        figure.add_vline(
            x=float(part["words_alone"].iloc[0]), line={"color": CYCLE[1], "dash": "dash", "width": 1.4},
            row=1, col=column,
        )  # fmt: skip
        figure.add_vline(x=float(part["chance"].iloc[0]), line={"color": GREY, "dash": "dot"}, row=1, col=column)
    figure.update_xaxes(title=say("accuracy"), range=[0, 1])
    dress(figure, 170 + 20 * len(order))
    return figure.update_layout(margin={"l": 170})


def cosine_matrix(table: pd.DataFrame, layer: int) -> go.Figure:
    """Cosine between the directions of every two values at one layer less that of shuffled labels, like beside like.

    Args:
        table: columns ``pair layer cosine shared``.
        layer: which.
    """
    at = table[table["layer"] == layer]
    ends = [str(pair).split(" – ") for pair in at["pair"]]
    names = list(dict.fromkeys(name for pair in ends for name in pair))
    grid = pd.DataFrame(0.0, index=names, columns=names)
    for (a, b), above in zip(ends, at["cosine"] - at["shared"], strict=True):
        grid.loc[a, b] = grid.loc[b, a] = above
    distance = grid.to_numpy().max() - grid.to_numpy()
    np.fill_diagonal(distance, 0.0)
    order = [
        names[i] for i in leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True))
    ]
    values = grid.loc[order, order].to_numpy().copy()
    np.fill_diagonal(values, np.nan)
    words, top = [term(name) for name in order], float(np.nanmax(np.abs(values)))
    figure = go.Figure(
        go.Heatmap(
            z=values, x=words, y=words, colorscale=DIVERGING, zmin=-top, zmax=top,
            colorbar={"title": {"text": say("cosine")}, "thickness": 12}, hovertemplate="%{x} – %{y}: %{z:+.2f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", dtick=1)
    figure.update_xaxes(dtick=1, tickangle=-60)
    return dress(figure, 140 + 20 * len(order)).update_layout(margin={"l": 110, "b": 100})


def stability_by_layer(table: pd.DataFrame) -> go.Figure:
    """Split-half cosine by layer, one line per emotion.

    Args:
        table: :func:`emotion_circuits.directions.split_half_stability`.
    """
    figure = go.Figure()
    for index, (label, part) in enumerate(table.groupby("label", sort=False)):
        part = part.sort_values("layer")
        colour = colour_of(str(label), index)
        figure.add_scatter(
            x=[*part["layer"], *part["layer"][::-1]], y=[*part["high"], *part["low"][::-1]], mode="lines",
            fill="toself",
            fillcolor=faint(colour), line={"width": 0}, showlegend=False, hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=part["layer"], y=part["cosine"], name=term(str(label)), mode="lines", line={"color": colour}
        )
    figure.add_hline(y=float(table["chance"].iloc[0]), line={"color": GREY, "dash": "dot"}, annotation_text="1/√d")
    figure.update_xaxes(title=say("layer"))
    figure.update_yaxes(title=say("cosine"), range=[-0.1, 1.02])
    return dress(figure)


def overlap_by_k(table: pd.DataFrame) -> go.Figure:
    """Overlap by dimension, beside k/d and the range of random subspaces.

    Args:
        table: :func:`emotion_circuits.directions.subspace_reliability`.
    """
    figure = go.Figure()
    null = table.drop_duplicates("k").sort_values("k")
    figure.add_scatter(
        x=[*null["k"], *null["k"][::-1]], y=[*null["null_high"], *null["null_low"][::-1]], mode="lines",
        fill="toself",
        fillcolor=_GREY, line={"width": 0}, name=say("random subspaces (95 %)"), hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(x=null["k"], y=null["chance"], mode="lines", name="k/d", line={"color": GREY, "dash": "dash"})
    names = [
        term(str(c)) if c != "halves" else say("halves: {subspace}", subspace=term(str(s)))
        for c, s in zip(table["comparison"], table["subspace"], strict=True)
    ]
    for index, (name, part) in enumerate(table.assign(name=names).groupby("name", sort=False)):
        part = part.sort_values("k")
        figure.add_scatter(
            x=part["k"], y=part["overlap"], mode="lines+markers", name=str(name), line={"color": CYCLE[index]}
        )
    figure.update_xaxes(title=say("dimension k of the subspace"))
    figure.update_yaxes(title=say("overlap"), range=[0, 1.02])
    return dress(figure)


def alignment_dots(table: pd.DataFrame, *, quantity: str) -> go.Figure:
    """Mapped directions against their nulls, one line per layer pair, method and control.

    Args:
        table: :attr:`emotion_circuits.directions.Comparison.alignment`.
        quantity: ``cos2_apart`` (directions of disjoint halves) or ``auroc``.
    """
    null = {"cos2_apart": "apart_shuffled", "auroc": "auroc_shuffled"}[quantity]
    names = [
        f"L{r.layer_a} → L{r.layer_b} ({r.matching}) · {r.method}"
        + ("" if r.control == "paired" else f" · {r.control}")
        for r in table.itertuples()
    ]
    figure = go.Figure()
    figure.add_bar(
        x=table[f"{null}_high"] - table[f"{null}_low"], base=table[f"{null}_low"], y=names, orientation="h",
        marker={"color": _GREY}, name=say("directions of shuffled labels (95 %)"), hoverinfo="skip",
    )  # fmt: skip
    for control, colour in (("paired", CYCLE[0]), ("shuffled", CYCLE[1]), ("random map", CYCLE[4])):
        at = (table["control"] == control).to_numpy()
        part = table[at]
        figure.add_scatter(
            x=part[quantity], y=[n for n, keep in zip(names, at, strict=True) if keep], mode="markers",
            marker={"color": colour, "size": 8}, name=say(_MAPS[control]),
            error_x={
                "type": "data", "symmetric": False, "array": (part[f"{quantity}_high"] - part[quantity]).clip(lower=0),
                "arrayminus": (part[quantity] - part[f"{quantity}_low"]).clip(lower=0), "thickness": 1.2,
            },
        )  # fmt: skip
    if quantity == "auroc":
        own = table[table["control"] == "paired"]
        figure.add_scatter(
            x=own["auroc_own"], y=[n for n, c in zip(names, table["control"], strict=True) if c == "paired"],
            mode="markers", marker={"symbol": "line-ns-open", "color": GREY, "size": 12}, name=say("the model's own directions"),
        )  # fmt: skip
        figure.add_vline(x=0.5, line={"color": GREY, "dash": "dot"})
    else:
        figure.add_vline(x=float(table["cos2_chance"].iloc[0]), line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title="cos²" if quantity == "cos2_apart" else "AUROC")
    figure.update_yaxes(autorange="reversed")
    dress(figure, 180 + 19 * len(names))
    # Names this long leave a narrow screen no room for the figures: it scrolls.
    return figure.update_layout(margin={"l": 260}, meta=620)


def attention_panels(table: pd.DataFrame) -> go.Figure:
    """Layer on y, head on x, one panel per emotion on one scale centred at 0; heads with q of 0.05 or more are pale and hatched.

    Args:
        table: :func:`emotion_circuits.directions.average_attention` with a column ``emotion``.
    """
    emotions = list(dict.fromkeys(table["emotion"]))
    limit = float(table["difference"].abs().max()) or 1.0
    titles = [term(e) for e in emotions]
    figure = make_subplots(1, len(emotions), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.03)
    for column, emotion in enumerate(emotions, start=1):
        part = table[table["emotion"] == emotion]
        values, q = (part.pivot(index="layer", columns="head", values=v) for v in ("difference", "q"))
        heads_heatmap(figure, values, q < 0.05, limit, column=column, title=say("Δ attention"))
    figure.update_yaxes(title=say("layer"), col=1)
    figure.update_yaxes(showgrid=False).update_xaxes(showgrid=False)
    return dress(figure, 190 + 14 * (int(table["layer"].max()) + 1))


def heads_heatmap(
    figure: go.Figure, values: pd.DataFrame, sure: pd.DataFrame | None, limit: float, *, column: int, title: str
) -> None:
    """One panel of heads: layer on y, head on x; cells that are not sure are pale and hatched, missing ones empty.

    Args:
        figure: with panels in one row.
        values: layers by heads.
        sure: which cells lie beyond chance; ``None`` where that was not judged.
        limit: end of the colour scale on both sides of 0.
        column: the panel.
        title: of the colour bar.
    """
    heads, layers = [int(v) for v in values.columns], [int(v) for v in values.index]
    common: dict[str, Any] = {
        "x": list(values.columns), "y": list(values.index), "zmin": -limit, "zmax": limit, "colorscale": DIVERGING, "xgap": 1,
        "ygap": 1, "hoverongaps": False, "colorbar": {"title": title}, "hovertemplate": "L%{y}H%{x}: %{z:+.3f}<extra></extra>",
        "row": 1, "col": column,
    }  # fmt: skip
    if sure is None:
        figure.add_heatmap(z=values, showscale=column == 1, **common)
    else:
        figure.add_heatmap(z=values, opacity=0.25, showscale=False, **common)
        figure.add_heatmap(z=values.where(sure), showscale=column == 1, **common)
        rows, columns = np.nonzero((values.notna() & ~sure).to_numpy())
        x, y = [heads[int(c)] for c in columns], [layers[int(r)] for r in rows]
        hatch(figure, x, y, say("not beyond chance (q ≥ 0.05)"), row=1, column=column)
    figure.update_xaxes(
        title=say("head"), dtick=1 if len(values.columns) <= 16 else None, zeroline=False, range=[-0.5, max(heads) + 0.5],
        row=1, col=column,
    )  # fmt: skip
    figure.update_yaxes(zeroline=False, range=[-0.5, max(layers) + 0.5], row=1, col=column)
