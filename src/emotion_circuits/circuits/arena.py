"""Run a circuit alone: what belongs to it sees the clean prompt, everything else is the corrupted prompt's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.circuits.writing import head_write
from emotion_circuits.heads import EMBED, LOGITS, BaseRun, Edge, Node, PairTask, all_nodes, base_run
from emotion_circuits.heads.changes import node_sites, patch
from emotion_circuits.heads.scans import measure_sets
from emotion_circuits.model import Batch, LanguageModel, Patch, Site, intervene, observe
from emotion_circuits.model.resuming import resume

__all__ = ["Arena", "arena", "run_edge_circuit", "run_node_circuits"]


@dataclass(frozen=True, eq=False)
class Arena:
    """Both runs of a task, kept for the many circuits that are tried on it.

    Attributes:
        task: the pairs.
        clean: run of the clean prompts.
        corrupted: run of the corrupted prompts with every node's output.
        full: ``[pair]`` logit difference of the clean run.
        empty: ``[pair]`` logit difference of the corrupted run.
    """

    task: PairTask
    clean: BaseRun
    corrupted: BaseRun
    full: Float[Tensor, " pair"]
    empty: Float[Tensor, " pair"]


def arena(model: LanguageModel, task: PairTask) -> Arena:
    """Run both sides of a task."""
    nodes = all_nodes(model)
    clean = base_run(model, task.clean)
    corrupted = base_run(model, task.corrupted, [*node_sites(nodes), *model.sites("attn_out")])
    return Arena(task, clean, corrupted, task.logit_difference(clean.logits), task.logit_difference(corrupted.logits))


def run_node_circuits(
    model: LanguageModel, arena: Arena, circuits: Sequence[Collection[Node]], *, batch_rows: int = 256
) -> Float[Tensor, "circuit pair"]:
    """Logit difference of clean runs in which every node outside the circuit has the corrupted prompt's output.

    Args:
        model: the model.
        arena: both runs.
        circuits: heads and MLPs that stay; the embedding always is the clean prompt's.
        batch_rows: rows run at once.
    """
    nodes = all_nodes(model)
    variants = [patch([n for n in nodes if n not in set(c)], arena.corrupted) for c in circuits]
    return measure_sets(model, arena.task, arena.clean, variants, batch_rows=batch_rows, title="circuits")[:, 0]


@torch.no_grad()
def run_edge_circuit(model: LanguageModel, arena: Arena, edges: Collection[Edge]) -> Float[Tensor, " pair"]:
    """Logit difference when each reader sees its circuit's writers as they are now and all others as corrupted.

    The embedding is the clean prompt's. Behind a post-norm heads are taken apart as in
    :func:`emotion_circuits.circuits.writing.write_difference`.

    Args:
        model: the model.
        arena: both runs.
        edges: the circuit.
    """
    incoming: dict[Node, list[Node]] = {}
    for writer, reader in edges:
        incoming.setdefault(reader, []).append(writer)
    corrupted = arena.corrupted
    moved: dict[Node, Tensor] = {EMBED: arena.clean.resid_pre[0] - corrupted.resid_pre[0]}

    def seen(reader: Node) -> Tensor:
        """What reaches a reader beyond the corrupted run."""
        parts = [moved[w] for w in incoming.get(reader, []) if w in moved]
        return torch.stack(parts).sum(0) if parts else torch.zeros_like(moved[EMBED])

    for layer in range(model.n_layers):
        site = Site("z", layer)
        heads = [n for n in incoming if n.kind == "head" and n.layer == layer]
        if heads:
            stream = torch.cat([corrupted.resid_pre[layer] + seen(head) for head in heads])
            tiled = Batch(
                corrupted.batch.input_ids.repeat(len(heads), 1), corrupted.batch.attention_mask.repeat(len(heads), 1)
            )
            with observe(model, [site]) as record, resume(model, layer, stream, stop=layer + 1):
                model.hidden(tiled)
            outputs = record[site].unflatten(0, (len(heads), -1))
            now = corrupted.values[site].clone()
            for index, head in enumerate(heads):
                now[:, :, head.head] = outputs[index][:, :, head.head]
            for head in heads:
                moved[head] = head_write(model, head, now, corrupted.values[site])
        mlp = Node("mlp", layer)
        if mlp in incoming:
            stream, changes = corrupted.resid_pre[layer], []
            if model.has_resid_mid:
                place = Site("attn_out", layer)
                changes = [Patch(site=place, value=corrupted.values[place] + seen(mlp))]
            else:
                stream = stream + seen(mlp)
            with (
                intervene(model, changes),
                observe(model, [mlp.site]) as record,
                resume(model, layer, stream, stop=layer + 1),
            ):
                model.hidden(corrupted.batch)
            moved[mlp] = record[mlp.site] - corrupted.values[mlp.site]
    last = model.n_layers - 1
    with resume(model, last, corrupted.resid_pre[last]), observe(model, [Site("resid_post", last)]) as record:
        model.hidden(corrupted.batch)
    final = record[Site("resid_post", last)] + seen(LOGITS)
    variant = [Patch(site=Site("resid_post", last), value=final)]
    return measure_sets(model, arena.task, corrupted, [variant])[0, 0]
