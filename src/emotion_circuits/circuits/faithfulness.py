"""How much of the behaviour a circuit carries, over its size, against random circuits of the same size.

* faithfulness ``f = (circuit − corrupted) / (full − corrupted)`` of the mean logit difference
* CPR: area under ``f`` over the share of parts kept; CMD: area of ``|1 − f|`` (Mueller et al. 2025, MIB)
* completeness and minimality after Wang et al. 2022
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.circuits.running import Arena, arena, run_edge_circuit, run_node_circuits
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Edge, Node, PairTask, all_nodes
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel
from emotion_circuits.progress import progress_bar

__all__ = ["Curve", "circuit_against_random", "completeness", "edge_curve", "faithfulness", "minimality", "node_curve"]


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
    """

    table: pd.DataFrame
    cpr: float
    cmd: float
    random_cpr: float
    random_cmd: float


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
        n_random: random orderings of the same nodes.
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
    orders = [list(ranked), *([ranked[i] for i in rng.permutation(total)] for _ in range(n_random))]
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
    )


def _intervals(
    arena: Arena, difference: Tensor, rng: np.random.Generator, resamples: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of a ratio of means, groups of pairs drawn with replacement."""
    groups = arena.task.groups
    sizes = np.array([groups.count(g) for g in dict.fromkeys(groups)], dtype=float)
    drawn = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=resamples) * sizes
    above = drawn @ by_group((difference - arena.empty).T.double().cpu().numpy(), groups)
    below = drawn @ by_group((arena.full - arena.empty).double().cpu().numpy(), groups)
    ratios = above / np.where(np.abs(below) < 1e-9, np.nan, below)[:, None]
    low, high = np.nanquantile(ratios, [0.025, 0.975], axis=0)
    return low, high


def completeness(
    model: LanguageModel,
    arena: Arena,
    circuit: Sequence[Node],
    everything: Sequence[Node],
    *,
    samples: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Take random parts ``K`` out of the circuit and out of the whole model; a complete circuit suffers alike.

    Args:
        model: the model.
        arena: both runs.
        circuit: its heads and MLPs.
        everything: all heads and MLPs.
        samples: how many random subsets (each of half the circuit, and the whole circuit as the last).
        seed: of the subsets.

    Returns:
        One row per ``K``: its size, faithfulness of ``circuit − K`` and of ``model − K``, and their distance.
    """
    rng = np.random.default_rng(seed)
    half = max(1, len(circuit) // 2)
    parts = [{circuit[i] for i in rng.choice(len(circuit), half, replace=False)} for _ in range(samples)] + [
        set(circuit)
    ]
    without = [[n for n in circuit if n not in k] for k in parts] + [
        [n for n in everything if n not in k] for k in parts
    ]
    f = faithfulness(arena, run_node_circuits(model, arena, without)).cpu().numpy()
    inside, whole = f[: len(parts)], f[len(parts) :]
    return pd.DataFrame(
        {
            "removed": [len(k) for k in parts],
            "circuit": inside,
            "model": whole,
            "incompleteness": np.abs(inside - whole),
        }
    )


def minimality(model: LanguageModel, arena: Arena, circuit: Sequence[Node]) -> pd.DataFrame:
    """How much faithfulness each member of the circuit adds to the rest of it.

    Returns:
        One row per node: ``faithfulness_lost`` when it alone is taken out (0: it is not needed).
    """
    without = [[n for n in circuit if n != node] for node in circuit]
    f = faithfulness(arena, run_node_circuits(model, arena, [circuit, *without])).cpu().numpy()
    return pd.DataFrame({"node": [str(n) for n in circuit], "faithfulness_lost": f[0] - f[1:]})


def circuit_against_random(
    model: LanguageModel, task: PairTask, circuit: Sequence[Node], *, samples: int = 20, seed: int = 0
) -> dict[str, float]:
    """Faithfulness of one circuit beside random circuits with as many heads and as many MLPs.

    Args:
        model: the model.
        task: any pairs.
        circuit: its heads and MLPs.
        samples: how many random circuits.
        seed: of the random circuits and of the bootstrap.

    Returns:
        ``faithfulness`` with its 95 % interval by group (``low``, ``high``), and mean and middle 95 % of the random
        circuits (``random``, ``random_low``, ``random_high``).
    """
    rng = np.random.default_rng(seed)
    ring = arena(model, task)
    others: list[list[Node]] = []
    for _ in range(samples):
        drawn: list[Node] = []
        for kind in ("head", "mlp"):
            pool = [n for n in all_nodes(model) if n.kind == kind]
            count = sum(n.kind == kind for n in circuit)
            drawn += [pool[i] for i in rng.choice(len(pool), count, replace=False)]
        others.append(drawn)
    found = run_node_circuits(model, ring, [list(circuit), *others])
    f = faithfulness(ring, found).double().cpu().numpy()
    low, high = _intervals(ring, found[:1], rng)
    below, above = np.quantile(f[1:], [0.025, 0.975])
    return {
        "faithfulness": float(f[0]),
        "low": float(low[0]),
        "high": float(high[0]),
        "random": float(f[1:].mean()),
        "random_low": float(below),
        "random_high": float(above),
    }
