"""Attribution: the effect of everything, estimated from a few forward and backward passes.

* *attribution patching* (Nanda 2023; Syed et al. 2023, EAP): the difference of a node's output between both prompts,
  times the gradient of the logit difference there.
* *integrated gradients over the inputs* (Hanna et al. 2024, EAP-IG): the same with the gradient averaged along the
  straight line from the corrupted to the clean embedding.

An edge's score uses the gradient with respect to what one reader alone reads, so the scores of a writer's edges sum to
the score of the writer's output. Scores are signed (positive: supports the clean answers), in logits, per pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache

from emotion_circuits.circuits.writing import write_difference
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import EMBED, LOGITS, BaseRun, Edge, Node, PairTask, all_edges, all_nodes
from emotion_circuits.model import Batch, LanguageModel, Site, observe
from emotion_circuits.model.positions import Moment
from emotion_circuits.model.resuming import resume
from emotion_circuits.model.sharing import beginning_of, shared_columns
from emotion_circuits.model.unembedding import logits_of
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
            runs, beginning = _plain_runs(model, part, points)
            scores = torch.zeros(len(part), len(nodes), device=model.device)
            reads: Tensor | None = None
            for point in points:
                # A pass with its graph is a run too: an end at which the gradient is taken is not run once more.
                stream = (
                    None if point in (0.0, 1.0) else torch.lerp(runs[0.0].resid_pre[0], runs[1.0].resid_pre[0], point)
                )
                batch = part.corrupted if point == 0.0 else part.clean
                with _graph(model, part, beginning.of(batch), beginning.cache(model), stream, edges) as graph:
                    clean, corrupted = (runs.get(p) or graph.as_run() for p in (1.0, 0.0))
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


@dataclass(frozen=True, eq=False)
class _Beginning:
    """The first columns, in which a part's two sides are the same: what differs there is 0, whatever the gradient.

    Attributes:
        columns: how many.
        kept: keys and values of a run of all columns; ``None`` without any shared.
    """

    columns: int
    kept: Any

    def of(self, batch: Batch) -> Batch:
        """The columns behind it, under the mask of all."""
        return Batch(batch.input_ids[:, self.columns :], batch.attention_mask)

    def cache(self, model: LanguageModel) -> Any:
        """A cache that a run of those columns goes on from."""
        return None if self.kept is None else beginning_of(model, self.kept, self.columns)


@torch.no_grad()
def _plain_runs(
    model: LanguageModel, part: PairTask, points: Sequence[float]
) -> tuple[dict[float, BaseRun], _Beginning]:
    """The ends (0: corrupted, 1: clean) that are no points, behind the columns that both share."""
    columns = shared_columns(model, part.clean, part.corrupted)
    sides = {p: b for p, b in ((0.0, part.corrupted), (1.0, part.clean)) if [p] != points}
    beginning = _Beginning(0, None)
    runs: dict[float, BaseRun] = {}
    for point, batch in sides.items():
        # The first run reads all columns, those that follow go on from its beginning.
        cache = beginning.cache(model) if runs else DynamicCache(config=model.config) if columns else None
        sites = [Site("resid_pre", 0), *model.sites("z", "mlp_out")]
        with observe(model, sites) as record:
            model.hidden(beginning.of(batch), past_key_values=cache, use_cache=cache is not None)
        if not runs and columns:
            beginning = _Beginning(columns, cache)
        width = batch.input_ids.shape[1] - columns
        values = {site: record[site][:, -width:] for site in sites}
        runs[point] = _as_run(beginning.of(batch), values.pop(sites[0]), values)
    return runs, beginning


def _as_run(batch: Batch, embedding: Tensor, values: dict[Site, Tensor]) -> BaseRun:
    """A run with the embedding alone of the residual stream; nothing here reads its logits."""
    return BaseRun(batch, (embedding,), embedding.new_empty(len(embedding), 0), values)


class _Graph:
    """One forward pass with its autograd graph: gradients at outputs, and at what a single reader reads."""

    def __init__(
        self, model: LanguageModel, batch: Batch, kept: dict[Site, Tensor], total: Tensor, *, again: bool
    ) -> None:
        self.model, self.batch, self.kept = model, batch, kept
        sites = [s for s in kept if s.kind != "resid_pre"]
        gradients = torch.autograd.grad(total, [kept[s] for s in sites], retain_graph=again, allow_unused=True)
        # Outputs that nothing reads (e.g. heads of the last layer before its last token) have no gradient.
        self.gradients = {
            s: torch.zeros_like(kept[s]) if g is None else g for s, g in zip(sites, gradients, strict=True)
        }

    def as_run(self) -> BaseRun:
        """The pass as a run."""
        values = {s: v.detach() for s, v in self.kept.items() if s.kind in ("z", "mlp_out")}
        return _as_run(self.batch, self.kept[Site("resid_pre", 0)].detach(), values)

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


@contextmanager
def _graph(
    model: LanguageModel,
    task: PairTask,
    batch: Batch,
    cache: Any,
    stream: Float[Tensor, "row position d_model"] | None,
    edges: bool,
) -> Iterator[_Graph]:
    """Run with every node's output in the graph, from an embedding where one is given."""
    kept: dict[Site, Tensor] = {}

    def keep(site: Site) -> Edit:
        def edit(value: Tensor, _moment: Moment) -> Tensor:
            # A copy that the model goes on with, so that gradients can be asked for at this very tensor. The weights are
            # constants: the graph begins at the first copy, and nothing in front of it is gone back through.
            kept[site] = value.clone() if value.requires_grad else value.clone().requires_grad_()
            return kept[site]

        return edit

    def embedded(value: Tensor, _moment: Moment) -> Tensor:
        kept[Site("resid_pre", 0)] = value.detach()
        return value

    sites = model.sites("z", "mlp_out")
    if edges:
        sites += [*model.sites("resid_pre", "attn_out"), Site("resid_post", model.n_layers - 1)]
    edits = [((s.kind, s.layer), keep(s)) for s in sites]
    if not edges:
        edits.append((("resid_pre", 0), embedded))
    wiring = wiring_of(model)
    wiring.add(edits=edits)
    try:
        start = nullcontext() if stream is None else resume(model, 0, stream)
        with torch.enable_grad(), start, logits_of(model, task.answer_ids) as few:
            out = model.forward(batch, last_only=True, past_key_values=cache, use_cache=cache is not None).logits[
                :, -1:
            ]
            model.check_finite(out, batch)
            weights = task.answer_weights
            total = (out[:, 0].float() * weights).sum() if few else task.logit_difference(out[:, 0]).sum()
            yield _Graph(model, batch, kept, total, again=edges)
    finally:
        wiring.remove(edits=edits)
