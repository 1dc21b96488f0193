"""From figures to claims: does the model do the task at all, and which heads cause it.

A head is claimed only where the task itself is supported. The null is *random answers*: the same effect, read from
randomly drawn words instead of the answers (one set of words per emotion, as the answers are, so that a pair and its
mirror are read alike), scaled so that the difference of their unembedding rows is as long as the answers'. It is wide
where a change moves logits at large, and it does not shrink with more pairs. Pairs of one group count as one unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emotion_circuits.heads import BaseRun, Node, PairTask, Scan, base_run, head_nodes
from emotion_circuits.heads.changes import patch, patch_sites
from emotion_circuits.heads.scanning import chunks_by_layer, run_chunk
from emotion_circuits.heads.scans import sign_flips
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel, Record
from emotion_circuits.model.source import identity
from emotion_circuits.paths import hash_json
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.parts import Kept, Tensors, results
from emotion_circuits.statistics import (
    About,
    Claim,
    bootstrap_mean_intervals,
    corrected,
    draft,
    permutation_ps,
    rank_p,
    rank_ps,
)

__all__ = ["SMALLEST_SHARE", "Effects", "head_claims", "judge_nodes", "node_effects", "task_claim"]

SMALLEST_SHARE = 0.1
"""Smallest share of the clean-corrupted gap for which a single node is claimed: below it, decoys of planted models count
(a head that writes much anywhere moves the norms, and so the answers)."""


def _random_answers(
    model: LanguageModel, task: PairTask, draws: int, seed: int
) -> tuple[Int[Tensor, "draw pair answer"], Float[Tensor, "draw pair answer"]]:
    """Random tokens in the place of the answers: one set per emotion, wherever that emotion's answers stand."""
    rng = np.random.default_rng(seed)
    taken = set(task.answer_ids[task.answer_weights != 0].tolist()) | set(model.tokenizer.all_special_ids)
    unembedding: Tensor = model.unembedding.weight  # type: ignore[assignment]
    size = unembedding.shape[0]
    pool = np.array([i for i in range(min(size, len(model.tokenizer))) if i not in taken])
    width = task.answer_ids.shape[1]
    labels = sorted({label for p in task.pairs for label in (p.label, p.corrupted_label)})
    drawn = {label: rng.choice(pool, size=(draws, width)) for label in labels}
    positive = (task.answer_weights > 0).sum(1).tolist()
    rows = []
    for pair, n in zip(task.pairs, positive, strict=True):
        rows.append(np.concatenate([drawn[pair.label][:, :n], drawn[pair.corrupted_label][:, : width - n]], axis=1))
    ids = torch.from_numpy(np.stack(rows, axis=1)).to(model.device)
    weights = task.answer_weights

    def length(tokens: Tensor) -> Tensor:
        rows = unembedding[tokens].float() * weights[..., None]
        lengths: Tensor = rows.sum(-2).norm(dim=-1)
        return lengths

    wanted = length(task.answer_ids)
    scale = torch.stack([wanted / length(draw).clamp(min=1e-9) for draw in ids])
    return ids, weights * scale[..., None]


def _contrast(logits: Tensor, ids: Tensor, weights: Tensor) -> Float[Tensor, "*variant draw"]:
    """Mean over pairs of the random contrasts: ``[*variant, draw]``."""
    rows = torch.arange(logits.shape[-2], device=logits.device)[None, :, None]
    picked = logits.float()[..., rows, ids]
    return (picked * weights).sum(-1).mean(-1)


def task_claim(model: LanguageModel, task: PairTask, *, draws: int = 400, seed: int = 0, name: str = "pairs") -> Claim:
    """Does the model tell clean from corrupted prompts by the answers at all?

    Args:
        model: the model.
        task: the pairs.
        draws: random answer sets of the null.
        seed: of null and bootstrap.
        name: of the task.
    """
    clean, corrupted = base_run(model, task.clean).logits, base_run(model, task.corrupted).logits
    return _task_claim(model, task, clean, corrupted, draws=draws, seed=seed, name=name)


def _task_claim(
    model: LanguageModel, task: PairTask, clean: Tensor, corrupted: Tensor, *, draws: int, seed: int, name: str
) -> Claim:
    sides = [task.logit_difference(logits).double().cpu().numpy() for logits in (clean, corrupted)]
    gap = sides[0] - sides[1]
    right, both = (float(hit.mean()) for hit in (gap > 0, (sides[0] > 0) & (sides[1] < 0)))
    ids, weights = _random_answers(model, task, draws, seed)
    null = _contrast(clean - corrupted, ids, weights).cpu().numpy()
    gap = by_group(gap, task.groups)
    interval = bootstrap_mean_intervals(gap, resamples=2000, seed=seed)[0]
    low, high = np.quantile(null, [0.025, 0.975])
    found = draft(
        f"circuits.task.{name}",
        "circuits.task",
        About(task=name, model=model.name),
        family="circuits.task",
        estimate=interval.estimate,
        interval=(interval.low, interval.high),
        n=interval.n,
        chance=0.0,
        null=(float(low), float(high)),
        p=max(float(permutation_ps(gap, resamples=sign_flips(1), seed=seed + 1)[0]), rank_p(interval.estimate, null)),
        beside={"draws": draws, "pairs": len(task), "right": right, "both": both},
    )
    return corrected([found])[0]


@dataclass(frozen=True, eq=False)
class Effects:
    """Exact noising effects with the null of random answers.

    Attributes:
        task: the claim that the model does the task at all.
        scan: the effects of every node.
        null: ``[node, draw]`` the same effects read from random answers, in logits.
        draws: random answer sets.
        name: of the task.
    """

    task: Claim
    scan: Scan
    null: Float[np.ndarray, "node draw"]
    draws: int
    name: str

    def ps(self, *, seed: int = 0, family: int = 0) -> Float[np.ndarray, " node"]:
        """One p per node, the larger of two: sign flips over groups, and the effect's rank among those on random answers.

        Ranks are in units of each node's own spread and pooled over nodes, so that a few hundred answer sets tell among as
        many nodes.

        Args:
            seed: of the flips.
            family: how many tests they are corrected with; the nodes by default.
        """
        values = by_group(self.scan.effect.T.double().cpu().numpy(), self.scan.groups)
        flips = permutation_ps(values, resamples=sign_flips(family or len(self.scan.sets)), seed=seed + 1)
        return np.maximum(  # type: ignore[no-any-return]
            flips, rank_ps(values.mean(0), self.null.T, side="different", pooled=True)
        )

    def table(self, *, seed: int = 0) -> pd.DataFrame:
        """:meth:`Scan.table` with the null's middle 95 % and each node's verdict, see :func:`judge_nodes`."""
        rows = self.scan.table(seed=seed)
        rows["null_low"], rows["null_high"] = np.quantile(self.null, [0.025, 0.975], axis=1)
        claims = judge_nodes(self, seed=seed)
        rows["verdict"] = [claim.verdict for claim in claims]
        return rows


def node_effects(
    model: LanguageModel,
    task: PairTask,
    nodes: Sequence[Node],
    *,
    draws: int = 400,
    seed: int = 0,
    name: str = "pairs",
    batch_rows: int = 256,
    folder: Path | None = None,
    engine: Engine | None = None,
) -> Effects:
    """Noise every node by itself and read the answers, random answers and the KL divergence from the same runs.

    Args:
        model: the model.
        task: the pairs.
        nodes: heads and MLPs.
        draws: random answer sets of the null.
        seed: of the null.
        name: of the task.
        batch_rows: rows run at once.
        folder: where what is measured is kept, so that a scan that was interrupted goes on; the caller removes it once it has
            written what it makes of the effects. ``None``: nothing is kept.
        engine: where nodes are measured; in this process by default.

    Raises:
        EmotionCircuitsError: another process is working on this scan in the folder.
    """
    clean, corrupted = base_run(model, task.clean).logits, base_run(model, task.corrupted).logits
    whole = _task_claim(model, task, clean, corrupted, draws=draws, seed=seed, name=name)
    names, layers = [_UNCHANGED, *map(str, nodes)], [model.n_layers - 1, *(node.site.layer for node in nodes)]
    chunks = chunks_by_layer(layers, max(1, batch_rows // len(task)))
    work = {
        "format": 1,
        **identity(model),
        "pairs": hash_json([p.model_dump(mode="json") for p in task.pairs]),
        "tokens": hash_json([b.input_ids.tolist() for b in (task.clean, task.corrupted)]),
        "answers": hash_json([task.answer_ids.tolist(), task.answer_weights.tolist()]),
        "nodes": list(map(str, nodes)),
        "draws": draws,
        "seed": seed,
        "batch_rows": batch_rows,
    }
    tasks = [[names[index] for index in chunk] for chunk in chunks]
    compute = Compute(_noise, _Noising(task, tuple(nodes), draws, seed), model, prepare=_runs)
    found = results(folder, work, tasks, compute, Kept("scan", Tensors()), engine=engine, title="noising")
    measured = torch.empty(len(names), found[0]["measured"].shape[1])
    for chunk, tensors in zip(chunks, found, strict=True):
        measured[chunk] = tensors["measured"].to(measured)
    measured, n = measured.to(model.device), len(task)
    change = measured[:1] - measured[1:]
    gap = task.logit_difference(clean) - task.logit_difference(corrupted)
    sets = tuple((node,) for node in nodes)
    scan = Scan(sets, "noising z", change[:, :n], measured[1:, n : 2 * n], gap, task.groups)
    return Effects(whole, scan, change[:, 2 * n :].double().cpu().numpy(), draws, name)


_UNCHANGED = "unchanged"
"""Runs the same way as what is compared with it, so that both differ in the change alone."""


@dataclass(frozen=True, eq=False)
class _Noising:
    """What is noised, and how it is read."""

    task: PairTask
    nodes: tuple[Node, ...]
    draws: int
    seed: int


@dataclass(frozen=True, eq=False)
class _Runs:
    """The run that is changed, the one whose values it is given, and what is read of every change."""

    base: BaseRun
    source: BaseRun
    measure: Callable[[Tensor, Record], Tensor]


@torch.no_grad()
def _runs(model: LanguageModel, of: _Noising) -> _Runs:
    task = of.task
    source = base_run(model, task.corrupted, patch_sites(of.nodes))
    base = base_run(model, task.clean)
    ids, weights = _random_answers(model, task, of.draws, of.seed)
    before = torch.log_softmax(base.logits.float(), -1)

    def measure(logits: Tensor, _record: Record) -> Tensor:
        after = torch.log_softmax(logits.float(), -1)
        kl = (before.exp() * (before - after)).sum(-1).clamp(min=0)
        return torch.cat([task.logit_difference(logits), kl, _contrast(logits, ids, weights)], dim=-1)

    return _Runs(base, source, measure)


def _noise(model: LanguageModel, runs: _Runs, names: Sequence[str]) -> dict[str, Any]:
    """What was read of every node's change, ``[node, 2 × pair + draw]``, of nodes that begin in one layer."""
    nodes = [None if name == _UNCHANGED else Node.parse(name) for name in names]
    variants = [[] if node is None else patch([node], runs.source) for node in nodes]
    layer = min(model.n_layers - 1 if node is None else node.site.layer for node in nodes)
    return {"measured": run_chunk(model, runs.base, variants, layer, runs.measure)}


def judge_nodes(effects: Effects, *, smallest_share: float = SMALLEST_SHARE, seed: int = 0) -> list[Claim]:
    """One claim per node: it moves the answers, by at least ``smallest_share`` of the gap.

    *Supported* where the effect's interval lies beyond 0, q over all nodes holds, the estimate reaches ``smallest_share`` of
    the gap in size, and the task's own claim is supported. *Not supported* where the interval rules that share out. p is
    that of :meth:`Effects.ps`.

    Args:
        effects: from :func:`node_effects`.
        smallest_share: smallest share of the gap that counts.
        seed: of the bootstrap.
    """
    scan, whole = effects.scan, effects.task
    values = by_group(scan.effect.T.double().cpu().numpy(), scan.groups)
    intervals = bootstrap_mean_intervals(values, resamples=2000, seed=seed)
    p = effects.ps(seed=seed)
    low, high = np.quantile(effects.null, [0.025, 0.975], axis=1)
    gap = abs(scan.mean_gap)
    drafts = [
        draft(
            f"circuits.head.{effects.name}.{index + 1}",
            "circuits.head",
            About(task=effects.name, part=str(node), rank=index + 1),
            family="circuits.head",
            # A head is claimed only where the model does the task, and only for an effect that is large enough.
            given=whole,
            reach=True,
            estimate=e.estimate,
            interval=(e.low, e.high),
            n=e.n,
            chance=0.0,
            null=(float(low[index]), float(high[index])),
            p=float(p[index]),
            side="different",
            smallest=smallest_share * gap or None,
            beside={
                "draws": effects.draws,
                "share": e.estimate / scan.mean_gap if gap > 1e-9 else 0.0,
                "smallest_share": smallest_share,
            },
        )
        for index, ((node,), e) in enumerate(zip(scan.sets, intervals, strict=True))
    ]
    return corrected(drafts)


def head_claims(
    model: LanguageModel,
    task: PairTask,
    heads: Sequence[Node] | None = None,
    *,
    draws: int = 400,
    seed: int = 0,
    name: str = "pairs",
    batch_rows: int = 256,
) -> list[Claim]:
    """The task's claim, then one claim per head (:func:`judge_nodes`).

    Args:
        model: the model.
        task: the pairs.
        heads: which; all by default.
        draws: random answer sets of the null.
        seed: of null and bootstrap.
        name: of the task.
        batch_rows: rows run at once.
    """
    nodes = list(head_nodes(model) if heads is None else heads)
    effects = node_effects(model, task, nodes, draws=draws, seed=seed, name=name, batch_rows=batch_rows)
    return [effects.task, *judge_nodes(effects, seed=seed)]
