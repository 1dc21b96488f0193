"""Exact edges: change what one reader sees of one writer, and nothing else.

Path patching of single edges (Goldowsky-Dill et al. 2023).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.circuits.writing import run_with_outputs, write_difference
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import EMBED, LOGITS, BaseRun, Edge, Node, PairTask, all_edges, all_nodes
from emotion_circuits.heads.scanning import Variant
from emotion_circuits.heads.scans import measure_sets
from emotion_circuits.model import Batch, LanguageModel, Patch, Site, intervene, observe
from emotion_circuits.model.resuming import resume
from emotion_circuits.progress import progress_bar

__all__ = ["EdgeScan", "edge_scan"]


@dataclass(frozen=True, eq=False)
class EdgeScan:
    """Exact effects of single edges.

    Attributes:
        edges: the edges.
        method: ``noising`` or ``denoising``.
        effect: ``[edge, pair]`` in logits, positive where the edge supports the clean answers.
        gap: ``[pair]`` logit difference of clean minus corrupted run.
    """

    edges: tuple[Edge, ...]
    method: str
    effect: Float[Tensor, "edge pair"]
    gap: Float[Tensor, " pair"]


@torch.no_grad()
def edge_scan(
    model: LanguageModel,
    task: PairTask,
    edges: Sequence[Edge] | None = None,
    *,
    direction: Literal["noising", "denoising"] = "noising",
    batch_rows: int = 256,
) -> EdgeScan:
    """Patch every edge by itself.

    For an edge u → v: v is computed from its own run's residual stream plus the difference that u makes between the
    two prompts; then the run goes on with that output of v, and all other readers see u as it was.

    Args:
        model: the model.
        task: the pairs.
        edges: which; all by default.
        direction: ``noising`` (clean run, the corrupted prompt's writer) or ``denoising``.
        batch_rows: rows run at once.

    Raises:
        EmotionCircuitsError: an unknown direction, or an edge that does not exist.
    """
    if direction not in ("noising", "denoising"):
        raise EmotionCircuitsError(f"direction must be noising or denoising, got {direction!r}")
    existing = all_edges(model)
    chosen = list(existing if edges is None else edges)
    if unknown := set(chosen) - set(existing):
        u, v = next(iter(unknown))
        raise EmotionCircuitsError(f"{model.name} has no edge {u}>{v}: a reader comes after its writer")
    nodes = all_nodes(model)
    clean, corrupted = (run_with_outputs(model, b, nodes) for b in (task.clean, task.corrupted))
    base, source, sign = (clean, corrupted, -1.0) if direction == "noising" else (corrupted, clean, 1.0)
    writers = [EMBED, *nodes]
    place = {n: i for i, n in enumerate(writers)}
    difference = write_difference(model, source, base, writers)
    plain = measure_sets(model, task, base, [[]], batch_rows=batch_rows)[0, 0]
    by_reader: dict[tuple[str, int], list[int]] = defaultdict(list)
    for index, (_, reader) in enumerate(chosen):
        by_reader[(reader.kind, reader.layer)].append(index)
    effect = torch.zeros(len(chosen), len(task), device=model.device)
    at_once = max(1, batch_rows // len(task))
    with progress_bar(f"edges ({direction})", len(chosen)) as bar:
        for indices in by_reader.values():
            # Heads of one layer that read the same writer are computed in one run.
            sources = list(dict.fromkeys(chosen[i][0] for i in indices))
            for start in range(0, len(sources), at_once):
                some = sources[start : start + at_once]
                here = [i for i in indices if chosen[i][0] in some]
                outputs = _read(model, base, chosen[here[0]][1], difference[[place[u] for u in some]])
                variants: list[Variant] = []
                for i in here:
                    u, v = chosen[i]
                    value = outputs[some.index(u)]
                    value = value[:, :, v.head] if v.kind == "head" else value
                    site = Site("resid_post", model.n_layers - 1) if v == LOGITS else v.site
                    variants.append([Patch(site=site, value=value)])
                changed = measure_sets(model, task, base, variants, batch_rows=batch_rows)[:, 0]
                effect[here] = sign * (changed - plain)
                bar.advance(len(here))
    gap = task.logit_difference(clean.logits) - task.logit_difference(corrupted.logits)
    return EdgeScan(tuple(chosen), direction, effect, gap)


def _read(
    model: LanguageModel, base: BaseRun, reader: Node, difference: Float[Tensor, "writer row position d_model"]
) -> Tensor:
    """The reader's output (all heads of its layer) for each changed input; for ``logits`` the changed input itself."""
    count, rows = difference.shape[:2]
    tiled = Batch(base.batch.input_ids.repeat(count, 1), base.batch.attention_mask.repeat(count, 1))
    if reader == LOGITS:
        last = model.n_layers - 1
        with resume(model, last, base.resid_pre[last]), observe(model, [Site("resid_post", last)]) as record:
            model.hidden(base.batch)
        return record[Site("resid_post", last)] + difference
    layer = reader.layer
    pre = base.resid_pre[layer].repeat(count, 1, 1)
    delta = difference.flatten(0, 1)
    site = Site("z", layer) if reader.kind == "head" else reader.site
    changes = []
    if reader.kind == "mlp" and model.has_resid_mid:
        with resume(model, layer, base.resid_pre[layer]), observe(model, [Site("attn_out", layer)]) as record:
            model.hidden(base.batch)
        changes = [
            Patch(site=Site("attn_out", layer), value=record[Site("attn_out", layer)].repeat(count, 1, 1) + delta)
        ]
    else:
        pre = pre + delta
    with (
        intervene(model, changes),
        observe(model, [site]) as record,
        resume(model, layer, pre, stop=layer + 1),
    ):
        model.hidden(tiled)
    outputs: Tensor = record[site].unflatten(0, (count, rows))
    return outputs
