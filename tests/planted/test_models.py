"""Planted models hold the circuit they say, and the instrument sees it."""

from __future__ import annotations

import pytest
import torch

from emotion_circuits.circuits import head_claims, head_evidence, task_claim
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import PairTask, ablation_scan, pair_task, task_gap
from emotion_circuits.heads.screening import delta_attention
from emotion_circuits.model import self_check
from emotion_circuits.planted import PlantedModel, PlantedSpec, plant


@pytest.fixture(scope="module", params=[("gpt2", 1, 11), ("llama", 2, 12)], ids=["gpt2", "llama"])
def planted(request: pytest.FixtureRequest) -> tuple[PlantedModel, PairTask]:
    architecture, languages, seed = request.param
    found = plant(PlantedSpec(seed=seed, architecture=architecture, languages=languages, n_pairs=36))
    return found, pair_task(found.model, found.pairs)


def test_an_ordinary_model_that_passes_the_self_check(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    assert all(r.passed for r in self_check(found.model))
    assert len(task) == len(found.pairs)
    assert not task.excluded
    assert type(found.model.hf).__name__ in ("GPT2LMHeadModel", "LlamaForCausalLM")
    assert {p.split for p in found.pairs} == {"train", "validation", "test"}
    assert len(found.roles) == 4 + found.spec.languages
    assert not set(found.roles) & set(found.decoys)


def test_the_same_spec_gives_the_same_model(planted: tuple[PlantedModel, PairTask]) -> None:
    found, _ = planted
    again = plant(found.spec)
    for a, b in zip(found.model.hf.parameters(), again.model.hf.parameters(), strict=True):
        assert torch.equal(a, b)
    assert again.pairs == found.pairs
    other = plant(PlantedSpec(seed=found.spec.seed + 1, architecture=found.spec.architecture))
    assert other.pairs != found.pairs


def test_the_circuit_does_the_task_and_its_parts_matter(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    clean, corrupted = task_gap(found.model, task)
    assert (clean > corrupted).float().mean() > 0.9
    share = dict(zip(found.roles.values(), ablation_scan(found.model, task, list(found.roles)).share, strict=True))
    assert share["detector"] > 0.2
    assert share["expresser"] > 0.5
    assert share["canceller"] < -0.1
    assert abs(share["backup"]) < 0.15
    decoys = ablation_scan(found.model, task, list(found.decoys)).share
    assert decoys.abs().max() < 0.15


def test_attention_points_at_decoys(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    screen = delta_attention(found.model, task)
    decoys = torch.stack([screen.delta[n.layer, n.head] for n in found.decoys])
    true = torch.stack([screen.delta[n.layer, n.head] for n in found.roles])
    assert decoys.min() > true.max()
    table = screen.table(resamples=200)
    assert set(table.node[: len(found.decoys)]) == {str(n) for n in found.decoys}
    assert (table.q[: len(found.decoys)] < 0.05).all()
    with pytest.raises(EmotionCircuitsError, match="last or later"):
        delta_attention(found.model, task, query="first")  # type: ignore[arg-type]


def test_the_no_circuit_model_gives_no_claim() -> None:
    found = plant(PlantedSpec(seed=5, circuit=False, n_pairs=24))
    assert not found.roles
    assert not found.edges
    task = pair_task(found.model, found.pairs)
    claims = head_claims(found.model, task)
    assert [c.verdict for c in claims if c.verdict == "supported"] == []
    assert len(claims) == 37


def test_true_heads_are_claimed(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    assert task_claim(found.model, task).verdict == "supported"
    single = [n for n, role in found.roles.items() if role != "backup"]
    claims = head_claims(found.model, task, [*single, *found.decoys])[1:]
    assert [c.verdict == "supported" for c in claims] == [True] * len(single) + [False] * len(found.decoys)


def test_roles_are_named(planted: tuple[PlantedModel, PairTask]) -> None:
    found, task = planted
    evidence = head_evidence(found.model, task).set_index("node").role
    named = {node: evidence[str(node)] for node in found.roles}
    assert sum(named[n] == r for n, r in found.roles.items()) >= len(found.roles) - 1
    assert all(evidence[str(n)] == "none" for n in found.decoys)


def test_impossible_specs_are_refused() -> None:
    for wrong in ({"architecture": "bert"}, {"languages": 3}, {"difficulty": 5.0}, {"n_pairs": 3}):
        with pytest.raises(EmotionCircuitsError):
            PlantedSpec(**wrong)  # type: ignore[arg-type]
