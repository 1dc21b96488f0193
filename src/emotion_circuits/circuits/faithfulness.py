"""How much of the behaviour a circuit carries, over its size, against random circuits of the same size.

* faithfulness ``f = (circuit − corrupted) / (full − corrupted)`` of the mean logit difference
* CPR: area under ``f`` over the share of parts kept; CMD: area of ``|1 − f|`` (Mueller et al. 2025, MIB)
* completeness and minimality after Wang et al. 2022
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from emotion_circuits.circuits.arena import Arena, arena, run_edge_circuit, run_node_circuits
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Edge, Node, PairTask, all_nodes
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.model import LanguageModel
from emotion_circuits.progress import progress_bar

__all__ = [
    "AgainstRandom",
    "Curve",
    "RandomCircuits",
    "circuit_against_random",
    "completeness",
    "edge_curve",
    "faithfulness",
    "minimality",
    "node_curve",
]


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


class RandomCircuits(BaseModel):
    """Random circuits of one kind beside the circuit itself.

    Attributes:
        mean: mean of their faithfulness, as a share of the clean-corrupted gap.
        low: 2.5 % quantile of it over them.
        high: 97.5 % quantile of it over them.
        p: share of them that are as faithful as the circuit, with the +1 correction.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    low: float
    high: float
    p: float


class AgainstRandom(BaseModel):
    """Faithfulness of a circuit beside random circuits.

    Attributes:
        faithfulness: of the circuit, as a share of the clean-corrupted gap.
        low: lower end of its 95 % interval by group of pairs.
        high: upper end of its 95 % interval by group of pairs.
        random: circuits with as many heads and as many MLPs.
        same_mlps: circuits of the same MLPs and random heads; ``None`` where the circuit has no head.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    faithfulness: float
    low: float
    high: float
    random: RandomCircuits
    same_mlps: RandomCircuits | None = None

    def figures(self) -> dict[str, float]:
        """All figures by one name each: ``faithfulness``, ``low``, ``high``, ``random``, ``random_low`` and so on."""
        flat = {"faithfulness": self.faithfulness, "low": self.low, "high": self.high}
        for name, null in (("random", self.random), ("same_mlps", self.same_mlps)):
            if null is not None:
                flat |= {name: null.mean, f"{name}_low": null.low, f"{name}_high": null.high, f"{name}_p": null.p}
        return flat


def circuit_against_random(
    model: LanguageModel,
    task: PairTask | Arena,
    circuit: Sequence[Node],
    *,
    samples: int = 40,
    seed: int = 0,
    batch_rows: int = 256,
) -> AgainstRandom:
    """Faithfulness of one circuit beside two kinds of random circuits.

    *Random* circuits have as many heads and as many MLPs. *Same MLPs* keep the circuit's own MLPs and draw the heads
    alone: what the choice of heads is worth once the MLPs are given.

    Args:
        model: the model.
        task: any pairs, or both runs of them.
        circuit: its heads and MLPs.
        samples: how many random circuits of either kind.
        seed: of the random circuits and of the bootstrap.
        batch_rows: rows run at once.
    """
    rng = np.random.default_rng(seed)
    ring = task if isinstance(task, Arena) else arena(model, task)
    pools = {kind: [n for n in all_nodes(model) if n.kind == kind] for kind in ("head", "mlp")}
    own = {kind: [n for n in circuit if n.kind == kind] for kind in pools}

    def drawn(kind: str) -> list[Node]:
        return [pools[kind][i] for i in rng.choice(len(pools[kind]), len(own[kind]), replace=False)]

    nulls = {"random": [[*drawn("head"), *drawn("mlp")] for _ in range(samples)]}
    if own["head"]:
        nulls["same_mlps"] = [[*drawn("head"), *own["mlp"]] for _ in range(samples)]
    every = [list(circuit), *(c for null in nulls.values() for c in null)]
    found = run_node_circuits(model, ring, every, batch_rows=batch_rows)
    f = faithfulness(ring, found).double().cpu().numpy()
    low, high = _intervals(ring, found[:1], rng)
    found_nulls: dict[str, RandomCircuits] = {}
    for index, name in enumerate(nulls):
        some = f[1 + index * samples : 1 + (index + 1) * samples]
        below, above = np.quantile(some, [0.025, 0.975])
        found_nulls[name] = RandomCircuits(
            mean=float(some.mean()),
            low=float(below),
            high=float(above),
            p=float(((some >= f[0]).sum() + 1) / (samples + 1)),
        )
    return AgainstRandom(
        faithfulness=float(f[0]),
        low=float(low[0]),
        high=float(high[0]),
        random=found_nulls["random"],
        same_mlps=found_nulls.get("same_mlps"),
    )
