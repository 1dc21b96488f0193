"""Head-ablation scan and attribution: this package against the plain loop, nnsight and TransformerLens where installed.

Same weights, same pairs, same heads, process CPU time (wall time of a shared machine says little). Every tool has a copy of
the model to itself, and in each repeat all of them take their turn, so that a busy machine disturbs them alike; what is
compared is the least of each one's times. Prints one JSON object. The shape is SmolLM2-135M's with random weights, so nothing has
to be installed; ``--pairs`` and ``--layers`` make it shorter.

``nnsight, last logits`` is nnsight told to unembed the last position alone, with the position picked, not sliced: the
best that its user can ask for.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from emotion_circuits.circuits import attribute
from emotion_circuits.heads import Node, PairTask, ablation_scan, all_nodes, pair_task
from emotion_circuits.model import Ablate, LanguageModel, intervene
from shapes import pairs, random_llama


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


# -- others: each returns (scan, attribution), set up outside of what is timed ------------------------------------------

Tools = tuple[Callable[[], torch.Tensor], Callable[[], torch.Tensor] | None]
OWN = "emotion_circuits"
KINDS = ("scan", "attribution")


def own_tools(model: LanguageModel, task: PairTask, heads: list[Node]) -> Tools:
    place = {node: index for index, node in enumerate(all_nodes(model))}
    columns = [place[node] for node in heads]

    def attribution() -> torch.Tensor:
        return attribute(model, task, method="clean", rows=len(task)).node_scores[:, columns]

    return (lambda: ablation_scan(model, task, heads).effect), attribution


def gradients_from_embedding(model: LanguageModel) -> None:
    """Frozen weights: gradients have to start somewhere."""
    model.hf.get_input_embeddings().register_forward_hook(
        lambda _module, _inputs, out: out.requires_grad_(True) if torch.is_grad_enabled() else out
    )


def nnsight_tools(model: LanguageModel, task: PairTask, heads: list[Node], *, last: bool = False) -> Tools:
    import nnsight

    gradients_from_embedding(model)
    wrapped: Any = nnsight.NNsight(model.hf)
    more = {"logits_to_keep": torch.tensor([task.clean.input_ids.shape[1] - 1])} if last else {}
    sides = [
        {"input_ids": b.input_ids, "attention_mask": b.attention_mask, **more} for b in (task.clean, task.corrupted)
    ]
    layers = range(model.n_layers)

    @torch.no_grad()
    def scan() -> torch.Tensor:
        base = task.logit_difference(model.logits(task.clean, last_only=True))
        found = []
        for head in heads:
            with wrapped.trace(**sides[0]):
                projection = wrapped.model.layers[head.layer].self_attn.o_proj
                changed = projection.input.clone()
                changed[..., head.head * model.d_head : (head.head + 1) * model.d_head] = 0
                projection.input = changed
                logits = wrapped.lm_head.output[:, -1].save()
            found.append(base - task.logit_difference(logits))
        return torch.stack(found)

    def attribution() -> torch.Tensor:
        with torch.no_grad(), wrapped.trace(**sides[1]):
            corrupted = nnsight.save([wrapped.model.layers[layer].self_attn.o_proj.input for layer in layers])
        with wrapped.trace(**sides[0]):
            clean = nnsight.save([wrapped.model.layers[layer].self_attn.o_proj.input for layer in layers])
            total = task.logit_difference(wrapped.lm_head.output[:, -1]).sum().save()
        return _scores(model, clean, corrupted, torch.autograd.grad(total, clean))

    return scan, attribution


def transformer_lens_tools(model: LanguageModel, task: PairTask, heads: list[Node]) -> Tools:
    from transformer_lens.model_bridge import TransformerBridge

    gradients_from_embedding(model)
    bridge: Any = TransformerBridge.boot_transformers("smollm2-shape", hf_model=model.hf, tokenizer=model.tokenizer)
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(model.n_layers)]

    @torch.no_grad()
    def scan() -> torch.Tensor:
        base = task.logit_difference(model.logits(task.clean, last_only=True))
        found = []
        for head in heads:

            def zero(z: torch.Tensor, hook: Any, index: int = head.head) -> torch.Tensor:  # noqa: ARG001
                z[:, :, index] = 0
                return z

            logits = bridge.run_with_hooks(task.clean.input_ids, fwd_hooks=[(names[head.layer], zero)])
            found.append(base - task.logit_difference(logits[:, -1]))
        return torch.stack(found)

    def run(ids: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        kept: dict[int, torch.Tensor] = {}

        def keep(z: torch.Tensor, hook: Any, layer: int) -> torch.Tensor:  # noqa: ARG001
            kept[layer] = z.clone()  # what the model goes on with, so that it has a gradient
            return kept[layer]

        hooks = [(name, functools.partial(keep, layer=layer)) for layer, name in enumerate(names)]
        logits = bridge.run_with_hooks(ids, fwd_hooks=hooks)
        return [kept[layer] for layer in range(model.n_layers)], task.logit_difference(logits[:, -1]).sum()

    def attribution() -> torch.Tensor:
        with torch.no_grad():
            corrupted, _ = run(task.corrupted.input_ids)
        clean, total = run(task.clean.input_ids)
        return _scores(model, clean, corrupted, torch.autograd.grad(total, clean))

    return scan, attribution


def _scores(model: LanguageModel, clean: Any, corrupted: Any, gradients: Any) -> torch.Tensor:
    """Attribution per head, ``[pair, head]``: difference of its output times the gradient there."""
    parts = []
    for a, b, g in zip(clean, corrupted, gradients, strict=True):
        product = ((a - b) * g).detach()
        parts.append(product.reshape(*product.shape[:2], model.n_heads, model.d_head).sum((1, 3)))
    return torch.cat(parts, dim=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = random_llama("smollm2-135m", num_hidden_layers=options.layers)
    task = pair_task(model, pairs(options.pairs))
    heads = [Node("head", layer, h) for layer in range(options.layers) for h in range(9)]
    result: dict[str, Any] = {
        "scan": f"zero-ablate {len(heads)} heads on {len(task)} pairs of {task.clean.input_ids.shape[1]} tokens",
        "attribution": "difference times gradient at the clean run, the same heads and pairs",
        "unit": f"process CPU seconds, fastest of {options.repeats}; set-up left out",
    }
    works: dict[str, Callable[[LanguageModel, PairTask, list[Node]], Tools]] = {
        OWN: own_tools,
        "plain loop": lambda model, task, heads: (lambda: plain_loop(model, task, heads), None),
        "nnsight": nnsight_tools,
        "nnsight, last logits": functools.partial(nnsight_tools, last=True),
        "transformer_lens": transformer_lens_tools,
    }
    tools: dict[str, Tools] = {}
    for name, prepare in works.items():
        try:
            tools[name] = prepare(random_llama("smollm2-135m", num_hidden_layers=options.layers), task, heads)
        except ImportError as error:
            result[name] = f"not installed ({error})"
    for index, kind in enumerate(KINDS):
        if kind not in options.kinds:
            continue
        asked = {name: work for name, both in tools.items() if (work := both[index]) is not None}
        runs = [{name: timed(work) for name, work in asked.items()} for _ in range(options.repeats)]
        taken = {name: min(run[name][1] for run in runs) for name in asked}
        for name in asked:
            result[f"{name}, {kind}"] = taken[name]
            if name != OWN:
                apart = (runs[0][name][0] - runs[0][OWN][0]).abs().max()
                result[f"{name} / {OWN}, {kind}"] = taken[name] / taken[OWN]
                result[f"{name}: largest difference, {kind}"] = float(apart)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
