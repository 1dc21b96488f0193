from __future__ import annotations

import pytest
import torch

from character_tasks import character_pairs
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import (
    Node,
    ablation_scan,
    all_nodes,
    base_run,
    pair_task,
    patch_scan,
    run_variants,
    task_gap,
)
from emotion_circuits.heads.changes import ablation, head_direction, patch, patch_sites
from emotion_circuits.heads.screening import delta_attention
from emotion_circuits.heads.tasks import spread
from emotion_circuits.model import ALL, Ablate, Patch, Positions, Site, intervene, observe
from emotion_circuits.model.resuming import resume
from emotion_circuits.planted import PlantedSpec, plant
from emotion_circuits.prompts import Pair
from families import CONFIGS, tiny_model


@pytest.mark.parametrize("name", list(CONFIGS))
def test_exact_scan_equals_the_naive_loop(name: str) -> None:
    model = tiny_model(name)
    task = pair_task(model, character_pairs())
    nodes = all_nodes(model)
    scan = ablation_scan(model, task, nodes, batch_rows=9)
    plain = task.logit_difference(model.logits(task.clean, last_only=True))
    for index, node in enumerate(nodes):
        with torch.no_grad(), intervene(model, [Ablate(site=node.site)]):
            changed = task.logit_difference(model.logits(task.clean, last_only=True))
        assert torch.allclose(scan.effect[index], plain - changed, atol=1e-5)
    assert scan.effect.abs().max() > 1e-3


@pytest.mark.parametrize("name", ["gpt2", "gptj", "gpt_neo", "llama", "gemma2", "opt"])
@pytest.mark.parametrize("mode", ["z", "v_only", "pattern_only", "pattern_v"])
def test_patch_scan_equals_the_naive_loop(name: str, mode: str) -> None:
    model = tiny_model(name)
    task = pair_task(model, character_pairs())
    nodes = [Node("head", 1, h) for h in range(4)]
    scan = patch_scan(model, task, nodes, mode, direction="noising")
    source = base_run(model, task.corrupted, patch_sites(nodes, mode))
    plain = task.logit_difference(model.logits(task.clean, last_only=True))
    for index, node in enumerate(nodes):
        with torch.no_grad(), intervene(model, patch([node], source, mode)):
            changed = task.logit_difference(model.logits(task.clean, last_only=True))
        assert torch.allclose(scan.effect[index], plain - changed, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "gptj", "llama", "gemma3", "stablelm_parallel"])
@torch.no_grad()
def test_resuming_from_any_layer_is_bit_identical(name: str) -> None:
    model = tiny_model(name)
    task = pair_task(model, character_pairs())
    base = base_run(model, task.clean)
    for layer in range(model.n_layers):
        with resume(model, layer, base.resid_pre[layer]):
            assert torch.equal(model.logits(task.clean, last_only=True), base.logits)
    assert torch.equal(model.logits(task.clean, last_only=True), base.logits)
    with resume(model, 1, base.resid_pre[1], stop=2), observe(model, [Site("resid_post", 1)]) as record:
        model.hidden(task.clean)
    assert torch.equal(record[Site("resid_post", 1)], base.resid_pre[2])


def test_an_intervention_before_the_resumed_layer_is_refused() -> None:
    model = tiny_model("llama")
    task = pair_task(model, character_pairs())
    base = base_run(model, task.clean)
    with (
        pytest.raises(EmotionCircuitsError, match="has no effect"),
        intervene(model, [Ablate(site=Site("z", 0, 0))]),
        resume(model, 1, base.resid_pre[1]),
    ):
        model.logits(task.clean)
    with pytest.raises(EmotionCircuitsError, match="rows and positions"), resume(model, 1, base.resid_pre[1][:1]):
        model.logits(task.clean)
    with pytest.raises(EmotionCircuitsError, match="cannot run blocks"), resume(model, 7, base.resid_pre[1]):
        pass


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@torch.no_grad()
def test_patching_everything_gives_the_source_run(name: str) -> None:
    model = tiny_model(name)
    task = pair_task(model, character_pairs())
    clean, corrupted = base_run(model, task.clean), base_run(model, task.corrupted)
    everything = [Patch(site=Site("resid_pre", 0), value=clean.resid_pre[0])]
    with intervene(model, everything):
        assert torch.equal(model.logits(task.corrupted, last_only=True), clean.logits)
    nothing = run_variants(model, corrupted, [[]], lambda logits, _record: logits)
    assert torch.equal(nothing[0], corrupted.logits)
    # All heads, all MLPs and the embedding: the residual stream is the source's sum again.
    nodes = all_nodes(model)
    source = base_run(model, task.clean, patch_sites(nodes))
    with intervene(model, [*everything, *patch(nodes, source)]):
        assert torch.allclose(model.logits(task.corrupted, last_only=True), clean.logits, atol=1e-5)


def test_pattern_and_values_together_are_the_head_output() -> None:
    model = tiny_model("llama")
    task = pair_task(model, character_pairs())
    nodes = [Node("head", 1, 2)]
    both = patch_scan(model, task, nodes, "pattern_v").effect
    assert torch.allclose(both, patch_scan(model, task, nodes, "z").effect, atol=1e-5)


@torch.no_grad()
def test_directional_ablation_leaves_nothing_along_the_direction() -> None:
    model = tiny_model("llama")
    task = pair_task(model, character_pairs())
    direction = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    nodes = [Node("head", 1, h) for h in range(4)]
    directions = {n: head_direction(model, n, direction) for n in nodes}
    with (
        intervene(model, ablation(nodes, "directional", directions=directions)),
        observe(model, [Site("attn_out", 1)]) as record,
    ):
        model.logits(task.clean)
    assert (record[Site("attn_out", 1)] @ direction).abs().max() < 1e-4
    with observe(model, [Site("attn_out", 1)]) as record:
        model.logits(task.clean)
    assert (record[Site("attn_out", 1)] @ direction).abs().max() > 1e-2


def test_ablation_modes_and_positions() -> None:
    planted = plant(PlantedSpec(seed=1))
    task = pair_task(planted.model, planted.pairs[:12])
    expresser = [n for n, r in planted.roles.items() if r == "expresser"]
    for mode in ("zero", "mean", "resample"):
        assert ablation_scan(planted.model, task, expresser, mode).share[0] > 0.5
    last = ablation_scan(planted.model, task, expresser, "resample", positions=Positions("last")).effect
    everywhere = ablation_scan(planted.model, task, expresser, "resample", positions=ALL).effect
    assert torch.allclose(last, everywhere, atol=0.2)
    first = ablation_scan(planted.model, task, expresser, "resample", positions=Positions.at(0)).effect
    assert first.abs().max() < 1e-4
    with pytest.raises(EmotionCircuitsError, match="needs the direction"):
        ablation_scan(planted.model, task, expresser, "directional")


def test_given_nodes_are_ablated_in_both_arms() -> None:
    planted = plant(PlantedSpec(seed=2))
    task = pair_task(planted.model, planted.pairs[:12])
    named = {role: node for node, role in planted.roles.items()}
    alone = ablation_scan(planted.model, task, [named["backup"]]).share[0]
    after = ablation_scan(planted.model, task, [named["backup"]], given=[named["aggregator"]]).share[0]
    assert after > alone + 0.2


def test_a_scan_has_a_table_with_intervals_and_q() -> None:
    planted = plant(PlantedSpec(seed=1))
    task = pair_task(planted.model, planted.pairs[:16])
    direction = planted.directions["answer"][0]
    scan = patch_scan(
        planted.model, task, all_nodes(planted.model)[:14], direction="denoising", projection=(5, direction)
    )
    table = scan.table(resamples=200)
    assert len(table) == 14
    assert ((table.low <= table.effect) & (table.effect <= table.high)).all()
    assert (table.q >= table.p - 1e-12).all()
    assert "projection" in table
    clean, corrupted = task_gap(planted.model, task)
    assert torch.allclose(scan.gap, clean - corrupted, atol=1e-5)


def test_pairs_that_do_not_align_are_counted() -> None:
    model = tiny_model("llama")
    bad = character_pairs()[0].model_copy(
        update={"id": "long", "corrupted": "a muddy is it", "corrupted_spans": ((2, 7),)}
    )
    task = pair_task(model, [*character_pairs(), bad])
    assert len(task) == 3
    assert "tokens" in task.excluded["long"]
    with pytest.raises(EmotionCircuitsError, match="none of 1 pairs"):
        pair_task(model, [bad])


def mirrored_pairs() -> list[Pair]:
    rows = [p.model_copy(update={"corrupted_label": "neutral"}) for p in character_pairs()]
    turned = [
        p.model_copy(
            update={
                "id": f"{p.id}-turned", "text": p.corrupted, "corrupted": p.text, "label": p.corrupted_label,
                "corrupted_label": p.label, "answers": p.corrupted_answers, "corrupted_answers": p.answers,
                "spans": p.corrupted_spans, "corrupted_spans": p.spans,
            }
        )
        for p in rows
    ]  # fmt: skip
    return [q for both in zip(rows, turned, strict=True) for q in both]


def test_over_pairs_both_ways_round_noising_is_denoising() -> None:
    model = tiny_model("llama")
    task = pair_task(model, mirrored_pairs())
    assert task.mirrored
    one = task.one_way()
    assert not one.mirrored
    assert [p.id for p in one.pairs] == ["0", "1", "2"]
    nodes = all_nodes(model)
    sides = [patch_scan(model, task, nodes, direction=d).share for d in ("noising", "denoising")]
    assert torch.allclose(*sides, atol=1e-4)
    one_sides = [patch_scan(model, one, nodes, direction=d).share for d in ("noising", "denoising")]
    assert (one_sides[0] - one_sides[1]).abs().max() > 1e-3
    assert torch.allclose(sides[0], (one_sides[0] + one_sides[1]) / 2, atol=1e-4)


def test_the_screen_does_not_cancel_over_pairs_both_ways_round() -> None:
    model = tiny_model("llama")
    both, one = pair_task(model, mirrored_pairs()), pair_task(model, mirrored_pairs()).one_way()
    screen = delta_attention(model, both)
    assert len(screen.groups) == 3
    assert screen.delta.abs().max() > 1e-4
    assert torch.allclose(screen.delta, delta_attention(model, one).delta, atol=1e-6)


def test_spread_takes_whole_groups() -> None:
    rows = [p.model_copy(update={"id": f"{p.id}{i}", "group": f"{i}"}) for i in range(9) for p in character_pairs()[:2]]
    chosen = spread(rows, 7)
    assert len(chosen) == 6
    assert sorted({p.group for p in chosen}) == ["0", "3", "6"]
    assert spread(rows, 100) == rows
