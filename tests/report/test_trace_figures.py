"""Pictures of a trace: the largest parts are drawn, sinks are not coloured, and what is said names what is drawn."""

import numpy as np
import pandas as pd
import pytest
from plotly.subplots import make_subplots

from emotion_circuits import trace
from emotion_circuits.directions.trace_pictures import component_bars, path_picture, projection_heatmap, shown_token
from emotion_circuits.stations.directions.figures import extractor_dots, heads_heatmap
from families import tiny_model
from trace_cases import random_directions


def averages(count=30):
    values = np.linspace(-0.2, 0.9, count)[np.random.default_rng(0).permutation(count)]
    return pd.DataFrame(
        {
            "component": [f"L{i}H0" for i in range(count)],
            "difference": values,
            "low": values - 0.1,
            "high": values + 0.1,
        }
    )


def test_the_largest_parts_are_drawn_whatever_order_the_table_has():
    table = averages()
    bars = component_bars(table, count=5).data[-1]
    wanted = table.loc[table["difference"].abs().sort_values(ascending=False).index, "component"].head(5)
    assert list(bars.y[:5]) == list(wanted)
    assert bars.y[5] == "25 others"
    rest = table["difference"].sum() - table.set_index("component")["difference"][wanted].sum()
    assert float(bars.x[5]) == pytest.approx(float(rest))


def test_layers_run_upwards_in_every_panel_of_heads():
    figure = make_subplots(1, 1)
    heads_heatmap(figure, pd.DataFrame(np.eye(3)), None, 1.0, column=1, title="x")
    low, high = figure.layout.yaxis.range
    assert low < high


def test_one_line_per_extractor_with_its_best_pooling():
    rows = [
        {"extractor": e, "pooling": p, "kind": "resid_post", "set": "core", "validation": v, "accuracy": v, "low": 0, "high": 1,
         "shuffled_low": 0, "shuffled_high": 0.3, "words_alone": 0.5, "chance": 0.25}
        for e, p, v in (("lda", "last", 0.7), ("lda", "mean", 0.9), ("pca", "last", 0.6), ("pca", "mean", 0.4))
    ]  # fmt: skip
    figure = extractor_dots(pd.DataFrame(rows))
    assert list(figure.data[1].y) == ["pca · last", "lda · mean"]


def test_line_breaks_and_spaces_can_be_seen():
    assert shown_token(" I\n") == "·I⏎"


def test_sinks_are_grey_and_the_legend_says_shapes():
    model = tiny_model("llama")
    found = trace(model, "I thank you for the tea", random_directions(model), layer=1)
    label = found.labels[0]
    heatmap = projection_heatmap(found, label)
    assert found.sinks
    shown = np.array(heatmap.data[0].z, dtype=float)
    for sink in found.sinks:
        assert np.isnan(shown[:, sink]).all()
    assert len(heatmap.layout.shapes) == len(found.sinks)
    assert np.isfinite(np.delete(shown, list(found.sinks), axis=1)).all()
    colours = {
        trace.marker.color
        for trace in path_picture(found, label).data
        if trace.showlegend is not False and trace.x == (None,)
    }
    assert len(colours) == 1
