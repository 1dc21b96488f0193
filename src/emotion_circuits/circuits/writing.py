"""What each node adds to the residual stream."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.heads import BaseRun, Node, base_run
from emotion_circuits.heads.changes import node_sites, node_value
from emotion_circuits.model import Batch, LanguageModel, Site
from emotion_circuits.model.families import at_path

__all__ = ["head_write", "run_with_outputs", "write_difference"]


def run_with_outputs(model: LanguageModel, batch: Batch, nodes: Sequence[Node]) -> BaseRun:
    """A run that keeps the outputs of ``nodes``."""
    return base_run(model, batch, node_sites(n for n in nodes if n.kind != "embed"))


def write_difference(
    model: LanguageModel, a: BaseRun, b: BaseRun, writers: Sequence[Node]
) -> Float[Tensor, "writer row position d_model"]:
    """What each writer adds to the residual stream in run ``a`` minus in run ``b``.

    Exact where heads write linearly. Behind a post-norm heads don't add up; there the norm is linearised at the mean
    of both runs, so that the heads' parts sum to the attention output's difference up to third order.

    Args:
        model: the model.
        a: a run with the writers' outputs, see :func:`run_with_outputs`.
        b: a run of the same columns.
        writers: embedding, heads, MLPs.
    """
    parts: list[Tensor] = []
    for node in writers:
        if node.kind == "embed":
            parts.append(a.resid_pre[0] - b.resid_pre[0])
            continue
        if node.kind == "head":
            site = Site("z", node.layer)
            parts.append(head_write(model, node, a.values[site], b.values[site]))
        else:
            parts.append(node_value(a, node) - node_value(b, node))
    return torch.stack(parts)


def head_write(
    model: LanguageModel,
    node: Node,
    a: Float[Tensor, "row position head d_head"],
    b: Float[Tensor, "row position head d_head"],
) -> Float[Tensor, "row position d_model"]:
    """As :func:`write_difference` for one head, from its layer's ``z`` in both runs."""
    weight = model.out_projection(node.layer)
    difference: Tensor = (a[:, :, node.head] - b[:, :, node.head]) @ weight[node.head]
    if model.family.post_norm is not None:
        inside = torch.einsum("bphe,hed->bpd", (a + b) / 2, weight)
        norm = at_path(model.blocks[node.layer], model.family.post_norm)
        difference = torch.func.jvp(norm, (inside,), (difference,))[1]
    return difference
