"""What each head or MLP does to the answer: ablation and patching scans with intervals and corrected p-values.

The sign is the same everywhere: a positive effect means that the node *supports* the clean prompt's answers. Effects
are in logits; ``share`` divides by the mean gap between clean and corrupted prompts.

* noising / ablation: logit difference of the clean run minus that of the changed run (necessity)
* denoising: logit difference of the changed corrupted run minus that of the corrupted run (sufficiency)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads.changes import (
    AblationMode,
    PatchMode,
    ablation,
    head_direction,
    mean_values,
    node_sites,
    patch,
    patch_sites,
)
from emotion_circuits.heads.nodes import Node
from emotion_circuits.heads.scanning import BaseRun, Variant, base_run, run_variants
from emotion_circuits.heads.tasks import PairTask, by_group
from emotion_circuits.model import ALL, LanguageModel, Positions, Record, Site
from emotion_circuits.statistics import bootstrap_mean_intervals, fdr, permutation_ps

__all__ = ["Scan", "ablation_scan", "measure_sets", "patch_scan", "sign_flips", "task_gap"]

Direction = Literal["denoising", "noising"]


@dataclass(frozen=True, eq=False)
class Scan:
    """Effects of sets of nodes (mostly single ones).

    Attributes:
        sets: what was changed together.
        method: e.g. ``ablation zero`` or ``noising z``.
        effect: ``[set, pair]`` in logits, positive where the set supports the clean answers.
        kl: ``[set, pair]`` KL(unchanged ‖ changed) of the next-token distribution, in nats.
        gap: ``[pair]`` logit difference of clean minus corrupted run.
        groups: each pair's group.
        projection: ``[set, pair]`` change of the projection that was asked for (changed − unchanged), else ``None``.
    """

    sets: tuple[tuple[Node, ...], ...]
    method: str
    effect: Float[Tensor, "set pair"]
    kl: Float[Tensor, "set pair"]
    gap: Float[Tensor, " pair"]
    groups: tuple[str, ...]
    projection: Float[Tensor, "set pair"] | None = None

    @property
    def mean_gap(self) -> float:
        """Mean gap, every group of pairs counting once, as in :meth:`table`."""
        return float(by_group(self.gap.double().cpu().numpy(), self.groups).mean())

    @property
    def share(self) -> Float[Tensor, " set"]:
        """Mean effect over mean gap, every group counting once; 1 is the whole effect of the prompt."""
        effect = by_group(self.effect.T.double().cpu().numpy(), self.groups).mean(0)
        return torch.from_numpy(effect / self.mean_gap).to(self.effect)

    def table(self, *, seed: int = 0, resamples: int = 2000) -> pd.DataFrame:
        """One row per set: effect with 95 % bootstrap interval by group, sign-flip p, q over the scan, KL.

        The sign flips are as many as the family needs for its smallest q to fall below 0.05.
        """
        values = by_group(self.effect.T.double().cpu().numpy(), self.groups)
        intervals = bootstrap_mean_intervals(values, resamples=resamples, seed=seed)
        p = permutation_ps(values, resamples=sign_flips(len(self.sets)), seed=seed + 1)
        q = fdr(list(map(float, p)), family=f"{self.method}: {len(self.sets)} sets of nodes").q
        rows = pd.DataFrame(
            {
                "nodes": [" ".join(map(str, s)) for s in self.sets],
                "kind": [s[0].kind if len(s) == 1 else "set" for s in self.sets],
                "layer": [s[0].layer if len(s) == 1 else -1 for s in self.sets],
                "head": [s[0].head if len(s) == 1 else -1 for s in self.sets],
                "method": self.method,
                "effect": [e.estimate for e in intervals],
                "low": [e.low for e in intervals],
                "high": [e.high for e in intervals],
                "share": self.share.cpu().numpy(),
                "kl": self.kl.mean(1).cpu().numpy(),
                "p": p,
                "q": list(q.values()) if isinstance(q, dict) else list(q),
                "n": values.shape[0],
            }
        )
        if self.projection is not None:
            rows["projection"] = self.projection.mean(1).cpu().numpy()
        return rows


def sign_flips(tests: int) -> int:
    """Monte-Carlo sign flips for a family of so many tests.

    The smallest p of ``n`` flips is ``1/(n+1)``; a family of ``m`` tests multiplies it by up to ``m``. 100 flips per
    test let a single strong test among ``m`` reach q = 0.01.
    """
    return max(10_000, 100 * tests)


def _as_sets(nodes: Sequence[Node] | Sequence[Sequence[Node]]) -> tuple[tuple[Node, ...], ...]:
    return tuple((n,) if isinstance(n, Node) else tuple(n) for n in nodes)


def task_gap(model: LanguageModel, task: PairTask) -> tuple[Float[Tensor, " pair"], Float[Tensor, " pair"]]:
    """Logit difference of the clean and of the corrupted runs, ``[pair]`` each."""
    with torch.no_grad():
        runs = [model.logits(batch, last_only=True) for batch in (task.clean, task.corrupted)]
    return task.logit_difference(runs[0]), task.logit_difference(runs[1])


def measure_sets(
    model: LanguageModel,
    task: PairTask,
    base: BaseRun,
    variants: Sequence[Variant],
    *,
    projection: tuple[int, Tensor] | None = None,
    batch_rows: int = 256,
    title: str = "scan",
) -> Float[Tensor, "variant measure pair"]:
    """Logit difference, KL from the base run and (where asked for) the projection at the last token, per variant.

    Args:
        model: the model.
        task: pairs of the base run's rows.
        base: the run that is changed.
        variants: interventions, one entry per variant.
        projection: ``(layer, direction)``: ``resid_post`` of that layer on the unit direction.
        batch_rows: rows run at once.
        title: of the progress bar.
    """
    watch: list[Site] = []
    unit = torch.zeros(0)
    if projection is not None:
        watch = [Site("resid_post", projection[0])]
        unit = torch.nn.functional.normalize(projection[1].float(), dim=-1).to(model.device)
    before = torch.log_softmax(base.logits.float(), -1)

    def measure(logits: Tensor, record: Record) -> Tensor:
        after = torch.log_softmax(logits.float(), -1)
        kl = (before.exp() * (before - after)).sum(-1).clamp(min=0)
        found = [task.logit_difference(logits), kl]
        if watch:
            found.append((record[watch[0]][:, -1].float() @ unit).unflatten(0, logits.shape[:2]))
        return torch.stack(found, dim=1)

    return run_variants(model, base, variants, measure, watch=watch, batch_rows=batch_rows, title=title)


def _finish(
    sets: tuple[tuple[Node, ...], ...],
    method: str,
    model: LanguageModel,
    task: PairTask,
    base: BaseRun,
    variants: Sequence[Variant],
    gap: Tensor,
    sign: float,
    projection: tuple[int, Tensor] | None,
    batch_rows: int,
) -> Scan:
    # The unchanged run takes the same way, so that what is compared differs in the change alone.
    measured = measure_sets(
        model, task, base, [[], *variants], projection=projection, batch_rows=batch_rows, title=method
    )
    change = measured[1:] - measured[:1]
    projected = change[:, 2] if projection is not None else None
    return Scan(sets, method, sign * change[:, 0], measured[1:, 1], gap, task.groups, projected)


def ablation_scan(
    model: LanguageModel,
    task: PairTask,
    nodes: Sequence[Node] | Sequence[Sequence[Node]],
    mode: AblationMode = "zero",
    *,
    direction: Float[Tensor, " d_model"] | None = None,
    positions: Positions = ALL,
    projection: tuple[int, Tensor] | None = None,
    given: Sequence[Node] = (),
    batch_rows: int = 256,
) -> Scan:
    """Take each node (or set) out of the clean run.

    Args:
        model: the model.
        task: the pairs.
        nodes: nodes, or sets of nodes that are ablated together.
        mode: ``zero``, ``mean`` (over the corrupted prompts' tokens), ``resample`` (the corrupted prompt's own values)
            or ``directional`` (only what a node writes along ``direction``).
        direction: for ``directional``.
        positions: where.
        projection: also measure the last token's projection, ``(layer, direction)``.
        given: nodes that are ablated (in the same mode) in both arms: what a node does once those are gone.
        batch_rows: rows run at once.

    Raises:
        EmotionCircuitsError: ``directional`` without a direction.
    """
    sets = _as_sets(nodes)
    if mode == "directional" and direction is None:
        raise EmotionCircuitsError("a directional ablation needs the direction to remove")
    everything = [*given, *(n for s in sets for n in s)]
    sites = node_sites(everything)
    base = base_run(model, task.clean)
    corrupted = base_run(model, task.corrupted, sites if mode in ("mean", "resample") else ())
    means = mean_values(corrupted, sites) if mode == "mean" else None
    directions = None
    if mode == "directional" and direction is not None:
        directions = {n: head_direction(model, n, direction) for n in dict.fromkeys(everything)}

    def remove(which: Sequence[Node]) -> Variant:
        return ablation(which, mode, source=corrupted, means=means, directions=directions, positions=positions)

    gap = task.logit_difference(base.logits) - task.logit_difference(corrupted.logits)
    variants = [remove(given), *(remove([*given, *(n for n in s if n not in given)]) for s in sets)]
    scan = _finish(
        (tuple(given), *sets), f"ablation {mode}", model, task, base, variants, gap, -1.0, projection, batch_rows
    )
    projected = None if scan.projection is None else scan.projection[1:] - scan.projection[:1]
    return Scan(sets, scan.method, scan.effect[1:] - scan.effect[:1], scan.kl[1:], gap, task.groups, projected)


def patch_scan(
    model: LanguageModel,
    task: PairTask,
    nodes: Sequence[Node] | Sequence[Sequence[Node]],
    mode: PatchMode = "z",
    *,
    direction: Direction = "denoising",
    positions: Positions = ALL,
    projection: tuple[int, Tensor] | None = None,
    batch_rows: int = 256,
) -> Scan:
    """Put each node's (or set's) values of one prompt into the run of the other.

    Args:
        model: the model.
        task: the pairs.
        nodes: nodes, or sets of nodes that are patched together.
        mode: what of a head is patched (:func:`emotion_circuits.heads.changes.patch`).
        direction: ``denoising`` (clean values into the corrupted run) or ``noising`` (the other way round).
        positions: where.
        projection: also measure the last token's projection, ``(layer, direction)``.
        batch_rows: rows run at once.

    Raises:
        EmotionCircuitsError: an unknown direction.
    """
    if direction not in ("denoising", "noising"):
        raise EmotionCircuitsError(f"direction must be denoising or noising, got {direction!r}")
    sets = _as_sets(nodes)
    kept = patch_sites((n for s in sets for n in s), mode)
    denoising = direction == "denoising"
    clean = base_run(model, task.clean, kept if denoising else ())
    corrupted = base_run(model, task.corrupted, () if denoising else kept)
    base, source = (corrupted, clean) if denoising else (clean, corrupted)
    gap = task.logit_difference(clean.logits) - task.logit_difference(corrupted.logits)
    variants = [patch(s, source, mode, positions) for s in sets]
    sign = 1.0 if denoising else -1.0
    return _finish(sets, f"{direction} {mode}", model, task, base, variants, gap, sign, projection, batch_rows)
