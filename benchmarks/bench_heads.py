"""Head-ablation scan and attribution: this package against the plain loop, nnsight and TransformerLens where installed.

Same model, same pairs, same heads, one run of each, process CPU time (wall time of a shared machine says little). Prints
one JSON object. The shape is SmolLM2-135M's with random weights, so nothing has to be installed; ``--pairs`` and
``--layers`` make it shorter.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from emotion_circuits.circuits import attribute
from emotion_circuits.heads import Node, PairTask, ablation_scan, pair_task
from emotion_circuits.model import Ablate, LanguageModel, intervene
from emotion_circuits.model.families import family_of
from emotion_circuits.prompts import Pair


def model_and_task(layers: int, pairs: int) -> tuple[LanguageModel, PairTask]:
    words = ["<pad>", "<unk>", *(f"w{i}" for i in range(500))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    hf: Any = LlamaForCausalLM(config).eval().requires_grad_(False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    model = LanguageModel(hf, fast, family_of(config), "smollm2-shape")
    rows = []
    for i in range(pairs):
        rest = " ".join(f"w{(7 * i + j) % 400}" for j in range(11))
        text, corrupted = f"w{i % 400} w{401 + i % 40} {rest}", f"w{i % 400} w{450 + i % 40} {rest}"
        start = len(f"w{i % 400}") + 1
        rows.append(
            Pair(
                id=str(i),
                text=text,
                corrupted=corrupted,
                label="gratitude",
                corrupted_label="anger",
                spans=((start, start + 4),),
                corrupted_spans=((start, start + 4),),
                answers=(" w491",),
                corrupted_answers=(" w492",),
                group=str(i),
                split="test",
                language="en",
                set="bench",
            )
        )
    return model, pair_task(model, rows)


def timed(run: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    start = time.process_time()
    result = run()
    return result, time.process_time() - start


@torch.no_grad()
def plain_loop(model: LanguageModel, task: PairTask, heads: list[Node]) -> torch.Tensor:
    base = task.logit_difference(model.logits(task.clean, last_only=True))
    found = []
    for head in heads:
        with intervene(model, [Ablate(site=head.site)]):
            found.append(base - task.logit_difference(model.logits(task.clean, last_only=True)))
    return torch.stack(found)


@torch.no_grad()
def nnsight_loop(model: LanguageModel, task: PairTask, heads: list[Node]) -> torch.Tensor:
    import nnsight

    wrapped: Any = nnsight.NNsight(model.hf)
    inputs = {"input_ids": task.clean.input_ids, "attention_mask": task.clean.attention_mask}
    base = task.logit_difference(model.logits(task.clean, last_only=True))
    found = []
    for head in heads:
        with wrapped.trace(**inputs):
            projection = wrapped.model.layers[head.layer].self_attn.o_proj
            changed = projection.input.clone()
            changed[..., head.head * model.d_head : (head.head + 1) * model.d_head] = 0
            projection.input = changed
            logits = wrapped.lm_head.output[:, -1].save()
        found.append(base - task.logit_difference(logits))
    return torch.stack(found)


@torch.no_grad()
def transformer_lens_loop(model: LanguageModel, task: PairTask, heads: list[Node]) -> torch.Tensor:
    from transformer_lens.model_bridge import TransformerBridge

    bridge: Any = TransformerBridge.boot_transformers("smollm2-shape", hf_model=model.hf, tokenizer=model.tokenizer)
    base = task.logit_difference(model.logits(task.clean, last_only=True))
    found = []
    for head in heads:

        def zero(z: torch.Tensor, hook: Any, index: int = head.head) -> torch.Tensor:  # noqa: ARG001
            z[:, :, index] = 0
            return z

        hooks = [(f"blocks.{head.layer}.attn.hook_z", zero)]
        logits = bridge.run_with_hooks(task.clean.input_ids, fwd_hooks=hooks)
        found.append(base - task.logit_difference(logits[:, -1]))
    return torch.stack(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, task = model_and_task(options.layers, options.pairs)
    heads = [Node("head", layer, h) for layer in range(options.layers) for h in range(9)]
    model.logits(task.clean, last_only=True)
    ours, seconds = timed(lambda: ablation_scan(model, task, heads).effect)
    result: dict[str, Any] = {
        "work": f"zero-ablate {len(heads)} heads on {len(task)} pairs of {task.clean.input_ids.shape[1]} tokens",
        "unit": "process CPU seconds",
        "emotion_circuits": seconds,
    }
    for name, loop in (
        ("plain loop", plain_loop),
        ("nnsight", nnsight_loop),
        ("transformer_lens", transformer_lens_loop),
    ):
        try:
            theirs, other = timed(lambda loop=loop: loop(model, task, heads))  # type: ignore[misc]
        except ImportError:
            result[name] = "not installed"
            continue
        result[name] = other
        result[f"{name} / emotion_circuits"] = other / seconds
        result[f"{name}: largest difference"] = float((theirs - ours).abs().max())
    _, result["attribution of all heads, 1 step"] = timed(lambda: attribute(model, task, method="clean").node_scores)
    _, result["attribution of all edges, 1 step"] = timed(
        lambda: attribute(model, task, method="clean", edges=True).edge_scores
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
