"""What parts carry to a direction: against taking them away one by one, and on a planted model, where it is known."""

import numpy as np
import pytest
import torch

from emotion_circuits.directions import shuffled_vectors
from emotion_circuits.heads.carrying import carried_states, carried_tables, carriers, neutral_means, states_without
from emotion_circuits.model import Ablate, Site, intervene, observe
from emotion_circuits.planted.directions import carrying_layer
from families import CONFIGS, tiny_model
from trace_cases import traced

TEXTS = ["I thank you.", "no", "We go out"]


@torch.no_grad()
def last_state(model, text, layer, changes=()):
    site = Site("resid_post", layer)
    with observe(model, [site]) as record, intervene(model, list(changes)):
        model.hidden(model.tokenize([text]))
    return record[site][0, -1]


@pytest.mark.parametrize("family", list(CONFIGS))
def test_states_are_those_of_single_runs_without_the_part(family):
    model = tiny_model(family)
    layer = model.n_layers - 2
    nodes = carriers(model, layer)[::3]
    means = neutral_means(model, ["We go out today", "I saw cars"], layer)
    lost = states_without(model, TEXTS, nodes, means, layer)
    for node, of_node in zip(nodes, lost, strict=True):
        mean = means[Site(node.site.kind, node.layer)]
        held = Ablate(site=node.site, mode="mean", value=mean[node.head] if node.kind == "head" else mean)
        for text, found in zip(TEXTS, of_node, strict=True):
            alone = last_state(model, text, layer) - last_state(model, text, layer, [held])
            torch.testing.assert_close(found, alone, atol=2e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    found, store, sentences, directions = traced(tmp_path_factory.mktemp("planted"), seed=1)
    layer = carrying_layer(found)
    neutral = [p.text for p in store_sentences(sentences)]
    states = carried_states(found.model, sentences, neutral, layer)
    return found, store, directions, layer, states, sentences


def store_sentences(sentences):
    return [p for p in sentences["validation"] if p.label == "neutral"]


def test_the_planted_heads_carry_every_value_and_no_other_head_does(planted):
    found, store, directions, layer, states, _ = planted
    nulls = shuffled_vectors(store, directions, layer, draws=200, seed=1)
    table = carried_tables(states, directions, nulls, top=3, seed=0)
    test = table[(table["split"] == "test") & table["component"].str.startswith("L")]
    planted_heads = {f"L{n.layer}H{n.head}" for n, role in found.roles.items() if role in ("detector", "aggregator")}
    for value in directions.labels:
        own = test[test["emotion"] == value].set_index("component")
        chosen = own[(own["rank"] > 0) & (own["selected_p"] <= 0.05) & (own["p"] <= 0.05)]
        assert set(chosen.index) == planted_heads
        assert set(own["difference"].nlargest(len(planted_heads)).index) == planted_heads


def test_parts_that_are_kept_are_not_taken_away_again(planted, tmp_path, monkeypatch):
    found, _, _, layer, states, sentences = planted
    neutral = [p.text for p in store_sentences(sentences)]
    first = carried_states(found.model, sentences, neutral, layer, folder=tmp_path)
    from emotion_circuits.heads import carrying

    monkeypatch.setattr(carrying, "_lost", None)
    again = carried_states(found.model, sentences, neutral, layer, folder=tmp_path)
    for split in sentences:
        assert torch.equal(first[split].lost, again[split].lost)
        assert torch.equal(first[split].lost, states[split].lost)


def test_projections_on_many_directions_are_those_on_each(planted):
    _, store, directions, layer, states, _ = planted
    nulls = shuffled_vectors(store, directions, layer, draws=5, seed=2)
    label = directions.labels[0]
    own = nulls[:, directions.row(label)]
    every = states["test"].ask(directions, label, own)
    one = states["test"].ask(directions, label, own[2:3])
    np.testing.assert_allclose(every.by_group[3], one.by_group[1], atol=1e-5)
    np.testing.assert_allclose(every.table["difference"], every.by_group[0].mean(0), atol=1e-6)
