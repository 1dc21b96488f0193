"""How much of the behaviour a circuit carries, over its size, against random circuits of the same size.

* faithfulness ``f = (circuit − corrupted) / (full − corrupted)`` of the mean logit difference
* CPR: area under ``f`` over the share of parts kept; CMD: area of ``|1 − f|`` (Mueller et al. 2025, MIB)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.circuits.arena import Arena, run_edge_circuit, run_node_circuits
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Edge, Node
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel
from emotion_circuits.progress import progress_bar
from emotion_circuits.statistics import resample_counts

__all__ = ["Curve", "edge_curve", "faithfulness", "node_curve", "ratio_draws"]


@dataclass(frozen=True, eq=False)
class Curve:
    """Faithfulness over circuit size.

    Attributes:
        table: one row per size: ``size``, ``share`` of all parts, ``faithfulness`` with 95 % bootstrap interval by
            group (``low``, ``high``), and ``random``, ``random_low``, ``random_high``: mean and range of the middle
            95 % of random circuits of that size.
        cpr: area under the curve over share 0 to 1.
        cmd: area of ``|1 − f|``; 0 is perfect.
        random_cpr: mean CPR of the random orderings.
        random_cmd: mean CMD of the random orderings.
        kept: ``[size, pair]`` what the ranked circuits keep of each pair's logit difference beyond the corrupted run.
    """

    table: pd.DataFrame
    cpr: float
    cmd: float
    random_cpr: float
    random_cmd: float
    kept: Float[np.ndarray, "size pair"]


def faithfulness(arena: Arena, difference: Float[Tensor, "*circuit pair"]) -> Float[Tensor, "*circuit"]:
    """``f`` of the mean over pairs.

    Raises:
        EmotionCircuitsError: clean and corrupted prompts are not told apart, so there is nothing to be faithful to.
    """
    gap = (arena.full - arena.empty).mean()
    if abs(float(gap)) < 1e-6:
        raise EmotionCircuitsError("the model answers clean and corrupted prompts alike: faithfulness is undefined")
    return (difference - arena.empty).mean(-1) / gap


def node_curve(
    model: LanguageModel,
    arena: Arena,
    ranked: Sequence[Node],
    sizes: Sequence[int],
    *,
    n_random: int = 10,
    seed: int = 0,
    batch_rows: int = 256,
) -> Curve:
    """Curve of circuits made of the first ``size`` nodes.

    Args:
        model: the model.
        arena: both runs.
        ranked: all heads and MLPs, most important first.
        sizes: circuit sizes; 0 and all are added.
        n_random: random orderings; at every size they hold as many heads and as many MLPs as the ranked circuit (an MLP
            matters more than a head, so random parts of any kind would be too easy to beat).
        seed: of the random orderings and of the bootstrap.
        batch_rows: rows run at once.
    """

    def run(circuits: Sequence[Sequence[Node]]) -> Tensor:
        return run_node_circuits(model, arena, circuits, batch_rows=batch_rows)

    return _curve(arena, ranked, sizes, run, n_random, seed)


def edge_curve(
    model: LanguageModel,
    arena: Arena,
    ranked: Sequence[Edge],
    sizes: Sequence[int],
    *,
    n_random: int = 5,
    seed: int = 0,
) -> Curve:
    """Curve of circuits made of the first ``size`` edges; as :func:`node_curve`."""

    def run(circuits: Sequence[Sequence[Edge]]) -> Tensor:
        with progress_bar("edge circuits", len(circuits)) as bar:
            found = []
            for circuit in circuits:
                found.append(run_edge_circuit(model, arena, circuit))
                bar.advance()
        return torch.stack(found)

    return _curve(arena, ranked, sizes, run, n_random, seed)


def _curve(
    arena: Arena,
    ranked: Sequence[Node] | Sequence[Edge],
    sizes: Sequence[int],
    run: Callable[..., Tensor],
    n_random: int,
    seed: int,
) -> Curve:
    total = len(ranked)
    steps = sorted({0, total, *(s for s in sizes if 0 < s < total)})
    rng = np.random.default_rng(seed)
    orders = [list(ranked), *(_shuffled(ranked, rng) for _ in range(n_random))]
    # Size 0 and all are the same circuit in every order.
    circuits = [orders[0][:0], orders[0], *(order[:s] for order in orders for s in steps[1:-1])]
    found = run(circuits)
    inner = found[2:].unflatten(0, (len(orders), len(steps) - 2))
    ends = [found[i][None].expand(len(orders), -1)[:, None] for i in (0, 1)]
    difference = torch.cat([ends[0], inner, ends[1]], dim=1)
    f = faithfulness(arena, difference).double().cpu().numpy()
    share = np.array(steps) / total
    low, high = _intervals(arena, difference[0], rng)
    table = pd.DataFrame({"size": steps, "share": share, "faithfulness": f[0], "low": low, "high": high})
    if n_random:
        table["random"] = f[1:].mean(0)
        table["random_low"], table["random_high"] = np.quantile(f[1:], [0.025, 0.975], axis=0)
    cpr, cmd = np.trapezoid(f, share, axis=1), np.trapezoid(np.abs(1 - f), share, axis=1)
    missing = float("nan")
    return Curve(
        table,
        float(cpr[0]),
        float(cmd[0]),
        float(cpr[1:].mean()) if n_random else missing,
        float(cmd[1:].mean()) if n_random else missing,
        (difference[0] - arena.empty).double().cpu().numpy(),
    )


def _shuffled(ranked: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """Parts in random order; where heads and MLPs stand, there stand heads and MLPs again."""
    out = list(ranked)
    kinds = [part.kind if isinstance(part, Node) else "edge" for part in ranked]
    for kind in dict.fromkeys(kinds):
        places = [i for i, k in enumerate(kinds) if k == kind]
        for place, source in zip(places, rng.permutation(places), strict=True):
            out[place] = ranked[source]
    return out


def ratio_draws(
    arena: Arena, kept: Float[np.ndarray, "circuit pair"], rng: np.random.Generator, resamples: int = 2000
) -> Float[np.ndarray, "resample circuit"]:
    """Faithfulness under resampled groups of pairs: a ratio of means, groups drawn with replacement.

    Args:
        arena: both runs.
        kept: what each circuit keeps of each pair's logit difference beyond the corrupted run.
        rng: draws groups.
        resamples: how often.
    """
    groups = arena.task.groups
    sizes = np.array([groups.count(g) for g in dict.fromkeys(groups)], dtype=float)
    drawn = resample_counts(len(sizes), resamples, rng) * sizes
    above = drawn @ by_group(kept.T, groups)
    below = drawn @ by_group((arena.full - arena.empty).double().cpu().numpy(), groups)
    found: np.ndarray = above / np.where(np.abs(below) < 1e-9, np.nan, below)[:, None]
    return found


def _intervals(arena: Arena, difference: Tensor, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a ratio of means."""
    draws = ratio_draws(arena, (difference - arena.empty).double().cpu().numpy(), rng)
    low, high = np.nanquantile(draws, [0.025, 0.975], axis=0)
    return low, high
