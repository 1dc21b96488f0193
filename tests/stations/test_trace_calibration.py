"""What the trace claims of nothing, and of what was planted."""

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.planted.directions import carrying_layer
from emotion_circuits.record.station import Context
from emotion_circuits.stations.trace.calibrating import calibrate_trace
from emotion_circuits.stations.trace.station import inputs
from emotion_circuits.statistics import supported_shares
from emotion_circuits.study import StudyConfig
from families import tiny_model
from trace_cases import traced


def test_a_planted_writer_is_found_and_shuffled_labels_write_nothing(tmp_path):
    found, store, sentences, directions = traced(tmp_path, seed=1)
    layer = carrying_layer(found)
    aggregator = next(f"L{n.layer}H{n.head}" for n, role in found.roles.items() if role == "aggregator")
    made = calibrate_trace(
        found.model, store, sentences, directions, layer, times=100, draws=200, questions=["writers", "attention"]
    )
    claimed = {
        (c.about.value, c.about.part) for c in made.real if c.kind == "trace.writers" and c.verdict == "supported"
    }
    assert claimed == {(value, aggregator) for value in found.spec.values}
    shares = supported_shares(made.shuffled)
    assert set(shares) == {"trace.writers", "trace.attention"}
    for share in shares.values():
        assert share.n == 900
        assert share.rate <= 0.05
        assert share.high <= 0.08


@pytest.mark.slow
def test_planted_writers_are_found_and_nothing_is_read_or_written_by_shuffled_labels(tmp_path):
    """Power at least 0.8 for the part that writes; false claims at most 5 % (upper end 8 %) for every kind."""
    hits, runs = [], []
    for seed in range(1, 9):
        architecture = ("llama", "gpt2")[seed % 2]
        found, store, sentences, directions = traced(tmp_path / str(seed), seed=seed, architecture=architecture)
        made = calibrate_trace(found.model, store, sentences, directions, carrying_layer(found), times=13, seed=seed)
        aggregator = next(f"L{n.layer}H{n.head}" for n, role in found.roles.items() if role == "aggregator")
        claimed = {
            c.about.value
            for c in made.real
            if c.kind == "trace.writers" and c.verdict == "supported" and c.about.part == aggregator
        }
        hits += [value in claimed for value in found.spec.values]
        runs += made.shuffled
    assert sum(hits) / len(hits) >= 0.8
    for share in supported_shares(runs).values():
        assert share.rate <= 0.05
        assert share.high <= 0.08


@pytest.mark.slow
def test_a_real_model_says_nothing_of_shuffled_labels(tmp_path):
    from emotion_circuits.activations import capture
    from emotion_circuits.directions import choose_directions, evaluate_directions, fit_directions
    from emotion_circuits.model import load_model
    from emotion_circuits.prompts import evenly_by_group, load_prompts

    model, values = load_model("smollm2-135m"), ("gratitude", "anger", "apology")
    labels = (*values, "neutral")
    rows = [p for name in ("core", "implicit") for p in load_prompts(name, labels=labels) if p.split != "test"]
    store = capture(model, rows, tmp_path, kinds=("resid_post",), pooling="last")
    fitted = fit_directions(store, labels=values)
    directions = choose_directions(evaluate_directions(store, [fitted], splits=("validation",)), [fitted])
    layer = min(directions.chosen_layer, model.n_layers - 2)
    sentences = {s: evenly_by_group(load_prompts("core", labels=labels, split=s), 24) for s in ("validation", "test")}
    made = calibrate_trace(model, store, sentences, directions, layer, times=100, draws=200, seed=1)
    for share in supported_shares(made.shuffled).values():
        assert share.n == 900
        assert share.rate <= 0.05
        assert share.high <= 0.08
    assert any(c.kind == "trace.writers" and c.verdict == "supported" for c in made.real)


def test_a_model_of_one_layer_is_refused_before_anything_is_captured(tmp_path):
    context = Context(StudyConfig(), tmp_path, loaded=tiny_model("llama", num_hidden_layers=1))
    with pytest.raises(EmotionCircuitsError, match="has one layer: a trace asks which later layers"):
        inputs(context)
