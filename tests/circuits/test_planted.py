from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emotion_circuits.circuits import (
    calibrate,
    circuit_figure,
    curve_figure,
    find_circuit,
    head_claims,
    head_evidence,
    load_circuit,
    plant,
    task_claim,
)
from emotion_circuits.circuits.calibration import difficulty_curve, upper_bound
from emotion_circuits.circuits.finding import Search
from emotion_circuits.circuits.planted import PlantedModel, PlantedSpec
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import PairTask, ablation_scan, pair_task, task_gap
from emotion_circuits.heads.screening import delta_attention
from emotion_circuits.model import self_check


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


def test_a_circuit_is_found_saved_and_drawn(planted: tuple[PlantedModel, PairTask], tmp_path: Path) -> None:
    found, _ = planted
    circuit = find_circuit(found.model, found.pairs, exact=12, steps=3, search=Search(n_random=3, roles=8, samples=20))
    members = set(circuit.members())
    expected = [n for n, role in found.roles.items() if role in ("detector", "aggregator", "expresser")]
    assert members >= {*expected, found.mlp}
    claims = {c.id: c for c in circuit.claims}
    assert claims["circuits.faithfulness.pairs"].verdict == "supported"
    assert claims["circuits.task.pairs"].verdict == "supported"
    assert circuit.cpr["circuit"] > circuit.cpr["random"]
    assert circuit.stability["jaccard"] > circuit.stability["chance"]
    assert circuit.agreement["spearman"] > 0.5
    circuit.save(tmp_path / "circuit.json")
    assert load_circuit(tmp_path / "circuit.json") == circuit
    figure = circuit_figure(circuit)
    drawn = {t for trace in figure.data for t in (trace.hovertext or ()) if trace.mode == "markers+text"}
    assert {"embed", "logits"} <= drawn
    assert {t.split(":")[0] for t in drawn} >= {n.node for n in circuit.nodes}
    assert sum(trace.mode == "lines" for trace in figure.data) <= 24
    assert len(curve_figure(circuit).data) == 4
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(EmotionCircuitsError, match="is not a circuit"):
        load_circuit(tmp_path / "bad.json")
    with pytest.raises(EmotionCircuitsError, match="no test pairs"):
        find_circuit(found.model, [p for p in found.pairs if p.split != "test"])


def test_the_bench_reports_every_method() -> None:
    result = calibrate([7, 8], n_pairs=12, no_circuit=2)
    names = {m.name for m in result.methods}
    assert {"noising", "EAP-IG", "edge patching (noising)", "Δattention (last token)"} <= names
    assert set(result.best) == {"head_auroc", "edge_auroc", "role_accuracy", "false_claim_rate"}
    assert result.best["head_auroc"] >= 0.9
    assert result.bars["Δattention ranks decoys above true heads"]
    assert result.false_claims["no_circuit_heads"].n == 72
    assert result.false_claims["no_circuit_models"].upper > 0.05
    assert not result.bars["upper bound of models without a circuit and with a claim <= 0.05"]
    # Chosen on one seed, reported on the other.
    assert (result.settings["chosen_on"], result.settings["reported_on"]) == ([7], [8])
    for method in result.methods:
        assert {method.chosen_on, method.reported_on} <= {method.low, method.high}
    with pytest.raises(EmotionCircuitsError, match="at least one seed"):
        calibrate([])


def test_much_noise_hides_the_circuit() -> None:
    curve = difficulty_curve([7], [0.2, 3.5], n_pairs=12, edges=False)
    at = {(row["difficulty"], row["method"]): row for row in curve}
    assert at[0.2, "noising"]["correct"] > 0.9
    assert at[3.5, "noising"]["median"] < at[0.2, "noising"]["median"]


def test_the_upper_bound_is_clopper_and_pearsons() -> None:
    assert upper_bound(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper_bound(3, 3) == 1.0
    assert upper_bound(2, 50) > 2 / 50


def test_impossible_specs_are_refused() -> None:
    for wrong in ({"architecture": "bert"}, {"languages": 3}, {"difficulty": 5.0}, {"n_pairs": 3}):
        with pytest.raises(EmotionCircuitsError):
            PlantedSpec(**wrong)  # type: ignore[arg-type]
