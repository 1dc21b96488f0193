"""What finding and measuring a circuit costs; a scan that resumes half way up counts half."""

from __future__ import annotations

from emotion_circuits.circuits.finding import circuit_sizes
from emotion_circuits.model import Blueprint
from emotion_circuits.prompts import load_pairs
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.speed import Speed, token_ids
from emotion_circuits.record.station import Estimate
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.circuits.settings import CircuitsSettings, pairs_of

__all__ = ["estimate"]

_BACKWARD = 2.0
"""A backward pass, in forward passes."""


def estimate(config: StudySettings, model: Blueprint, speed: Speed) -> Estimate:
    """Tokens, seconds and bytes of the station, see :mod:`emotion_circuits.record.speed`."""
    c, about, name = config.of(CircuitsSettings), studied(config), pairs_of(config)
    if name is None:
        return Estimate(0, 0.0, 0)
    emotions = len(about.values)
    pairs = [p for p in load_pairs(name) if {p.label, p.corrupted_label} <= set(about.labels)]
    mean = max(1.0, sum(map(len, token_ids(model, [p.text for p in pairs]))) / max(1, len(pairs)))
    count = {
        split: min(limit, sum(p.split == split for p in pairs))
        for split, limit in (("train", c.train_pairs), ("validation", c.validation_pairs), ("test", c.test_pairs))
    }
    nodes = model.n_layers * (model.n_heads + 1)
    # Scores and circuits use every pair one way round, the exact scan and the comparison of emotions both ways.
    one_way = {split: n / 2 for split, n in count.items()}
    scored = (one_way["train"] + one_way["test"]) * (2 + c.steps * (1 + _BACKWARD)) + 2 * count["train"]
    links = min(c.edge_pairs, one_way["train"]) * min(c.steps, 3) * (1 + _BACKWARD)
    # An edge's gradient goes back through the attention or the MLP of one reader: a small part of a block each.
    links += min(c.edge_pairs, one_way["train"]) * min(c.steps, 3) * nodes * _BACKWARD / model.n_layers / 2
    # Half of the blocks on average; and the answers of the null are read from every row.
    scan = count["test"] * (nodes if c.exact is None else c.exact) * 0.8
    sizes = len(circuit_sizes(nodes, c.sizes)) + 1
    # Random circuits of either kind, as if one is found: where none is, the second kind is not drawn.
    circuits = sizes * (1 + c.n_random) + 2 * c.samples + 1
    if c.thorough:
        circuits += 40 + 60 + 16
    whole = one_way["test"] * circuits + one_way["validation"] * sizes
    whole += count["test"] / emotions * emotions * (emotions + 3) + one_way["test"] * c.roles * 8
    tokens = mean * (scored + links + scan + whole)
    rows = (scan + whole) / max(1, c.batch_rows)
    written = c.generation_prompts * (1 + (2 + c.random_heads) * emotions)
    seconds = speed.forward(tokens, rows + scored / 8) + (scan + whole) * speed.unembed
    seconds += speed.decode(written, max(1, c.generation_prompts), c.max_new_tokens)
    seconds += (nodes * 2e-2 + circuits * 0.05) * speed.host
    tokens += written * (c.max_new_tokens + mean)
    exact = nodes if c.exact is None else c.exact
    return Estimate(round(tokens), seconds, round(exact * (count["test"] * 8 + 400 * 8) + 60_000))
