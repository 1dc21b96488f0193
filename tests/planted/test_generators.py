"""Every generator's truth, checked by intervening: what is said to matter does, what is said not to does not."""

from __future__ import annotations

import pytest
import torch

from emotion_circuits.circuits import edge_scan
from emotion_circuits.circuits.claims import task_claim
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import PairTask, all_edges, all_nodes, head_nodes, pair_task, patch_scan, task_gap
from emotion_circuits.model import self_check
from emotion_circuits.planted import GENERATORS, PlantedModel, PlantedSpec, RejectedError, generators_of
from emotion_circuits.planted.building import _spread
from emotion_circuits.planted.interchange import Fidelity, Training
from emotion_circuits.planted.programs import draw_program
from emotion_circuits.planted.trained import Trained

SHORT = Trained(training=Training(steps=250))
CASES = [("distributed", 103), ("superposed", 100), ("superposed", 103), ("trained", 0)]
SLOW = {"trained": [pytest.mark.slow]}  # most of a minute of training


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, marks=SLOW.get(case[0], []), id=f"{case[0]}-{case[1]}") for case in CASES],
)
def planted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, PlantedModel, PairTask]:
    name, seed = request.param
    spec = PlantedSpec(seed, "llama" if seed % 2 else "gpt2", languages=1 + seed % 2, n_pairs=24)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = (SHORT if name == "trained" else GENERATORS[name]).plant(spec)
        again = (SHORT if name == "trained" else GENERATORS[name]).plant(spec)  # a trained one comes from the cache
    for a, b in zip(found.model.hf.parameters(), again.model.hf.parameters(), strict=True):
        assert torch.equal(a, b)
    assert (again.pairs, again.roles, again.edges) == (found.pairs, found.roles, found.edges)
    return name, found, pair_task(found.model, found.pairs)


def test_an_ordinary_model_does_the_task(planted: tuple[str, PlantedModel, PairTask]) -> None:
    _, found, task = planted
    assert type(found.model.hf).__name__ in ("GPT2LMHeadModel", "LlamaForCausalLM")
    assert all(result.passed for result in self_check(found.model))
    clean, corrupted = task_gap(found.model, task)
    assert (clean > corrupted).float().mean() > 0.9
    assert task_claim(found.model, task).verdict == "supported"


def test_true_heads_move_the_answers_and_no_others_do(planted: tuple[str, PlantedModel, PairTask]) -> None:
    name, found, task = planted
    nodes = head_nodes(found.model)
    share = dict(zip(nodes, patch_scan(found.model, task, nodes, direction="noising").share.tolist(), strict=True))
    others = [abs(share[node]) for node in nodes if node not in found.roles]
    assert found.decoys
    assert not set(found.decoys) & set(found.roles)
    assert max(others) < 0.1
    true = list(found.roles)
    if name == "distributed":  # many small shares, and some oppose the others
        assert sum(abs(share[node]) < 0.2 for node in true) > len(true) / 2
        assert min(share[node] for node in true if found.roles[node] == "canceller") < -0.02
    else:
        assert min(share[node] for node in true) > 0.05
    whole = patch_scan(found.model, task, [[*true, *found.mlps]], direction="noising").share[0]
    rest = [node for node in all_nodes(found.model) if node not in found.roles and node not in found.mlps]
    assert whole == pytest.approx(1.0, abs=0.1)
    assert abs(patch_scan(found.model, task, [rest], direction="noising").share[0]) < 0.25


def test_true_edges_carry_what_others_do_not(planted: tuple[str, PlantedModel, PairTask]) -> None:
    _, found, task = planted
    assert found.edges <= set(all_edges(found.model))
    edges = sorted(found.edges, key=lambda edge: (edge[0].order, edge[1].order))
    some = [edge for edge in all_edges(found.model) if edge not in found.edges][::7]
    scan = edge_scan(found.model, task.select(range(12)), [*edges, *some], direction="noising")
    effect = dict(zip(scan.edges, (scan.effect.mean(1) / scan.gap.mean()).abs().tolist(), strict=True))
    others = sorted(effect[edge] for edge in some)
    median = sorted(effect[edge] for edge in edges)[len(edges) // 2]
    assert median > others[int(0.95 * len(others))]


def test_attention_alone_misleads(planted: tuple[str, PlantedModel, PairTask]) -> None:
    from emotion_circuits.heads.screening import delta_attention

    _, found, task = planted
    screen = delta_attention(found.model, task)
    looks = {node: float(screen.delta[node.layer, node.head].abs()) for node in head_nodes(found.model)}
    assert max(looks[node] for node in found.decoys) > min(looks[node] for node in found.roles)


def test_models_without_a_circuit_do_not_do_the_task() -> None:
    for name in ("distributed", "superposed"):
        found = GENERATORS[name].plant(PlantedSpec(3, circuit=False, n_pairs=24))
        assert not found.roles
        assert not found.edges
        task = pair_task(found.model, found.pairs)
        clean, corrupted = task_gap(found.model, task)
        with_circuit = GENERATORS[name].plant(PlantedSpec(3, n_pairs=24))
        does = pair_task(with_circuit.model, with_circuit.pairs)
        gap = torch.sub(*task_gap(with_circuit.model, does)).mean()
        assert abs((clean - corrupted).mean()) < 0.15 * gap
    with pytest.raises(EmotionCircuitsError, match="with a circuit"):
        SHORT.plant(PlantedSpec(0, circuit=False))


def test_packed_directions_are_as_far_apart_as_they_go() -> None:
    generator = torch.Generator().manual_seed(0)
    features, dimensions = 36, 30
    unit = _spread(torch.randn(features, dimensions, generator=generator))
    cosines = (unit @ unit.T).fill_diagonal_(0).abs()
    welch = ((features - dimensions) / (dimensions * (features - 1))) ** 0.5
    assert torch.allclose(unit.norm(dim=-1), torch.ones(features))
    assert welch <= cosines.max() < 1.6 * welch


def test_programs_say_what_an_interchange_does() -> None:
    generator = torch.Generator().manual_seed(0)
    emotion, language = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 0, 1])
    for seed in range(3):
        program = draw_program(PlantedSpec(seed, languages=2), 3, 4, generator)
        answer = program.variables[-1].name
        plain = program.states(emotion, language)
        assert plain[answer].tolist() == emotion.tolist()
        source = program.states(emotion.flip(0), language)
        everywhere = torch.ones(4, dtype=torch.bool)
        swapped = program.interchanged(emotion, language, source, {answer: everywhere})
        assert swapped[answer].tolist() == emotion.flip(0).tolist()
        assert not set(program.decoys) & set(program.nodes)
        if program.name != "relay":  # one digit of the other emotion, one of its own
            digit = program.interchanged(emotion, language, source, {"low digit": everywhere})[answer]
            assert digit.tolist() == [int(2 * (e // 2) + (3 - e) % 2) for e in emotion.tolist()]


def test_models_that_do_not_obey_are_rejected(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path))
    hasty = Trained(training=Training(steps=20), tries=2)
    for _ in range(2):  # trained, then from the cache
        with pytest.raises(RejectedError, match="none of 2 models") as caught:
            hasty.plant(PlantedSpec(0))
        assert caught.value.rejected == 2
    assert Fidelity(0.99, 0.99, 0.04).reached()
    assert not Fidelity(0.99, 0.99, 0.06).reached()
    assert not Fidelity(0.99, 0.97, 0.04).reached()


def test_damaged_weights_are_trained_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path))
    quick = Trained(training=Training(steps=20), tries=1)
    with pytest.raises(RejectedError):
        quick.plant(PlantedSpec(0))
    (kept,) = (tmp_path / "planted").glob("*.safetensors")
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RejectedError):
        quick.plant(PlantedSpec(0))
    assert kept.read_bytes() == whole


def test_generators_are_asked_for_by_name() -> None:
    assert [made.name for made in generators_of(["trained", GENERATORS["staged"]])] == ["trained", "staged"]
    with pytest.raises(EmotionCircuitsError, match="once"):
        generators_of(["staged", GENERATORS["staged"]])
