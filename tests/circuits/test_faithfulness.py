from __future__ import annotations

import numpy as np
import pytest
import torch

from character_tasks import character_pairs
from emotion_circuits.circuits.arena import arena, run_edge_circuit, run_node_circuits
from emotion_circuits.circuits.completeness import completeness, minimality
from emotion_circuits.circuits.faithfulness import edge_curve, faithfulness, node_curve
from emotion_circuits.circuits.joint import dissociation, joint_effect
from emotion_circuits.circuits.overlap import (
    chance_jaccard,
    emotion_overlap,
    jaccard,
    named_by_chance,
    overlap,
    stability,
)
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import LOGITS, Node, PairTask, all_edges, all_nodes, pair_task
from emotion_circuits.planted import PlantedModel, PlantedSpec, plant
from families import tiny_model


@pytest.fixture(scope="module")
def planted() -> tuple[PlantedModel, PairTask]:
    found = plant(PlantedSpec(seed=1))
    return found, pair_task(found.model, found.pairs[:24])


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "gpt_neox", "llama", "opt", "gemma2", "olmo2"])
def test_the_whole_model_as_circuit_is_the_clean_run(name: str) -> None:
    model = tiny_model(name)
    ring = arena(model, pair_task(model, character_pairs()))
    nodes = run_node_circuits(model, ring, [all_nodes(model)])[0]
    assert torch.allclose(nodes, ring.full, atol=1e-5)
    if name not in ("gemma2", "olmo2"):  # behind a post-norm heads don't add up exactly
        assert torch.allclose(run_edge_circuit(model, ring, all_edges(model)), ring.full, atol=1e-4)
    assert torch.allclose(run_edge_circuit(model, ring, []), ring.empty, atol=1e-4)
    assert (ring.full - ring.empty).abs().min() > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_an_edge_circuit_with_all_edges_of_the_kept_nodes_is_the_node_circuit(name: str) -> None:
    """Cutting every edge into and out of the other nodes leaves them corrupted, as the node circuit has them."""
    model = tiny_model(name)
    ring = arena(model, pair_task(model, character_pairs()))
    kept = {Node("head", 0, 1), Node("mlp", 1), Node("head", 2, 3), Node("mlp", 2)}
    edges = [(u, v) for u, v in all_edges(model) if (u in kept or u.kind == "embed") and (v in kept or v == LOGITS)]
    a = run_edge_circuit(model, ring, edges)
    b = run_node_circuits(model, ring, [kept])[0]
    assert torch.allclose(a, b, atol=1e-4)


def test_the_planted_circuit_is_faithful_and_random_ones_are_not(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    ring = arena(found.model, task)
    assert found.mlp is not None
    true = [*found.roles, found.mlp]
    rest = [n for n in all_nodes(found.model) if n not in true]
    curve = node_curve(found.model, ring, [*true, *rest], [2, len(true), 20], n_random=6)
    at = curve.table.set_index("size")
    assert at.faithfulness[len(true)] > 0.8
    assert at.faithfulness[len(true)] > at.random_high[len(true)]
    assert at.faithfulness[len(rest) + len(true)] == pytest.approx(1, abs=1e-4)
    assert curve.cpr > curve.random_cpr
    assert curve.cmd < curve.random_cmd
    minimal = minimality(found.model, ring, true)
    lost = minimal.table.set_index("node").faithfulness_lost
    assert minimal.weakest.estimate == pytest.approx(lost.min())
    assert minimal.weakest.low <= minimal.weakest.estimate <= minimal.weakest.high
    expresser = next(str(n) for n, r in found.roles.items() if r == "expresser")
    assert lost[expresser] > 0.5
    assert minimal.table.set_index("node").q[expresser] < 0.05
    gaps = completeness(found.model, ring, true, all_nodes(found.model), samples=3)
    assert gaps.table.incompleteness.max() < 0.5
    assert gaps.incompleteness.low <= gaps.incompleteness.high < 0.5
    # Against a bound that it cannot meet, the same figures are no sign of completeness.
    assert completeness(found.model, ring, true, all_nodes(found.model), samples=3, bound=0.001).incompleteness.p > 0.5


def test_the_planted_edges_carry_the_behaviour(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    ring = arena(found.model, task)
    f = float(faithfulness(ring, run_edge_circuit(found.model, ring, found.edges)))
    assert f > 0.7
    broken = [e for e in found.edges if e[1] != LOGITS]
    assert abs(float(faithfulness(ring, run_edge_circuit(found.model, ring, broken)))) < 0.1
    others = [e for e in all_edges(found.model) if e not in found.edges]
    curve = edge_curve(found.model, ring, [*found.edges, *others], [len(found.edges)], n_random=3)
    assert curve.table.faithfulness[1] == pytest.approx(f, abs=1e-4)
    assert curve.table.random_high[1] < 0.3


def test_backup_shows_as_joint_effect_above_the_sum(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    by_role = {r: n for n, r in found.roles.items()}
    joint = joint_effect(found.model, task, [by_role["aggregator"], by_role["backup"]])
    assert joint.excess_interval[0] > 0.5


def test_stability_knows_signal_from_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(32, 100, generator=generator)
    signal = noise.clone()
    signal[:, :10] += 5
    assert stability(signal, 10).jaccard > 0.99
    weak = stability(noise, 10)
    assert weak.jaccard < 0.7
    assert weak.chance == pytest.approx(10 / 190, abs=0.01)


def test_overlap_stands_beside_chance() -> None:
    mean, low, high = chance_jaccard(100, 10, 10)
    rng = np.random.default_rng(1)
    simulated = [jaccard(rng.choice(100, 10, replace=False), rng.choice(100, 10, replace=False)) for _ in range(2000)]
    assert mean == pytest.approx(np.mean(simulated), abs=0.01)
    assert low <= mean <= high
    a = [Node("head", 0, h) for h in range(4)]
    table = overlap({"x": a, "y": a, "z": [Node("mlp", 0)]}, 50)
    assert table.jaccard.tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(EmotionCircuitsError, match="do not fit"):
        chance_jaccard(5, 9, 1)


def test_dissociation_has_a_row_per_circuit_and_task(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    tasks = {e: task.select([i for i, p in enumerate(task.pairs) if p.label == e]) for e in ("gamma", "alpha")}
    by_role = {r: n for n, r in found.roles.items()}
    circuits = {"gamma": [by_role["expresser"]], "alpha": [found.decoys[0]]}
    result = dissociation(found.model, tasks, circuits)
    shares = result.table.groupby("circuit").share.mean()
    assert len(result.table) == 4
    assert shares["gamma"] > 0.5 > abs(shares["alpha"]) * 2
    # The expresser serves both emotions: naming it after one of them makes no double dissociation.
    assert abs(result.specificity) < 0.3
    assert result.interval[0] <= result.specificity <= result.interval[1]
    assert result.p > 0.05
    same = dissociation(found.model, tasks, {e: [by_role["expresser"]] for e in tasks})
    assert same.specificity == pytest.approx(0, abs=1e-6)
    with pytest.raises(EmotionCircuitsError, match="no circuit is named like"):
        dissociation(found.model, tasks, {"gamma": [by_role["expresser"]]})


def test_emotion_overlap_is_specific_only_where_scores_are(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    emotions = found.spec.values
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(len(task), 60, generator=generator)
    shared[:, :10] += 5
    alike = emotion_overlap(shared, task, emotions, k=10, splits=10, resamples=60)
    assert alike.table.jaccard.min() > 0.9
    assert abs(alike.specificity) < 0.05
    assert alike.p > 0.05
    own = torch.randn(len(task), 60, generator=generator)
    for row, pair in enumerate(task.pairs):
        for index, emotion in enumerate(emotions):
            if emotion in (pair.label, pair.corrupted_label):
                own[row, 10 * index : 10 * index + 10] += 5
    apart = emotion_overlap(own, task, emotions, k=10, splits=10, resamples=60)
    assert apart.specificity > apart.null_interval[1]
    assert apart.interval[0] > 0
    assert apart.p < 0.05
    noise = emotion_overlap(torch.randn(len(task), 60, generator=generator), task, emotions, k=10, resamples=60)
    assert noise.null_interval[0] <= noise.specificity <= noise.null_interval[1]
    with pytest.raises(EmotionCircuitsError, match="needs 2 of them"):
        emotion_overlap(own, task, emotions[:1])
    assert named_by_chance(own, task, own, task, emotions, k=10, shuffles=99) == pytest.approx(0.01)


def test_sets_named_at_random_are_specific_as_often_as_chance_has_it(planted: tuple[PlantedModel, PairTask]) -> None:
    """Every item does something of its own to every emotion's pairs, but train scores do not tell which."""
    found, task = planted
    emotions = found.spec.values
    generator = torch.Generator().manual_seed(3)
    ps = []
    for _ in range(60):
        test = torch.randn(len(task), 40, generator=generator) * 0.1
        for e in emotions:
            rows = [i for i, p in enumerate(task.pairs) if p.label == e]
            test[rows] += torch.randn(40, generator=generator)
        train = torch.randn(len(task), 40, generator=generator)
        ps.append(named_by_chance(train, task, test, task, emotions, k=5, shuffles=39))
    assert np.mean(np.array(ps) <= 0.05) <= 0.15
    assert 0.3 < np.mean(ps) < 0.7
