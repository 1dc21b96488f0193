"""What a notebook shows: a few lines instead of tensors, every text escaped, and the report's own pictures."""

import re

import pandas as pd
import pytest

from direction_cases import planted_store
from emotion_circuits import trace, vectors_from_store
from emotion_circuits.directions import fit_directions
from emotion_circuits.directions.trace_pictures import component_bars, path_picture, projection_heatmap
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.page.figures import norms_by_layer
from emotion_circuits.page.notebook import card
from families import tiny_model
from trace_cases import random_directions


@pytest.fixture(scope="module")
def found():
    model = tiny_model("llama")
    return trace(model, "<script>alert(1)</script> thank you & " + "so " * 15, random_directions(model), layer=1)


def test_a_trace_prints_a_line_and_not_its_tensors(found):
    assert repr(found) == (
        f"Trace('<script>alert(1)</script> thank you & so so so so so so so …', {len(found.tokens)} tokens, gratitude, anger "
        "along directions of layer 1)"
    )


def test_a_card_is_small_escaped_and_without_script(found):
    html = found._repr_html_()
    assert len(html) < 3000
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; thank you &amp; so" in html
    largest = found.components("anger")["component"].iloc[0]
    assert re.search(rf"<td>anger</td><td>[^<]+</td><td>{largest}</td>", html)


def test_a_trace_draws_the_pictures_of_the_report(found):
    assert found.plot() == projection_heatmap(found, "gratitude")
    assert found.plot("anger", "path") == path_picture(found, "anger")
    assert found.plot("anger", "parts") == component_bars(found.components("anger"))
    with pytest.raises(EmotionCircuitsError, match="no label 'joy' in this trace; there are gratitude, anger"):
        found.plot("joy")
    with pytest.raises(EmotionCircuitsError, match="there are layers, path, parts"):
        found.plot(kind="bars")


def test_directions_print_a_line_and_draw_their_lengths(tmp_path):
    store = planted_store(tmp_path)
    directions = fit_directions(store, pooling="mean")
    assert repr(directions) == (
        "DirectionSet(mean_difference.resid_post.mean: gratitude, anger, apology at 2 layers of width 24)"
    )
    figure = directions.plot()
    lengths = directions.vectors.norm(dim=-1) / directions.norms
    table = [
        {"emotion": e, "layer": layer, "relative_norm": float(lengths[k, i])}
        for k, e in enumerate(directions.labels)
        for i, layer in enumerate(directions.layers)
    ]
    drawn = {line.name: [round(float(y), 5) for y in line.y] for line in figure.data}
    assert drawn == {
        line.name: [round(float(y), 5) for y in line.y] for line in norms_by_layer(pd.DataFrame(table)).data
    }
    assert "<th>gratitude</th>" in directions._repr_html_()
    vectors = vectors_from_store(store, pooling="mean")
    assert repr(vectors) == f"SteeringVectors({', '.join(vectors.unit)} at 2 layers)"


def test_a_long_table_is_cut_and_says_by_how_much():
    html = card("Rows", {"none": None}, pd.DataFrame({"a_b": range(20), "text": ["<i>"] * 20}))
    assert html.count("<tr>") == 9
    assert "… 12 more" in html
    assert "<th>a b</th>" in html
    assert "<i>" not in html
    assert "none" not in html
