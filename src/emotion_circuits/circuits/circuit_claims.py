"""What is claimed of a circuit, or of there being none.

A circuit is claimed where parts chosen on train and validation pairs keep at least the target on test pairs, *and* more than
random circuits of the same make-up do (p: their rank among 99 or more). Where no size reached the target on validation pairs
there is no circuit to claim; instead it is tested whether every size stays below the target on test pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion_circuits.circuits.arena import Arena
from emotion_circuits.circuits.completeness import Completeness, Minimality
from emotion_circuits.circuits.faithfulness import Curve, ratio_draws
from emotion_circuits.circuits.joint import Joint
from emotion_circuits.circuits.random_circuits import AgainstRandom
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.statistics import About, Claim, Draft, draft, interval_p, permutation_ps

__all__ = ["INCOMPLETE", "backup_draft", "complete_draft", "found_drafts", "minimal_draft", "none_draft"]

INCOMPLETE = 0.2
"""A circuit whose mean incompleteness is not below it is not called complete."""


def found_drafts(
    about: About, against: AgainstRandom, *, target: float, size: int, total: int, task: Claim
) -> list[Draft]:
    """The circuit keeps ``target`` and more than random ones; and its heads do more than others, its MLPs being given.

    Args:
        about: task and model.
        against: the circuit beside random ones.
        target: what it must keep.
        size: its heads and MLPs.
        total: all heads and MLPs.
        task: claim that the model does the task.
    """
    n = task.figures.n
    drafts = []
    for part, null in (("faithfulness", against.random), ("heads", against.same_mlps)):
        if null is None:
            continue
        drafts.append(
            draft(
                f"circuits.{part}.{about.task}",
                f"circuits.{part}",
                about,
                family="circuits.faithfulness",
                given=task,
                reach=True,
                estimate=against.faithfulness,
                interval=(against.low, against.high),
                n=n,
                null=(null.low, null.high),
                p=max(null.p, interval_p(against.faithfulness, (against.low, against.high), n=n)),
                smallest=target,
                beside={"size": size, "total": total, "samples": null.samples, "random": null.mean, "target": target},
            )
        )
    return drafts


def none_draft(
    about: About,
    arena: Arena,
    curve: Curve,
    against: AgainstRandom,
    *,
    target: float,
    largest: int,
    task: Claim,
    seed: int = 0,
) -> Draft:
    """No circuit of up to ``largest`` parts keeps ``target``: every size that was tried stays below it on test pairs.

    p is the largest of all sizes' (Berger 1982: all of them must stay below): a one-sided sign-flip test, by group, of what the
    circuit keeps beyond the target's share of the gap.

    Args:
        about: task and model.
        arena: both runs of the test pairs.
        curve: of the parts in their order.
        against: the most faithful of them (by validation pairs) beside random ones.
        target: what a circuit must keep.
        largest: heads and MLPs of the largest that counts.
        task: claim that the model does the task.
        seed: of bootstrap and sign flips.
    """
    rows = curve.table
    small = ((rows["size"] > 0) & (rows["size"] <= largest)).to_numpy()
    kept, f = curve.kept[small], rows["faithfulness"].to_numpy()[small]
    gap = (arena.full - arena.empty).double().cpu().numpy()
    sign = np.sign(gap.mean())
    short = by_group((sign * (target * gap - kept)).T, arena.task.groups)
    p = permutation_ps(short, alternative="greater", seed=seed + 1)
    best = int(f.argmax())
    low, high = np.nanquantile(
        ratio_draws(arena, kept[best : best + 1], np.random.default_rng(seed))[:, 0], [0.025, 0.975]
    )
    return draft(
        f"circuits.none.{about.task}",
        "circuits.none",
        about,
        family="circuits.none",
        given=task,
        estimate=float(f[best]),
        interval=(float(low), float(high)),
        chance=target,
        side="less",
        p=float(p.max()),
        n=short.shape[0],
        beside={
            "largest": largest, "total": int(rows["size"].max()), "best": int(rows["size"].to_numpy()[small][best]),
            "sizes": int(small.sum()), "samples": against.random.samples, "random": against.random.mean,
            "random_high": against.random.high, "random_p": against.random.p,
        },
    )  # fmt: skip


def complete_draft(about: About, found: Completeness, *, size: int, n: int, given: str) -> Draft:
    """Nothing is missing: without any part of the circuit, model and circuit suffer alike."""
    measure = found.incompleteness
    return draft(
        f"circuits.complete.{about.task}", "circuits.complete", about, family="circuits.complete", given=given,
        estimate=measure.estimate, interval=(measure.low, measure.high), chance=INCOMPLETE, side="less", p=measure.p, n=n,
        beside={"size": size, "parts": len(found.table)},
    )  # fmt: skip


def minimal_draft(about: About, found: Minimality, *, needed: Sequence[str], n: int, given: str) -> Draft:
    """Nothing is superfluous: without any single member the circuit keeps less."""
    measure = found.weakest
    return draft(
        f"circuits.minimal.{about.task}", "circuits.minimal", about, family="circuits.minimal", given=given,
        estimate=measure.estimate, interval=(measure.low, measure.high), chance=0.0, p=measure.p, n=n,
        beside={"size": len(found.table), "needed": len(needed)},
    )  # fmt: skip


def backup_draft(about: About, joint: Joint, *, n: int, given: Claim) -> Draft:
    """Taking the heads out at once does more than the sum of taking out each."""
    return draft(
        f"circuits.backup.{about.task}", "circuits.backup", about, family="circuits.backup", given=given,
        estimate=joint.excess, interval=joint.excess_interval, chance=0.0, p=joint.excess_p, n=n,
        beside={"heads": joint.parts, "joint": joint.joint, "summed": joint.summed},
    )  # fmt: skip
