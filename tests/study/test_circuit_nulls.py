"""The circuits program claims nothing where emotions are shuffled; each null sees the fault it is there for."""

import numpy as np
import pandas as pd
import pytest
import torch

from emotion_circuits.circuits.attribution import Attribution
from emotion_circuits.circuits.claims import Effects, node_effects
from emotion_circuits.heads import Scan, head_nodes, pair_task, patch_scan
from emotion_circuits.heads.screening import Screen
from emotion_circuits.planted import PlantedSpec, plant
from emotion_circuits.prompts import load_pairs
from emotion_circuits.stations.circuits.calibrating import circuit_claims, shuffled
from emotion_circuits.stations.circuits.claims import attention_draft
from emotion_circuits.stations.circuits.patched import patched_drafts
from emotion_circuits.stations.circuits.settings import CircuitsSettings
from emotion_circuits.statistics import corrected, supported_shares

SMALL = CircuitsSettings(
    train_pairs=40,
    validation_pairs=16,
    test_pairs=24,
    exact=None,
    emotion_heads=3,
    roles=4,
    sizes=12,
    n_random=1,
    thorough=True,
)


def test_shuffled_pairs_keep_their_prompts_and_give_mirrors_the_same_emotions():
    pairs = load_pairs()
    found = shuffled(pairs, 3)
    assert [(p.text, p.corrupted, p.group, p.split) for p in found] == [
        (p.text, p.corrupted, p.group, p.split) for p in pairs
    ]
    answers = {}
    for p in pairs:
        answers.setdefault(p.label, set()).add(p.answers)
    by_prompts = {(p.text, p.corrupted): p for p in found}
    for p in found:
        assert p.label != p.corrupted_label
        assert p.answers in answers[p.label]
        mirror = by_prompts[p.corrupted, p.text]
        assert (mirror.label, mirror.answers) == (p.corrupted_label, p.corrupted_answers)
    # Neither the emotions nor the side is kept: either survives in about as many pairs as chance has it.
    kept = np.mean([p.label == q.label for p, q in zip(pairs, found, strict=True)])
    assert 0.1 < kept < 0.4
    assert shuffled(pairs, 3) == found != shuffled(pairs, 4)


def test_the_planted_circuit_is_claimed_and_with_shuffled_emotions_nothing_is():
    planted = plant(PlantedSpec(seed=31, n_pairs=72))
    true = circuit_claims(planted.model, planted.pairs, SMALL, planted.spec.values, seed=1)
    verdicts = {c.kind: c.verdict for c in true if c.kind != "circuits.head"}
    assert verdicts["circuits.task"] == verdicts["circuits.faithfulness"] == "supported"
    assert verdicts["circuits.overlap"] != "supported"
    assert verdicts["circuits.dissociation"] != "supported"
    assert all(c.figures.family and c.figures.q is not None for c in true)
    draws = [
        circuit_claims(planted.model, shuffled(planted.pairs, s), SMALL, planted.spec.values, seed=s) for s in range(2)
    ]
    found = supported_shares(draws)
    # That there is no circuit is true here.
    assert {kind for kind, share in found.items() if share.hits} <= {"circuits.task", "circuits.none"}
    assert found["circuits.task"].n == found["circuits.task"].clusters == 2


def test_noising_a_turned_task_is_denoising():
    planted = plant(PlantedSpec(seed=31, n_pairs=24))
    task = pair_task(planted.model, planted.pairs)
    assert torch.equal(task.turned().turned().answer_weights, task.answer_weights)
    turned = node_effects(planted.model, task.turned(), head_nodes(planted.model), draws=20)
    denoised = patch_scan(planted.model, task, head_nodes(planted.model))
    assert torch.allclose(turned.scan.effect, denoised.effect, atol=1e-4)
    assert torch.allclose(turned.scan.gap, denoised.gap, atol=1e-4)


def attention(rng, own, shared):
    """40 groups, the heads of a planted model: Δattention and effect with a size per head that is common to both or not."""
    planted = plant(PlantedSpec(seed=31, n_pairs=24))
    nodes = head_nodes(planted.model)
    layers, heads, n = planted.model.n_layers, planted.model.n_heads, 40
    size = np.exp(rng.normal(size=len(nodes)))
    mean = size if own else np.zeros(len(nodes))
    tables = [mean + (size if shared else 1) * rng.normal(size=(n, len(nodes))) for _ in range(2)]
    groups = tuple(map(str, range(n)))
    clean = torch.from_numpy(tables[0].T.reshape(layers, heads, n))
    screen = Screen(clean, torch.zeros_like(clean), groups, "last")
    effect = torch.from_numpy(tables[1].T)
    scan = Scan(tuple((node,) for node in nodes), "noising z", effect, effect, torch.ones(n), groups)
    scored = Attribution("clean", tuple(nodes), effect.T, (), torch.zeros(n, 0))
    effects = Effects(None, scan, np.zeros((len(nodes), 2)), 2, "pairs")  # type: ignore[arg-type]
    return attention_draft(screen, effects, scored, groups, draws=199)


def test_heads_that_vary_much_in_both_do_not_make_attention_tell():
    """Without any mean, sizes of means still agree over heads where the spreads do: exchanged sides see that."""
    rng = np.random.default_rng(0)
    (real,) = corrected([attention(rng, own=True, shared=True)])
    assert real.verdict == "supported"
    found = corrected([attention(rng, own=False, shared=True)])[0]
    assert found.figures.estimate > 0.3
    assert found.figures.p > 0.05
    assert found.verdict != "supported"


@pytest.mark.parametrize(("lift", "verdict"), [(0.0, "supported"), (0.5, "inconclusive")])
def test_patched_heads_must_beat_random_heads(lift, verdict):
    """With random heads that do as much, the difference to a neutral source supports nothing."""
    rng = np.random.default_rng(1)
    prompts = [f"opening {i}" for i in range(16)]
    base = rng.uniform(0, 0.2, size=16)

    def arm(name, emotion, draw, values):
        return pd.DataFrame({"arm": name, "emotion": emotion, "draw": draw, "prompt": prompts, "own_anger": values})

    rows = [arm("plain", "", 0, base), arm("neutral source", "anger", 0, base + rng.normal(0, 0.02, 16))]
    rows.append(arm("circuit", "anger", 0, base + 0.5 + rng.normal(0, 0.02, 16)))
    rows += [arm("random", "anger", i, base + lift + rng.normal(0, 0.02, 16)) for i in range(59)]
    (claim,) = corrected(patched_drafts(pd.concat(rows), ["anger"]))
    assert claim.verdict == verdict
    assert claim.figures.estimate == pytest.approx(0.5, abs=0.03)
    assert claim.figures.beside["draws"] == 59
