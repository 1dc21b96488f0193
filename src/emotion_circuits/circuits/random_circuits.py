"""A circuit beside random circuits of the same make-up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from emotion_circuits.circuits.arena import Arena, arena, run_node_circuits
from emotion_circuits.circuits.faithfulness import faithfulness, ratio_draws
from emotion_circuits.heads import Node, PairTask, all_nodes
from emotion_circuits.model import LanguageModel
from emotion_circuits.statistics import rank_p

__all__ = ["AgainstRandom", "RandomCircuits", "circuit_against_random"]


class RandomCircuits(BaseModel):
    """Random circuits of one kind beside the circuit itself.

    Attributes:
        mean: mean of their faithfulness, as a share of the clean-corrupted gap.
        low: 2.5 % quantile of it over them.
        high: 97.5 % quantile of it over them.
        p: share of them that are as faithful as the circuit, with the +1 correction.
        samples: how many they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float
    low: float
    high: float
    p: float
    samples: int


class AgainstRandom(BaseModel):
    """Faithfulness of a circuit beside random circuits.

    Attributes:
        faithfulness: of the circuit, as a share of the clean-corrupted gap.
        low: lower end of its 95 % interval by group of pairs.
        high: upper end of its 95 % interval by group of pairs.
        random: circuits with as many heads and as many MLPs.
        same_mlps: circuits of the same MLPs and, in every layer, as many random heads; ``None`` where the circuit has no
            head, or where they were not asked for.
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
    samples: int = 99,
    same_mlps: bool = True,
    seed: int = 0,
    batch_rows: int = 256,
) -> AgainstRandom:
    """Faithfulness of one circuit beside two kinds of random circuits.

    *Random* circuits have as many heads and as many MLPs: what a search that finds nothing would have taken. *Same MLPs* keep
    the circuit's own MLPs and draw as many heads in each layer: what the choice of heads is worth once MLPs and layers are
    given. Of 99 random circuits, p is 0.01 at best.

    Args:
        model: the model.
        task: any pairs, or both runs of them.
        circuit: its heads and MLPs.
        samples: how many random circuits of either kind.
        same_mlps: also those that keep the circuit's MLPs.
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
    if same_mlps and own["head"]:
        nulls["same_mlps"] = [[*_by_layer(model, own["head"], rng), *own["mlp"]] for _ in range(samples)]
    every = [list(circuit), *(c for null in nulls.values() for c in null)]
    found = run_node_circuits(model, ring, every, batch_rows=batch_rows)
    f = faithfulness(ring, found).double().cpu().numpy()
    low, high = np.nanquantile(
        ratio_draws(ring, (found[:1] - ring.empty).double().cpu().numpy(), rng)[:, 0], [0.025, 0.975]
    )
    found_nulls: dict[str, RandomCircuits] = {}
    for index, name in enumerate(nulls):
        some = f[1 + index * samples : 1 + (index + 1) * samples]
        below, above = np.quantile(some, [0.025, 0.975])
        found_nulls[name] = RandomCircuits(
            mean=float(some.mean()),
            low=float(below),
            high=float(above),
            p=rank_p(float(f[0]), some),
            samples=samples,
        )
    return AgainstRandom(
        faithfulness=float(f[0]),
        low=float(low),
        high=float(high),
        random=found_nulls["random"],
        same_mlps=found_nulls.get("same_mlps"),
    )


def _by_layer(model: LanguageModel, heads: Sequence[Node], rng: np.random.Generator) -> list[Node]:
    """As many random heads in every layer as there are among ``heads``."""
    return [
        Node("head", layer, int(head))
        for layer in sorted({n.layer for n in heads})
        for head in rng.choice(model.n_heads, sum(n.layer == layer for n in heads), replace=False)
    ]
