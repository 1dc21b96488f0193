from __future__ import annotations

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node
from emotion_circuits.heads.changes import ablation
from emotion_circuits.heads.texts import continue_both, next_token_loss, source_patch
from emotion_circuits.model import Sampling
from families import tiny_model


@torch.no_grad()
def test_the_loss_is_hugging_faces() -> None:
    model = tiny_model("llama")
    texts = ["hello there", "a longer text than that"]
    loss = next_token_loss(model, texts)
    for index, text in enumerate(texts):
        ids = model.tokenize([text]).input_ids
        assert loss[index] == pytest.approx(float(model.hf(input_ids=ids, labels=ids).loss), abs=1e-5)
    changed = next_token_loss(model, texts, ablation([Node("head", 1, 0)]))
    assert (changed - loss).abs().min() > 1e-5
    with pytest.raises(EmotionCircuitsError, match="single token"):
        next_token_loss(model, ["ab", "a"])


def test_both_arms_share_seeds_and_decoding() -> None:
    model = tiny_model("gpt2")
    prompts = ["how are you", "so"]
    sampling = Sampling(max_new_tokens=6, temperature=1.0)
    same = continue_both(model, prompts, [], sampling, seeds=3)
    assert same.plain == same.changed
    nodes = [Node("head", layer, head) for layer in range(3) for head in range(4)]
    change = source_patch(model, ["a text of another length", "b"], [*nodes, Node("mlp", 2)])
    moved = continue_both(model, prompts, change, sampling, seeds=3)
    assert moved.plain == same.plain
    assert moved.changed != moved.plain
    own = source_patch(model, prompts, nodes)
    assert (
        continue_both(model, prompts, own, Sampling(max_new_tokens=1)).changed
        == continue_both(model, prompts, [], Sampling(max_new_tokens=1)).plain
    )
