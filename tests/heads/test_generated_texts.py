from __future__ import annotations

from emotion_circuits.heads import Node
from emotion_circuits.heads.changes import source_patch
from emotion_circuits.model import Sampling, generate
from families import tiny_model


def test_texts_change_with_another_source_and_not_with_their_own() -> None:
    model = tiny_model("gpt2")
    prompts = ["how are you", "so"]
    sampling = Sampling(max_new_tokens=6, temperature=1.0)
    plain = generate(model, prompts, sampling, seeds=3)
    nodes = [Node("head", layer, head) for layer in range(3) for head in range(4)]
    change = source_patch(model, ["a text of another length", "b"], [*nodes, Node("mlp", 2)])
    assert generate(model, prompts, sampling, interventions=change, seeds=3) != plain
    own, first = source_patch(model, prompts, nodes), Sampling(max_new_tokens=1)
    assert generate(model, prompts, first, interventions=own) == generate(model, prompts, first)
