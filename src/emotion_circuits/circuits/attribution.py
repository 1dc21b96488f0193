"""Attribution: the effect of everything, estimated from a few forward and backward passes.

* *attribution patching* (Nanda 2023; Syed et al. 2023, EAP): the difference of a node's output between both prompts,
  times the gradient of the logit difference there.
* *integrated gradients over the inputs* (Hanna et al. 2024, EAP-IG): the same with the gradient averaged along the
  straight line from the corrupted to the clean embedding.

An edge's score uses the gradient with respect to what one reader alone reads, so the scores of a writer's edges sum to
the score of the writer's output. Scores are signed (positive: supports the clean answers), in logits, per pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.circuits.writing import run_with_outputs, write_difference
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import EMBED, LOGITS, BaseRun, Edge, Node, PairTask, all_edges, all_nodes
from emotion_circuits.model import Batch, LanguageModel, Site, observe
from emotion_circuits.model.positions import Moment
from emotion_circuits.model.resuming import resume
from emotion_circuits.model.wiring import Edit, wiring_of
from emotion_circuits.progress import progress_bar

__all__ = ["Attribution", "attribute"]

Method = Literal["clean", "corrupted", "integrated"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Estimated effects.

    Attributes:
        method: where gradients were taken, with the number of steps.
        nodes: heads and MLPs.
        node_scores: ``[pair, node]`` in logits.
        edges: all edges, or none where only nodes were asked for.
        edge_scores: ``[pair, edge]`` in logits.
    """

    method: str
    nodes: tuple[Node, ...]
    node_scores: Float[Tensor, "pair node"]
    edges: tuple[Edge, ...]
    edge_scores: Float[Tensor, "pair edge"]


def attribute(
    model: LanguageModel,
    task: PairTask,
    *,
    method: Method = "integrated",
    steps: int = 5,
    edges: bool = False,
    rows: int = 8,
) -> Attribution:
    """Score every head, every MLP and, where asked, every edge.

    Args:
        model: the model.
        task: the pairs.
        method: gradient at the ``clean`` run (estimates noising), at the ``corrupted`` run (estimates denoising), or
            ``integrated`` between them (midpoint rule).
        steps: points of the integral.
        edges: also score edges (one more backward pass through its own attention for every head).
        rows: pairs run at once; memory grows with it.

    Raises:
        EmotionCircuitsError: an unknown method, or no step.
    """
    if method not in ("clean", "corrupted", "integrated"):
        raise EmotionCircuitsError(f"attribution method must be clean, corrupted or integrated, got {method!r}")
    if steps < 1:
        raise EmotionCircuitsError(f"attribution needs at least 1 step, got {steps}")
    points = {"clean": [1.0], "corrupted": [0.0]}.get(method, [(i + 0.5) / steps for i in range(steps)])
    nodes = all_nodes(model)
    writers, readers = [EMBED, *nodes], [*nodes, LOGITS]
    wanted = all_edges(model) if edges else []
    place = {n: i for i, n in enumerate(writers)}
    seat = {n: i for i, n in enumerate(readers)}
    columns_of: dict[Site, list[int]] = {}
    for index, node in enumerate(nodes):
        columns_of.setdefault(Site(node.site.kind, node.layer), []).append(index)
    flat = torch.tensor([place[u] * len(readers) + seat[v] for u, v in wanted], dtype=torch.long)
    node_scores: list[Tensor] = []
    edge_scores: list[Tensor] = []
    with progress_bar(f"attribution ({method})", len(task)) as bar:
        for start in range(0, len(task), rows):
            part = task.select(range(start, min(start + rows, len(task))))
            batches = {1.0: part.clean, 0.0: part.corrupted}
            # A pass with its graph is a run too: an end at which the gradient is taken is not run once more.
            runs = {p: run_with_outputs(model, b, nodes) for p, b in batches.items() if points != [p]}
            ends = [runs[p].resid_pre[0] if p in runs else _embedded(model, batches[p]) for p in (0.0, 1.0)]
            scores = torch.zeros(len(part), len(nodes), device=model.device)
            reads: Tensor | None = None
            for point in points:
                with _graph(model, part, torch.lerp(ends[0], ends[1], point), edges) as graph:
                    clean, corrupted = (runs.get(p) or graph.as_run(batches[p]) for p in (1.0, 0.0))
                    for site, columns in columns_of.items():
                        product = (clean.values[site] - corrupted.values[site]) * graph.gradients[site]
                        found = product.sum((1, 3)) if site.kind == "z" else product.sum((1, 2))[:, None]
                        scores[:, columns] += found / len(points)
                    if edges:
                        read = torch.stack([graph.read_gradient(node) for node in readers]) / len(points)
                        reads = read if reads is None else reads + read
            node_scores.append(scores)
            if reads is not None:
                with torch.no_grad():
                    writes = write_difference(model, clean, corrupted, writers)
                    matrix = torch.einsum("ubpd,vbpd->buv", writes, reads.to(writes))
                edge_scores.append(matrix.flatten(1)[:, flat.to(matrix.device)])
            bar.advance(len(part))
    name = method if method != "integrated" else f"integrated, {steps} steps"
    every = torch.cat(node_scores)
    if not bool(torch.isfinite(every).all()):
        raise EmotionCircuitsError(
            f"{model.name} has NaN or infinite gradients; load it with dtype 'float32' or 'bfloat16'"
        )
    return Attribution(
        name, tuple(nodes), every, tuple(wanted), torch.cat(edge_scores) if edges else every.new_zeros(len(task), 0)
    )


class _Graph:
    """One forward pass with its autograd graph: gradients at outputs, and at what a single reader reads."""

    def __init__(
        self, model: LanguageModel, start: Tensor, kept: dict[Site, Tensor], logits: Tensor, total: Tensor
    ) -> None:
        self.model, self.start, self.kept, self.logits = model, start, kept, logits
        sites = [s for s in kept if s.kind != "resid_pre"]
        gradients = torch.autograd.grad(total, [kept[s] for s in sites], retain_graph=True, allow_unused=True)
        # Outputs that nothing reads (e.g. heads of the last layer before its last token) have no gradient.
        self.gradients = {
            s: torch.zeros_like(kept[s]) if g is None else g for s, g in zip(sites, gradients, strict=True)
        }

    def as_run(self, batch: Batch) -> BaseRun:
        """The pass as a run of ``batch``, with the embedding alone of the residual stream."""
        values = {s: v.detach() for s, v in self.kept.items() if s.kind in ("z", "mlp_out")}
        return BaseRun(batch, (self.start,), self.logits.detach(), values)

    def read_gradient(self, node: Node) -> Tensor:
        """Gradient of the logit difference with respect to the residual stream as this node alone reads it."""
        last = Site("resid_post", self.model.n_layers - 1)
        if node.kind == "logits":
            return self.gradients[last]
        pre = Site("resid_pre", node.layer)
        if node.kind == "head":
            site, through = Site("z", node.layer), pre
            weight = torch.zeros_like(self.gradients[site])
            weight[:, :, node.head] = self.gradients[site][:, :, node.head]
        else:
            # In a sequential block the MLP reads resid_pre + attn_out; reached from attn_out, no head lies between.
            site, through = node.site, Site("attn_out", node.layer) if self.model.has_resid_mid else pre
            weight = self.gradients[site]
        (found,) = torch.autograd.grad(
            self.kept[site], self.kept[through], grad_outputs=weight, retain_graph=True, allow_unused=True
        )
        return torch.zeros_like(self.kept[pre]) if found is None else found


@torch.no_grad()
def _embedded(model: LanguageModel, batch: Batch) -> Float[Tensor, "row position d_model"]:
    """What enters the first block; the blocks after it are passed over."""
    with resume(model, 0, None, stop=1), observe(model, [Site("resid_pre", 0)]) as record:
        model.logits(batch, last_only=True)
    return record[Site("resid_pre", 0)]


@contextmanager
def _graph(
    model: LanguageModel, task: PairTask, stream: Float[Tensor, "row position d_model"], edges: bool
) -> Iterator[_Graph]:
    """Run from an embedding with every node's output in the graph."""
    kept: dict[Site, Tensor] = {}

    def keep(site: Site) -> Edit:
        def edit(value: Tensor, _moment: Moment) -> Tensor:
            # A copy that the model goes on with, so that gradients can be asked for at this very tensor.
            kept[site] = value.clone()
            return kept[site]

        return edit

    sites = model.sites("z", "mlp_out")
    if edges:
        sites += [*model.sites("resid_pre", "attn_out"), Site("resid_post", model.n_layers - 1)]
    edits = [((s.kind, s.layer), keep(s)) for s in sites]
    wiring = wiring_of(model)
    wiring.add(edits=edits)
    try:
        with torch.enable_grad(), resume(model, 0, stream.detach().requires_grad_(True)):
            logits = model.logits(task.clean, last_only=True)
            yield _Graph(model, stream.detach(), kept, logits, task.logit_difference(logits).sum())
    finally:
        wiring.remove(edits=edits)
