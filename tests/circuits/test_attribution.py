from __future__ import annotations

from typing import Literal

import pytest
import torch

from character_tasks import character_pairs
from emotion_circuits.circuits.attribution import attribute
from emotion_circuits.circuits.edges import edge_scan
from emotion_circuits.circuits.writing import run_with_outputs, write_difference
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import EMBED, LOGITS, Node, all_edges, all_nodes, base_run, pair_task
from emotion_circuits.heads.changes import node_value
from emotion_circuits.model import Ablate, LanguageModel, Patch, Site, intervene
from emotion_circuits.model.sharing import shared_columns
from families import tiny_model

FAMILIES = [
    "gpt2",
    "gpt_neo",
    "gpt_neox",
    "gpt_neox_sequential",
    "gptj",
    "llama",
    "qwen3",
    "opt",
    "phi3",
    "stablelm_parallel",
]
SANDWICH = ["gemma2", "gemma3", "olmo2"]


def nearly_equal_words(model: LanguageModel) -> LanguageModel:
    with torch.no_grad():
        weight = model.hf.get_input_embeddings().weight
        weight.copy_(weight.mean(0) + (weight - weight.mean(0)) * 0.05)
    return model


@pytest.mark.parametrize("name", [*FAMILIES, *SANDWICH])
def test_node_attribution_is_the_derivative(name: str) -> None:
    model = tiny_model(name)
    if name != "gemma2":  # its masked rows hold NaN in float64
        model.hf.double()
    task = pair_task(model, character_pairs())
    nodes = all_nodes(model)
    found = attribute(model, task, method="clean")
    clean, corrupted = (run_with_outputs(model, b, nodes) for b in (task.clean, task.corrupted))
    # Others compute attention or norms in float32 whatever the dtype.
    single = name not in ("gpt2", "gpt_neox", "gpt_neox_sequential", "opt", "stablelm_parallel")
    step, tolerance = (1e-2, 3e-4) if single else (1e-4, 1e-5)
    for index, node in list(enumerate(nodes))[::3]:
        difference = node_value(clean, node) - node_value(corrupted, node)
        sides = []
        for sign in (1, -1):
            value = node_value(clean, node) + sign * step * difference
            with torch.no_grad(), intervene(model, [Patch(site=node.site, value=value)]):
                sides.append(model.logits(task.clean, last_only=True).double().gather(-1, task.answer_ids))
        expected = ((sides[0] - sides[1]) * task.answer_weights).sum(-1) / (2 * step)
        assert torch.allclose(found.node_scores[:, index].double(), expected, atol=tolerance, rtol=1e-3)
    assert found.node_scores.abs().max() > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_edges_of_a_writer_sum_to_the_writer(name: str) -> None:
    model = tiny_model(name)
    task = pair_task(model, character_pairs())
    found = attribute(model, task, method="integrated", steps=2, edges=True, rows=2)
    assert found.edges == tuple(all_edges(model))
    for index, node in enumerate(found.nodes):
        outgoing = [i for i, (u, _) in enumerate(found.edges) if u == node]
        total = found.edge_scores[:, outgoing].sum(1)
        assert torch.allclose(total, found.node_scores[:, index], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", SANDWICH)
def test_behind_a_post_norm_the_sum_holds_closely(name: str) -> None:
    model = nearly_equal_words(tiny_model(name))
    task = pair_task(model, character_pairs())
    nodes = all_nodes(model)
    clean, corrupted = (
        base_run(model, b, model.sites("z", "mlp_out", "attn_out")) for b in (task.clean, task.corrupted)
    )
    heads = [n for n in nodes if n.kind == "head" and n.layer == 1]
    parts = write_difference(model, clean, corrupted, heads).sum(0)
    whole = clean.values[Site("attn_out", 1)] - corrupted.values[Site("attn_out", 1)]
    real = task.clean.real
    assert (parts - whole)[real].norm() < 0.01 * whole[real].norm()


def test_integrated_gradients_sum_to_the_whole_effect() -> None:
    model = tiny_model("llama")
    task = pair_task(model, character_pairs())
    found = attribute(model, task, method="integrated", steps=40, edges=True)
    from_embedding = [i for i, (u, _) in enumerate(found.edges) if u == EMBED]
    with torch.no_grad():
        gap = task.logit_difference(model.logits(task.clean, last_only=True))
        gap -= task.logit_difference(model.logits(task.corrupted, last_only=True))
    assert torch.allclose(found.edge_scores[:, from_embedding].sum(1), gap, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "llama", "gpt_neox_sequential", "gemma2"])
def test_an_exact_edge_to_the_logits_is_the_direct_effect(name: str) -> None:
    model = tiny_model(name)
    task = pair_task(model, character_pairs())
    last = model.n_layers - 1
    mlp, head = Node("mlp", last), Node("head", last, 1)
    scan = edge_scan(model, task, [(mlp, LOGITS), (head, LOGITS), (EMBED, Node("head", 0, 0)), (head, mlp)])
    # Nothing comes after the last MLP: its edge to the logits is all it does.
    source = run_with_outputs(model, task.corrupted, [mlp])
    with torch.no_grad(), intervene(model, [Patch(site=mlp.site, value=node_value(source, mlp))]):
        changed = task.logit_difference(model.logits(task.clean, last_only=True))
    plain = task.logit_difference(model.logits(task.clean, last_only=True))
    assert torch.allclose(scan.effect[0], plain - changed, atol=1e-5)
    # The first layer's head reads the embedding alone: its edge from there is the whole head.
    source = run_with_outputs(model, task.corrupted, [Node("head", 0, 0)])
    with torch.no_grad(), intervene(model, [Patch(site=Site("z", 0, 0), value=node_value(source, Node("head", 0, 0)))]):
        changed = task.logit_difference(model.logits(task.clean, last_only=True))
    assert torch.allclose(scan.effect[2], plain - changed, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_small_differences_make_exact_and_estimated_edges_agree(name: str) -> None:
    model = nearly_equal_words(tiny_model(name))
    task = pair_task(model, character_pairs())
    estimated = attribute(model, task, method="clean", edges=True)
    exact = edge_scan(model, task)
    assert exact.edges == estimated.edges
    a, b = exact.effect.mean(1), estimated.edge_scores.mean(0)
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.95


@pytest.mark.parametrize("method", ["clean", "corrupted", "integrated"])
@pytest.mark.parametrize("name", [*FAMILIES, *SANDWICH])
def test_what_both_sides_begin_with_is_read_once_and_changes_no_score(name: str, method: Literal["clean"]) -> None:
    wide = {"gpt_neo": {"window_size": 64}, "gemma2": {"sliding_window": 64}, "gemma3": {"sliding_window": 64}}
    model = tiny_model(name, **wide.get(name, {}))
    task = pair_task(model, character_pairs()[:2])
    columns: list[int] = []

    def seen(_module: object, args: tuple[torch.Tensor, ...], kwargs: dict[str, torch.Tensor]) -> None:
        columns.append(kwargs.get("input_ids", args[0] if args else None).shape[1])  # type: ignore[union-attr]

    handle = model.hf.register_forward_pre_hook(seen, with_kwargs=True)  # on the whole model: nothing acts by column
    once = attribute(model, task, method=method, steps=2, edges=True)
    handle.remove()
    width = task.clean.input_ids.shape[1]
    shared = shared_columns(model, task.clean, task.corrupted)
    assert 0 < shared < width
    assert set(columns) == {width - shared}, "every pass with a graph goes on behind the beginning"
    # Somebody's hook inside may act by column: everything is read whole, with the model's own unembedding.
    handle = model.blocks[0].register_forward_hook(lambda _module, _inputs, out: out)
    whole_logits = model.unembedding.register_forward_hook(lambda _module, _inputs, out: out)
    try:
        assert shared_columns(model, task.clean, task.corrupted) == 0
        whole = attribute(model, task, method=method, steps=2, edges=True)
    finally:
        handle.remove()
        whole_logits.remove()
    assert torch.allclose(once.node_scores, whole.node_scores, atol=1e-5)
    assert torch.allclose(once.edge_scores, whole.edge_scores, atol=1e-5)
    assert whole.node_scores.abs().max() > 1e-3


def test_nothing_is_shared_where_columns_may_differ_otherwise() -> None:
    model = tiny_model("llama")
    task = pair_task(model, character_pairs()[:2])
    assert shared_columns(model, task.clean, task.corrupted) > 0
    same = task.clean.input_ids.shape[1] - 1
    assert shared_columns(model, task.clean, task.clean) == same, "one column is left to run"
    with intervene(model, [Ablate(site=Site("z", 0, 0))]):
        assert shared_columns(model, task.clean, task.corrupted) == 0
    local = tiny_model("mistral", sliding_window=4)
    assert local.window <= task.clean.input_ids.shape[1]
    assert shared_columns(local, task.clean, task.corrupted) == 0


def test_unknown_methods_and_edges_are_refused() -> None:
    model = tiny_model("llama")
    task = pair_task(model, character_pairs())
    with pytest.raises(EmotionCircuitsError, match="clean, corrupted or integrated"):
        attribute(model, task, method="guess")  # type: ignore[arg-type]
    with pytest.raises(EmotionCircuitsError, match="has no edge"):
        edge_scan(model, task, [(Node("mlp", 2), Node("head", 0, 0))])
