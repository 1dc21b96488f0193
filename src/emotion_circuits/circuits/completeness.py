"""Is anything missing from a circuit, and is anything in it that it could do without (after Wang et al. 2022)?

Both figures are shares of the clean-corrupted gap, with intervals and tests by group of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from emotion_circuits.circuits.arena import Arena, run_node_circuits
from emotion_circuits.circuits.faithfulness import ratio_draws
from emotion_circuits.heads import Node
from emotion_circuits.heads.scans import sign_flips
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel
from emotion_circuits.statistics import fdr, permutation_ps

__all__ = ["Completeness", "Measure", "Minimality", "completeness", "minimality"]


class Measure(BaseModel):
    """A share of the gap with its 95 % interval and its test, by group of pairs.

    Attributes:
        estimate: the share.
        low: lower end of its interval.
        high: upper end of its interval.
        p: one-sided, see the function that gave it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    estimate: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, eq=False)
class Completeness:
    """What a circuit lacks.

    Attributes:
        table: one row per part ``K`` that was taken out: its size, faithfulness of ``circuit − K`` and of ``model − K``, and
            their distance.
        incompleteness: mean distance; p: of its lying at or above the bound.
    """

    table: pd.DataFrame
    incompleteness: Measure


@dataclass(frozen=True, eq=False)
class Minimality:
    """What each member adds to the rest of the circuit.

    Attributes:
        table: one row per node: ``faithfulness_lost`` when it alone is taken out (0: it is not needed), one-sided sign-flip
            ``p`` by group, ``q`` over the members.
        weakest: the member that adds least; p: the largest of all members', of each adding nothing.
    """

    table: pd.DataFrame
    weakest: Measure


def completeness(
    model: LanguageModel,
    arena: Arena,
    circuit: Sequence[Node],
    everything: Sequence[Node],
    *,
    samples: int = 10,
    bound: float = 0.2,
    seed: int = 0,
) -> Completeness:
    """Take random parts ``K`` out of the circuit and out of the whole model; a complete circuit suffers alike.

    Args:
        model: the model.
        arena: both runs.
        circuit: its heads and MLPs.
        everything: all heads and MLPs.
        samples: how many random subsets (each of half the circuit, and the whole circuit as the last).
        bound: largest mean distance of a complete circuit, as a share of the gap.
        seed: of the subsets and of the bootstrap.
    """
    rng = np.random.default_rng(seed)
    half = max(1, len(circuit) // 2)
    parts = [{circuit[i] for i in rng.choice(len(circuit), half, replace=False)} for _ in range(samples)] + [
        set(circuit)
    ]
    without = [[n for n in circuit if n not in k] for k in parts] + [
        [n for n in everything if n not in k] for k in parts
    ]
    kept = (run_node_circuits(model, arena, without) - arena.empty).double().cpu().numpy()
    f = kept.mean(1) / float((arena.full - arena.empty).double().mean())
    inside, whole = f[: len(parts)], f[len(parts) :]
    table = pd.DataFrame(
        {
            "removed": [len(k) for k in parts],
            "circuit": inside,
            "model": whole,
            "incompleteness": np.abs(inside - whole),
        }
    )
    # Of resampled distances the mean size is too high rather than too low: the claim is that it is small.
    draws = np.abs(ratio_draws(arena, kept[: len(parts)] - kept[len(parts) :], rng)).mean(1)
    low, high = np.nanquantile(draws, [0.025, 0.975])
    p = (1 + int((draws >= bound).sum())) / (1 + len(draws))
    return Completeness(
        table, Measure(estimate=float(table["incompleteness"].mean()), low=float(low), high=float(high), p=p)
    )


def minimality(model: LanguageModel, arena: Arena, circuit: Sequence[Node], *, seed: int = 0) -> Minimality:
    """How much faithfulness each member of the circuit adds to the rest of it.

    Args:
        model: the model.
        arena: both runs.
        circuit: its heads and MLPs.
        seed: of bootstrap and sign flips.
    """
    without = [[n for n in circuit if n != node] for node in circuit]
    found = run_node_circuits(model, arena, [circuit, *without])
    lost = (found[:1] - found[1:]).double().cpu().numpy()
    gap = float((arena.full - arena.empty).double().mean())
    # Where the model prefers the wrong answers on the whole, a share of the gap has the other sign than the logits.
    values = by_group(np.sign(gap) * lost.T, arena.task.groups)
    p = permutation_ps(values, resamples=sign_flips(len(circuit)), alternative="greater", seed=seed + 1)
    table = pd.DataFrame(
        {
            "node": [str(n) for n in circuit],
            "faithfulness_lost": lost.mean(1) / gap,
            "p": p,
            "q": list(fdr(p.tolist(), family=f"members of a circuit of {len(circuit)}").q.values()),
        }
    )
    weakest = int(table["faithfulness_lost"].to_numpy().argmin())
    draws = ratio_draws(arena, lost[weakest : weakest + 1], np.random.default_rng(seed))[:, 0]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    estimate = float(table["faithfulness_lost"][weakest])
    return Minimality(table, Measure(estimate=estimate, low=float(low), high=float(high), p=float(p.max())))
