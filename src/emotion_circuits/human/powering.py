"""Power by simulation of the whole analysis: how many raters and openings are needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion_circuits.human.hypotheses import claims_of, declared
from emotion_circuits.human.records import RIVALS, Arm, Assumed, Planned
from emotion_circuits.human.simulating import layout_of, simulated

__all__ = ["ENOUGH", "planned", "power_of", "raters_for"]

ENOUGH = 0.8
"""Share of true hypotheses that is to be supported."""
_DECIDES = "human.transmitted"
"""The kind of hypothesis that the number of raters is chosen for."""


def power_of(
    values: Sequence[str], arms: Sequence[Arm], assumed: Assumed, *, raters: int, openings: int, singles: int, pairs: int,
    studies: int, seed: int,
) -> Planned:  # fmt: skip
    """Share of hypotheses that are supported where the assumed effects are there.

    Args:
        values: asked about.
        arms: of the study.
        assumed: what people are like.
        raters: how many.
        openings: how many.
        singles: texts per rater.
        pairs: pairs per rater.
        studies: simulated.
        seed: of the simulation.
    """
    hypotheses = declared(values, arms)
    layout = layout_of(
        values,
        arms,
        raters=raters,
        openings=openings,
        singles=min(singles, openings),
        pairs=min(pairs, openings),
        seed=seed,
    )
    hits: dict[str, list[bool]] = {}
    for number in range(studies):
        ratings, careless = simulated(layout, assumed, np.random.default_rng([seed, 4, number]))
        for claim in claims_of(hypotheses, ratings.without(careless), values, layout.slots):
            if claim.about.arm in RIVALS or (claim.kind == "human.natural" and not assumed.cost):
                continue  # not assumed to differ
            hits.setdefault(claim.kind, []).append(claim.verdict == "supported")
    return Planned(
        raters=raters, openings=openings, studies=studies, power={kind: float(np.mean(h)) for kind, h in hits.items()}
    )


def planned(
    values: Sequence[str], arms: Sequence[Arm], assumed: Assumed, *, raters: Sequence[int], openings: Sequence[int],
    singles: int, pairs: int, studies: int = 40, seed: int = 0,
) -> tuple[Planned, ...]:  # fmt: skip
    """:func:`power_of` for every number of raters and of openings."""
    return tuple(
        power_of(
            values, arms, assumed, raters=r, openings=o, singles=singles, pairs=pairs, studies=studies, seed=seed
        )
        for o in openings for r in raters
    )  # fmt: skip


def raters_for(table: Sequence[Planned], openings: int) -> int | None:
    """Fewest raters whose power is enough with so many openings; ``None``: none of those that were tried."""
    found = [p.raters for p in table if p.openings == openings and p.power.get(_DECIDES, 0.0) >= ENOUGH]
    return min(found, default=None)
