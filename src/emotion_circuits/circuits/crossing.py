"""One set of pairs' circuit on another set's pairs: what it keeps there, beside random circuits and an unrelated task's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emotion_circuits.circuits.arena import Arena, run_node_circuits
from emotion_circuits.circuits.faithfulness import faithfulness, ratio_draws
from emotion_circuits.circuits.random_circuits import AgainstRandom, circuit_against_random
from emotion_circuits.heads import Node
from emotion_circuits.model import LanguageModel

__all__ = ["Crossed", "crossed_circuit"]


@dataclass(frozen=True)
class Crossed:
    """A circuit on pairs that it was not found on.

    Attributes:
        against: its faithfulness beside random circuits of its size and of its layers.
        own: faithfulness of the circuit that was found on such pairs.
        unrelated: name of the unrelated task whose circuit keeps most; empty where there is none.
        wrong: faithfulness of that one; NaN where there is none.
        apart: the circuit's minus the unrelated one's, with the ends of its 95 % interval by group of pairs; NaN likewise.
    """

    against: AgainstRandom
    own: float
    unrelated: str
    wrong: float
    apart: tuple[float, float, float]


def crossed_circuit(
    model: LanguageModel,
    ring: Arena,
    circuit: Sequence[Node],
    own: Sequence[Node],
    unrelated: Mapping[str, Sequence[Node]],
    *,
    samples: int = 99,
    seed: int = 0,
    batch_rows: int = 256,
) -> Crossed:
    """Run a circuit, and those it is held against, on pairs.

    Args:
        model: the model of all of them.
        ring: both runs of the pairs.
        circuit: heads and MLPs found on other pairs.
        own: those found on such pairs.
        unrelated: those of tasks with other values than both, by name.
        samples: random circuits of either kind.
        seed: of random circuits and of the bootstrap.
        batch_rows: rows run at once.
    """
    against = circuit_against_random(model, ring, circuit, samples=samples, seed=seed, batch_rows=batch_rows)
    found = run_node_circuits(
        model, ring, [list(circuit), list(own), *map(list, unrelated.values())], batch_rows=batch_rows
    )
    f = faithfulness(ring, found).double().cpu().numpy()
    if not unrelated:
        nothing = float("nan")
        return Crossed(against, float(f[1]), "", nothing, (nothing, nothing, nothing))
    best = int(f[2:].argmax())
    kept = (found[[0, 2 + best]] - ring.empty).double().cpu().numpy()
    drawn = ratio_draws(ring, kept, np.random.default_rng([seed, 82]))
    low, high = np.nanquantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])
    wrong = float(f[2 + best])
    return Crossed(against, float(f[1]), list(unrelated)[best], wrong, (float(f[0]) - wrong, float(low), float(high)))
