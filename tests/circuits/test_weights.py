from __future__ import annotations

import pytest
import torch

from character_tasks import character_pairs
from emotion_circuits.circuits.weights import alignment, composition, copying_score, head_weights, written_tokens
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node, pair_task
from emotion_circuits.model import Site, observe
from emotion_circuits.model.families import at_path
from emotion_circuits.planted import PlantedModel, PlantedSpec, plant
from families import CONFIGS, tiny_model


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def planted(request: pytest.FixtureRequest) -> PlantedModel:
    return plant(PlantedSpec(seed=1, architecture=request.param, difficulty=0.2))


@pytest.mark.parametrize("name", list(CONFIGS))
@torch.no_grad()
def test_value_maps_are_the_models_own(name: str) -> None:
    """Differences of recorded values equal differences of the normed stream times the folded map."""
    model = tiny_model(name)
    batch = pair_task(model, character_pairs()[:1]).clean
    layer = 1
    with observe(model, model.sites("resid_pre", "v", "z", "attn_out")) as record:
        model.logits(batch)
    x, v = record[Site("resid_pre", layer)][0], record[Site("v", layer)][0]
    for head in range(model.n_heads):
        w = head_weights(model, Node("head", layer, head))
        scaled = x
        if model.family.attention_norm is not None:
            norm = at_path(model.blocks[layer], model.family.attention_norm)
            centred = x - x.mean(-1, keepdim=True) if isinstance(norm, torch.nn.LayerNorm) else x
            scaled = x / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        predicted = scaled @ w.v
        assert torch.allclose((predicted[1:] - predicted[:1]), v[1:, head] - v[:1, head], atol=2e-3)


def test_a_planted_head_writes_and_reads_what_was_planted(planted: PlantedModel) -> None:
    by_role = {r: n for n, r in planted.roles.items()}
    heads = [by_role["aggregator"], by_role["expresser"], by_role["canceller"], planted.decoys[0]]
    answer = alignment(planted.model, heads, planted.directions["answer"][0]).set_index("node")
    assert answer.output[str(by_role["expresser"])] > 2
    assert answer.output[str(planted.decoys[0])] < 1.5
    assert answer.writes_along[str(by_role["canceller"])] < -2
    assert answer.reads_v[str(by_role["canceller"])] > 1.5
    carried = alignment(planted.model, heads, planted.directions["carried"][1]).set_index("node")
    assert carried.output[str(by_role["aggregator"])] > 2
    assert carried.output_p[str(by_role["aggregator"])] < 0.05


def test_composition_finds_the_planted_link(planted: PlantedModel) -> None:
    by_role = {r: n for n, r in planted.roles.items()}
    table = composition(
        planted.model,
        [(by_role["detector"], by_role["aggregator"]), (by_role["aggregator"], by_role["expresser"])],
    )
    assert table.v[0] > 2 * table.chance[0]
    assert table.v[1] < 2 * table.chance[1]
    held = composition(planted.model, [(by_role["aggregator"], by_role["backup"])])
    assert held.q[0] > 2 * held.chance[0]
    with pytest.raises(EmotionCircuitsError, match="does not come after"):
        composition(planted.model, [(by_role["aggregator"], by_role["detector"])])


def test_written_tokens_and_copying() -> None:
    model = tiny_model("llama")
    node = Node("head", 0, 1)
    table = written_tokens(model, node, ["a", "b"], top=3)
    assert len(table) == 2
    assert len(table.raised[0]) == 3
    assert not set(table.raised[0]) & set(table.lowered[0])
    assert -1 <= copying_score(model, node) <= 1
    # A head whose output map undoes its value map on a tied unembedding copies by construction.
    tied = tiny_model("llama", tie_word_embeddings=True)
    attention = tied.blocks[0].self_attn
    with torch.no_grad():
        group = attention.v_proj.weight[:8]
        attention.o_proj.weight[:, :8] = group.T
        for norm in (tied.blocks[0].input_layernorm, tied.base.norm):
            norm.weight.fill_(1.0)
    assert copying_score(tied, Node("head", 0, 0)) == pytest.approx(1, abs=1e-4)
    with pytest.raises(EmotionCircuitsError, match="not a head"):
        head_weights(model, Node("mlp", 0))
