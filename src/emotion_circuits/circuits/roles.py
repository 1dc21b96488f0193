"""Estimated roles of heads: rules over measured figures, nothing else.

Figures of a head (shares of the mean clean-corrupted gap; positive supports the clean answers):

=================  ==================================================================================================
``denoising``      its clean output in the corrupted run
``noising``        its corrupted output in the clean run
``at_last``        the larger of both, at the last token alone (measured where one of both is relevant)
``elsewhere``      the larger of both, at all other tokens (as above)
``direct``         noising its edge to the logits alone (exact)
``alone``          zero-ablating it in the clean run
``after``          zero-ablating it once another causal head is gone (the head where that makes the most difference,
                   chosen on other pairs where there are some: a maximum over noisy figures is too high on its own pairs)
``to_span``        attention to the differing word, from the later token that attends to it most
=================  ==================================================================================================

A figure *counts* where it reaches ``r`` (the smallest share that does, :data:`RELEVANT` by default) in size, the task's own
claim is supported, and q of at most 0.05 holds over all heads and figures: sign flips over groups of pairs, and for
``denoising`` and ``noising`` also the rank among the same effects on random answers
(:meth:`emotion_circuits.circuits.claims.Effects.ps`), so that a head that moves logits at large has no role.

Rules, the first that holds:

1. *backup*: ``after − alone`` counts, and ``after`` is at least twice ``alone``, ``denoising`` and ``noising`` in size: by
   itself it does little
2. *none*: neither ``denoising`` nor ``noising`` nor ``direct`` counts
3. *canceller*: ``direct ≤ −r/2`` and the larger of ``denoising`` and ``noising`` is negative
4. *expresser*: ``direct`` counts, is positive and at least half of the larger of ``denoising`` and ``noising``
5. *detector*: ``elsewhere ≥ at_last`` in size, and ``to_span ≥ 0.2``
6. *aggregator*: ``at_last`` is the larger
7. *other*
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.circuits.claims import node_effects
from emotion_circuits.circuits.edges import edge_scan
from emotion_circuits.heads import LOGITS, Node, PairTask, ablation_scan, base_run, head_nodes, patch_scan
from emotion_circuits.heads.scans import sign_flips
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel, Positions
from emotion_circuits.statistics import fdr, permutation_ps
from emotion_circuits.statistics.claims import ALPHA

__all__ = ["RELEVANT", "head_evidence", "role_of"]

RELEVANT = 0.1
"""Smallest share of the gap that counts."""


def _larger(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(a.abs() >= b.abs(), a, b)


def _elsewhere(task: PairTask) -> Positions:
    lengths = task.clean.attention_mask.sum(-1).tolist()
    return Positions.per_row([tuple(range(n - 1)) for n in lengths])


def span_attention(model: LanguageModel, task: PairTask) -> Float[Tensor, "layer head"]:
    """Mean over pairs of the largest attention any later token pays to the differing word (clean prompts)."""
    width = task.clean.input_ids.shape[1]
    first = task.clean.attention_mask.argmax(-1)
    key = torch.zeros(len(task), width, dtype=torch.bool)
    later = torch.zeros(len(task), width, dtype=torch.bool)
    for row, span in enumerate(task.spans):
        start = int(first[row])
        key[row, [start + i for i in span]] = True
        later[row, start + max(span) + 1 :] = True
    if not bool(later.any(1).all()):
        later |= key  # a word at the very end is read at its own token
    sites = model.sites("pattern")
    values = base_run(model, task.clean, sites).values
    out = []
    for site in sites:
        mass = (values[site] * key[:, None, None].to(values[site])).sum(-1)
        out.append(mass.masked_fill(~later[:, None].to(mass.device), 0).amax(-1).mean(0))
    return torch.stack(out)


def head_evidence(
    model: LanguageModel,
    task: PairTask,
    heads: Sequence[Node] | None = None,
    *,
    choosing: PairTask | None = None,
    conditions: int = 4,
    relevant: float = RELEVANT,
    batch_rows: int = 256,
    draws: int = 400,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the figures of every head and name its role.

    Args:
        model: the model.
        task: the pairs.
        heads: which; all by default.
        choosing: other pairs, on which the heads that are taken away are chosen; the task itself by default.
        conditions: how many of the most causal heads are taken away, each in turn, to look for backups.
        relevant: smallest share of the gap that counts.
        batch_rows: rows run at once.
        draws: random answer sets of the null.
        seed: of the null and of sign flips.

    Returns:
        One row per head: the figures above, ``condition`` (the head whose absence gave ``after``), ``q_patch`` (of the
        smaller one of ``denoising`` and ``noising``), ``q_direct``, ``q_backup`` and ``role``.
    """
    nodes = list(head_nodes(model) if heads is None else heads)

    def both(which: Sequence[Node], positions: Positions, on: PairTask = task) -> tuple[Tensor, Tensor]:
        sides = ("noising",) if on.mirrored else ("denoising", "noising")
        found = [
            patch_scan(model, on, which, direction=d, positions=positions, batch_rows=batch_rows).share  # type: ignore[arg-type]
            for d in sides
        ]
        return found[0], found[-1]

    # Over a mirrored task noising and denoising are the same figure.
    ways = [task] if task.mirrored else [task.turned(), task]
    scans = [node_effects(model, way, nodes, draws=draws, seed=seed, batch_rows=batch_rows) for way in ways]
    denoising, noising = scans[0].scan.share, scans[-1].scan.share
    p_patch = [effects.ps(seed=seed, family=4 * len(nodes)) for effects in scans]
    strength = _larger(denoising, noising)
    at_last, elsewhere = torch.full_like(strength, torch.nan), torch.full_like(strength, torch.nan)
    relevant_ones = (strength.abs() >= relevant).nonzero()[:, 0]
    if len(relevant_ones):
        some = [nodes[i] for i in relevant_ones.tolist()]
        at_last[relevant_ones] = _larger(*both(some, Positions("last")))
        elsewhere[relevant_ones] = _larger(*both(some, _elsewhere(task)))
    edges = edge_scan(model, task, [(n, LOGITS) for n in nodes], batch_rows=batch_rows)
    direct = edges.effect.mean(1) / edges.gap.mean()
    ablated = ablation_scan(model, task, nodes, batch_rows=batch_rows)
    alone = ablated.share
    on, first, before = task, strength, alone
    if choosing is not None:
        on, first = choosing, _larger(*both(nodes, Positions("all"), choosing))
        before = ablation_scan(model, choosing, nodes, batch_rows=batch_rows).share
    condition = _without_others(model, on, nodes, first, before, conditions, relevant, batch_rows)
    after, more = alone.clone(), torch.zeros_like(ablated.effect)
    for given in sorted({c for c in condition if c}):
        able = [i for i, c in enumerate(condition) if c == given]
        some = [nodes[i] for i in able]
        then = ablation_scan(model, task, some, given=[Node.parse(given)], batch_rows=batch_rows)
        after[able] = then.share
        more[able] = then.effect - ablated.effect[able]
    q = _levels([*p_patch, _flips(edges.effect, task, 4 * len(nodes), seed), _flips(more, task, 4 * len(nodes), seed)])
    attention = span_attention(model, task)
    table = pd.DataFrame(
        {
            "node": [str(n) for n in nodes],
            "layer": [n.layer for n in nodes],
            "head": [n.head for n in nodes],
            "denoising": denoising.cpu().numpy(),
            "noising": noising.cpu().numpy(),
            "at_last": at_last.cpu().numpy(),
            "elsewhere": elsewhere.cpu().numpy(),
            "direct": direct.cpu().numpy(),
            "alone": alone.cpu().numpy(),
            "after": after.cpu().numpy(),
            "condition": condition,
            "q_patch": np.minimum(q[0], q[-3]),
            "q_direct": q[-2],
            "q_backup": q[-1],
            "to_span": [float(attention[n.layer, n.head]) for n in nodes],
        }
    )
    done = scans[-1].task.verdict == "supported"
    table["role"] = [role_of(row, relevant) if done else "none" for _, row in table.iterrows()]
    return table


def _flips(effect: Tensor, task: PairTask, family: int, seed: int) -> np.ndarray:
    values = by_group(effect.T.double().cpu().numpy(), task.groups)
    return permutation_ps(values, resamples=sign_flips(family), seed=seed + 2)  # type: ignore[no-any-return]


def _levels(ps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Q over all heads and figures, one array per figure."""
    every = fdr(np.concatenate(ps).tolist(), family=f"roles of {len(ps[0])} heads").q
    return np.split(np.array(list(every.values())), len(ps))


def _without_others(
    model: LanguageModel,
    task: PairTask,
    nodes: Sequence[Node],
    strength: Tensor,
    alone: Tensor,
    conditions: int,
    relevant: float,
    batch_rows: int,
) -> np.ndarray:
    """The head, of the most causal ones, without which each head's ablation does most; empty where none makes it do more."""
    causal = [nodes[i] for i in strength.argsort(descending=True)[:conditions].tolist() if strength[i] >= relevant]
    after, condition = alone.clone(), np.full(len(nodes), "", dtype=object)
    for given in causal:
        # A head that comes before the missing one cannot stand in for it.
        able = [i for i, n in enumerate(nodes) if n.order > given.order]
        if not able:
            continue
        then = ablation_scan(model, task, [nodes[i] for i in able], given=[given], batch_rows=batch_rows).share
        for i, value in zip(able, then, strict=True):
            if value > after[i]:
                after[i], condition[i] = value, str(given)
    return condition


def role_of(figures: pd.Series, relevant: float = RELEVANT) -> str:
    """The role that the rules at the top of this module give to one head's figures."""
    f = figures
    r = relevant
    strength = f.denoising if abs(f.denoising) >= abs(f.noising) else f.noising
    patch = abs(strength) >= r and f.q_patch <= ALPHA
    direct = abs(f.direct) >= r and f.q_direct <= ALPHA
    if f.after - f.alone >= r and f.q_backup <= ALPHA and f.after >= 2 * max(abs(f.alone), abs(strength)):
        return "backup"
    if not (patch or direct):
        return "none"
    if f.direct <= -r / 2 and strength < 0:
        return "canceller"
    if direct and f.direct > 0 and f.direct >= strength / 2:
        return "expresser"
    if not abs(f.at_last) > abs(f.elsewhere):
        return "detector" if f.to_span >= 0.2 else "other"
    return "aggregator"
