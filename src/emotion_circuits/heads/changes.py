"""What can be done to a head, an MLP or a residual position, written as interventions.

Heads are cut before the output projection, so a query head of a grouped-query model is one head like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads.nodes import Node
from emotion_circuits.heads.scanning import BaseRun, base_run
from emotion_circuits.model import ALL, Ablate, Intervention, LanguageModel, Patch, Positions, Site

__all__ = [
    "AblationMode",
    "PatchMode",
    "ablation",
    "head_direction",
    "mean_values",
    "node_sites",
    "node_value",
    "patch",
    "patch_sites",
    "source_patch",
]

AblationMode = Literal["zero", "mean", "resample", "directional"]
PatchMode = Literal["z", "v_only", "pattern_only", "pattern_v"]
_PATCH_KINDS: dict[str, tuple[str, ...]] = {
    "z": ("z",),
    "v_only": ("v",),
    "pattern_only": ("pattern",),
    "pattern_v": ("pattern", "v"),
}


def _whole(site: Site) -> Site:
    return Site(site.kind, site.layer)


def node_sites(nodes: Iterable[Node]) -> list[Site]:
    """The sites (all heads of a layer at once) that hold the outputs of these nodes."""
    return list(dict.fromkeys(_whole(node.site) for node in nodes))


def node_value(run: BaseRun, node: Node) -> Float[Tensor, "row position feature"]:
    """A node's recorded output: ``z`` of a head, or ``mlp_out``."""
    value = run.values[_whole(node.site)]
    return value[:, :, node.head] if node.kind == "head" else value


def patch_sites(nodes: Iterable[Node], mode: PatchMode = "z") -> list[Site]:
    """What a source run must keep for :func:`patch`."""
    if mode not in get_args(PatchMode):
        raise EmotionCircuitsError(f"patch mode must be one of {', '.join(get_args(PatchMode))}, got {mode!r}")
    sites: dict[Site, None] = {}
    for node in nodes:
        kinds = _PATCH_KINDS[mode] if node.kind == "head" else (node.site.kind,)
        sites |= dict.fromkeys(Site(kind, node.site.layer) for kind in kinds)  # type: ignore[arg-type]
    return list(sites)


def patch(
    nodes: Sequence[Node], source: BaseRun, mode: PatchMode = "z", positions: Positions = ALL
) -> list[Intervention]:
    """Put the source run's values in place.

    Args:
        nodes: heads and MLPs (an MLP is patched in its output whatever the mode).
        source: a run that kept :func:`patch_sites`, with the same columns as the run to be patched.
        mode: ``z`` (head output); ``v_only`` (source values under the target's pattern); ``pattern_only`` (source
            pattern over the target's values); ``pattern_v`` (both).
        positions: where; for ``pattern`` query positions, for ``v`` key positions.
    """
    changes: list[Intervention] = []
    for node in nodes:
        if node.kind != "head":
            changes.append(Patch(site=node.site, value=source.values[_whole(node.site)], positions=positions))
            continue
        for kind in _PATCH_KINDS[mode]:
            value = source.values[Site(kind, node.layer)]  # type: ignore[arg-type]
            part = value[:, node.head] if kind == "pattern" else value[:, :, node.head]
            changes.append(Patch(site=Site(kind, node.layer, node.head), value=part, positions=positions))  # type: ignore[arg-type]
    return changes


def source_patch(model: LanguageModel, sources: Sequence[str], nodes: Sequence[Node]) -> list[Intervention]:
    """The sources' node outputs at their last token, put at each target's last prompt token and every generated one.

    Source and target need not have the same length: one position is taken.

    Args:
        model: the model.
        sources: one source text per target row.
        nodes: heads and MLPs.
    """
    run = base_run(model, model.tokenize(sources), node_sites(nodes))
    return [Patch(site=n.site, value=node_value(run, n)[:, -1:], positions=Positions("last")) for n in nodes]


def ablation(
    nodes: Sequence[Node],
    mode: AblationMode = "zero",
    *,
    source: BaseRun | None = None,
    means: dict[Site, Tensor] | None = None,
    directions: dict[Node, Tensor] | None = None,
    positions: Positions = ALL,
) -> list[Intervention]:
    """Take nodes away.

    Args:
        nodes: heads and MLPs.
        mode: ``zero``; ``mean`` (needs ``means``); ``resample`` (needs ``source``: a run of the corrupted prompts);
            ``directional`` (needs ``directions``, see :func:`head_direction`).
        source: run whose values replace the nodes' own.
        means: from :func:`mean_values`.
        directions: per node, in the node's own output space.
        positions: where.

    Raises:
        EmotionCircuitsError: an unknown mode, or what the mode needs was not given.
    """
    if mode not in get_args(AblationMode):
        raise EmotionCircuitsError(f"ablation mode must be one of {', '.join(get_args(AblationMode))}, got {mode!r}")
    needed = {"mean": means, "resample": source, "directional": directions}
    if mode != "zero" and needed[mode] is None:
        what = {"mean": "means", "resample": "source", "directional": "directions"}[mode]
        raise EmotionCircuitsError(f"ablation mode {mode!r} needs {what}")
    changes: list[Intervention] = []
    for node in nodes:
        site = node.site
        if mode == "zero":
            changes.append(Ablate(site=site, positions=positions))
        elif mode == "mean":
            assert means is not None
            mean = means[_whole(site)]
            value = mean[node.head] if node.kind == "head" else mean
            changes.append(Ablate(site=site, mode="mean", value=value, positions=positions))
        elif mode == "resample":
            assert source is not None
            changes.append(Ablate(site=site, mode="resample", value=node_value(source, node), positions=positions))
        else:
            assert directions is not None
            changes.append(Ablate(site=site, mode="directional", direction=directions[node], positions=positions))
    return changes


def mean_values(run: BaseRun, sites: Iterable[Site]) -> dict[Site, Tensor]:
    """Mean over the real tokens of a run, each row's first token left out (it carries the attention sink)."""
    keep = run.batch.real.clone()
    first = run.batch.attention_mask.argmax(-1)
    keep[torch.arange(len(first)), first] = False
    return {site: run.values[site][keep].mean(0) for site in sites}


def head_direction(model: LanguageModel, node: Node, direction: Float[Tensor, " d_model"]) -> Tensor:
    """The direction in a node's output space that writes along a residual direction.

    For a head it is ``W_O · direction``: removing it from ``z`` makes what the head adds orthogonal to ``direction``
    (before a post-norm). For an MLP it is the direction itself.
    """
    if node.kind == "mlp":
        return direction
    return (model.out_projection(node.layer)[node.head] @ direction.to(model.device, model.dtype)).detach()
