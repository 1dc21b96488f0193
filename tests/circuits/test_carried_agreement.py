"""Whether minimal pairs and projections name the same parts: the figure, its interval, its null, and the claim on it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from emotion_circuits.heads.nodes import Node
from emotion_circuits.stations.circuits.carried import agreement, agreement_drafts
from emotion_circuits.stations.circuits.figures import agreement_by_value
from emotion_circuits.statistics import corrected

NODES = [
    *(Node("head", layer, head) for layer in range(6) for head in range(8)),
    *(Node("mlp", layer, 0) for layer in range(6)),
]


def asked(share, *, by_layer=0.0, seed=0):
    """Effects of both tasks: ``share`` in common, and ``by_layer`` that all parts of a layer have in both."""
    rng = np.random.default_rng(seed)
    common, depth = rng.normal(size=len(NODES)), by_layer * np.array([n.layer for n in NODES])
    pairs, carried = (share * common + (1 - share) * rng.normal(size=len(NODES)) + depth for _ in range(2))
    scores = torch.tensor(pairs)[None] + 0.05 * torch.tensor(rng.normal(size=(12, len(NODES))))
    scored = SimpleNamespace(nodes=NODES, node_scores=scores)
    train = SimpleNamespace(pairs=[SimpleNamespace(label="warm")] * 12, groups=[f"g{i // 2}" for i in range(12)])
    table = pd.DataFrame(
        {"emotion": "warm", "split": "validation", "component": [str(n) for n in NODES], "difference": carried}
    )
    return agreement(table, scored, train, ["warm", "cold"], draws=299, seed=seed)


def claims(table):
    return corrected(agreement_drafts(table))


def test_what_both_share_is_found_with_an_interval_around_it():
    table = asked(0.8)
    row = table.iloc[0]
    assert table["emotion"].tolist() == ["warm"]  # no pair is cold
    assert row["low"] < row["rank"] < row["high"]
    assert row["null_low"] < 0 < row["null_high"] < row["rank"]
    assert [c.verdict for c in claims(table)] == ["supported"]


def test_depth_alone_is_no_agreement():
    table = asked(0.0, by_layer=2.0, seed=2)
    row = table.iloc[0]
    assert row["rank"] > 0.7
    assert row["null_low"] < row["rank"] < row["null_high"]
    assert [c.verdict for c in claims(table)] != ["supported"]


@pytest.mark.slow
def test_intervals_hold_the_truth_and_nothing_is_claimed_of_nothing():
    found = [claims(asked(0.0, by_layer=0.5, seed=seed))[0].verdict for seed in range(60)]
    assert sum(v == "supported" for v in found) <= 6


def test_it_is_drawn():
    figure = agreement_by_value(asked(0.8))
    assert [trace.type for trace in figure.data] == ["bar", "scatter"]
