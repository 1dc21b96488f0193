"""From figures to claims: does the model do the task at all, and which heads cause it.

A head is claimed only where the task itself is supported. The null is *random answers*: the same effect, read from
randomly drawn words instead of the answers (one draw per combination of emotions, as the answers are), scaled so that
the difference of their unembedding rows is as long as the answers'. It is wide where a change moves logits at large,
and it does not shrink with more pairs. Pairs of one group count as one unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from emotion_circuits.circuits.roles import RELEVANT
from emotion_circuits.heads import Node, PairTask, base_run, head_nodes
from emotion_circuits.heads.changes import patch, patch_sites
from emotion_circuits.heads.scanning import run_variants
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel, Record
from emotion_circuits.statistics import Claim, bootstrap_mean_intervals, fdr, judge, permutation_ps

__all__ = ["head_claims", "task_claim"]


def _random_answers(
    model: LanguageModel, task: PairTask, draws: int, seed: int
) -> tuple[Int[Tensor, "draw pair answer"], Float[Tensor, "draw pair answer"]]:
    """Random tokens in the place of the answers: the same within a combination of emotions, other ones outside."""
    rng = np.random.default_rng(seed)
    taken = set(task.answer_ids[task.answer_weights != 0].tolist()) | set(model.tokenizer.all_special_ids)
    unembedding: Tensor = model.unembedding.weight  # type: ignore[assignment]
    size = unembedding.shape[0]
    pool = np.array([i for i in range(min(size, len(model.tokenizer))) if i not in taken])
    width = task.answer_ids.shape[1]
    combinations = sorted({(p.label, p.corrupted_label) for p in task.pairs})
    drawn = {c: rng.choice(pool, size=(draws, width)) for c in combinations}
    ids = torch.from_numpy(np.stack([drawn[(p.label, p.corrupted_label)] for p in task.pairs], axis=1)).to(model.device)
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
        name: of the task in the statement.
    """
    clean, corrupted = base_run(model, task.clean).logits, base_run(model, task.corrupted).logits
    gap = (task.logit_difference(clean) - task.logit_difference(corrupted)).double().cpu().numpy()
    ids, weights = _random_answers(model, task, draws, seed)
    null = _contrast(clean - corrupted, ids, weights).cpu().numpy()
    gap = by_group(gap, task.groups)
    interval = bootstrap_mean_intervals(gap, resamples=2000, seed=seed)[0]
    low, high = np.quantile(null, [0.025, 0.975])
    return judge(
        id=f"circuits.task.{name}",
        station="circuits",
        statement=f"{model.name} prefers the answers of the emotion in the prompt ({name})",
        estimate=interval.estimate,
        interval=(interval.low, interval.high),
        unit="logits (clean − corrupted logit difference)",
        n=interval.n,
        unit_of_n="groups of pairs",
        chance=0.0,
        null=f"{draws} random answer sets",
        null_interval=(float(low), float(high)),
        p=float(permutation_ps(gap, resamples=2000, seed=seed + 1)[0]),
    )


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
    """One claim per head about its causal effect (noising of its output), and the task's claim first.

    A head's claim is *supported* where its effect's interval lies beyond 0 and beyond the null, q over all heads holds,
    it is at least :data:`RELEVANT` of the gap in size, and the task's claim is supported.

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
    whole = task_claim(model, task, draws=draws, seed=seed, name=name)
    source = base_run(model, task.corrupted, patch_sites(nodes))
    base = base_run(model, task.clean)
    ids, weights = _random_answers(model, task, draws, seed)

    def measure(logits: Tensor, _record: Record) -> Tensor:
        return torch.cat([task.logit_difference(logits), _contrast(logits, ids, weights)], dim=-1)

    variants = [[], *(patch([n], source) for n in nodes)]
    measured = run_variants(model, base, variants, measure, batch_rows=batch_rows, title="head claims")
    change = (measured[:1] - measured[1:]).double().cpu().numpy()
    effect, null = by_group(change[:, : len(task)].T, task.groups), change[:, len(task) :]
    intervals = bootstrap_mean_intervals(effect, resamples=2000, seed=seed)
    p = permutation_ps(effect, resamples=2000, seed=seed + 1)
    corrected = fdr(list(map(float, p)), family=f"noising of {len(nodes)} heads ({name})").q
    q = list(corrected.values()) if isinstance(corrected, dict) else list(corrected)
    low, high = np.quantile(null, [0.025, 0.975], axis=1)
    claims = [whole]
    for index, node in enumerate(nodes):
        e = intervals[index]
        share = e.estimate / whole.estimate if abs(whole.estimate) > 1e-9 else 0.0
        claim = judge(
            id=f"circuits.head.{name}.{node}",
            station="circuits",
            statement=f"{node} {'supports' if e.estimate >= 0 else 'opposes'} the answers of the emotion in the prompt",
            estimate=e.estimate,
            interval=(e.low, e.high),
            unit="logits (noising)",
            n=e.n,
            unit_of_n="groups of pairs",
            chance=0.0,
            null=f"{draws} random answer sets",
            null_interval=(float(low[index]), float(high[index])),
            p=float(p[index]),
            q=float(q[index]),
            direction="different",
            notes=f"{share:.3f} of the gap.",
        )
        if claim.verdict == "supported" and (whole.verdict != "supported" or abs(share) < RELEVANT):
            reason = (
                "the task itself is not supported"
                if whole.verdict != "supported"
                else f"less than {RELEVANT:g} of the gap"
            )
            claim = claim.model_copy(
                update={"verdict": "not supported", "notes": f"{claim.notes} Not claimed: {reason}."}
            )
        claims.append(claim)
    return claims
