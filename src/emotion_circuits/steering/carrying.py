"""Steering with directions that other sentences taught: what they do to texts on openings that are not their own.

Where and how strongly texts are pushed was chosen for the openings' own directions; only the direction is another's. So what
differs between two arms is what was learnt, and the foreign direction is at no advantage. Three things stand beside it: the own
directions, directions of the same foreign sentences under shuffled labels, and directions of values that have nothing to do
with these texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.statistics import paired_difference
from emotion_circuits.steering.conditions import NONE, Condition, Kind
from emotion_circuits.steering.effects import Sides, effects
from emotion_circuits.steering.scoring import aligned

__all__ = ["carried_arms", "carried_effects", "carried_name"]


def carried_name(source: str, direction: str) -> str:
    """What a direction of other sentences is called, as an arm and among the vectors."""
    return f"{source} | {direction}"


def carried_arms(chosen: Iterable[Condition], source: str, directions: Sequence[str], *, kind: Kind) -> list[Condition]:
    """Other sentences' directions at the places that were chosen for the openings' own.

    Args:
        chosen: the conditions chosen for the openings' own directions.
        source: whose directions.
        directions: their names, of which ``source | name`` is the key among the vectors. Of the kind ``emotion`` each is
            pushed at the place of the value of its name alone; others at every place that was chosen.
        kind: ``emotion``; ``other``, of values that have nothing to do with the texts; ``shuffled``.

    Example:
        >>> own = Condition(name="joy", emotion="joy", layers=(3,), alpha=0.1)
        >>> [arm.name for arm in carried_arms([own], "mood-ja", ["joy"], kind="emotion")]
        ['mood-ja | joy']
    """
    found: dict[Any, Condition] = {}
    for condition in chosen:
        place = f"{'+'.join(map(str, condition.layers))} {condition.alpha:g} {condition.how}"
        for direction in directions:
            key = carried_name(source, direction)
            if kind == "emotion":
                if direction == condition.emotion:
                    found[key] = replace(condition, name=key, direction=key, mixture=())
                continue
            name = f"{key} at {place}"
            found.setdefault(name, replace(condition, name=name, direction=key, mixture=(), kind=kind, emotion=None))
    return list(found.values())


def carried_effects(
    scored: pd.DataFrame,
    source: str,
    own: Mapping[str, Condition],
    *,
    sides: Sides,
    judge: str,
    others: Sequence[str] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """What the directions of one source do to texts, value by value.

    Args:
        scored: a scored sweep with unsteered text, the own conditions, and the source's :func:`carried_arms`, shuffled ones among
            them; and the arms of values that have nothing to do with these texts, if there are any.
        source: whose directions.
        own: value → the condition chosen for the openings' own direction.
        sides: metric → value → which way it should move.
        judge: the evaluator whose probabilities decide.
        others: sources of values that have nothing to do with these texts.
        seed: of intervals and permutations.

    Returns:
        One row per value: ``value``; ``change low high``, the judge's probability against unsteered text, paired by opening;
        ``null_low null_high``, the range of shuffled directions; ``p`` (the larger of the paired test and the rank among
        them, 1 on the wrong side); ``own``, what the own direction changes; ``share``, the change as a part of that where it
        is positive; ``astray``, the mean change by the source's other values; ``wrong``, the largest change by a value that
        has nothing to do with these texts, ``specific specific_low specific_high p_specific``, the change less that;
        ``ratio ratio_low ratio_high``, perplexity over that of unsteered text; ``n`` openings. What is not there is NaN.
    """
    from_source = {value: carried_name(source, value) for value in own}
    present = set(scored["condition"])
    names = {value: name for value, name in from_source.items() if name in present}
    arms = scored["condition"].astype(str)
    mine = arms.str.startswith(carried_name(source, "")) | (arms == NONE.name)
    table = effects(scored[mine], names, sides=sides, judge=judge, seed=seed).table
    table = table[table["metric"] == "probability"]
    strange = scored[(scored["kind"] == "other") & arms.str.startswith(tuple(carried_name(s, "") for s in others))]
    rows = []
    for row in table.to_dict("records"):
        value, name = str(row["emotion"]), str(row["condition"])
        column, place = f"p_{value}", own[value]
        same = (strange["alpha"] == place.alpha) & (strange["how"] == place.how)
        at = strange[same & (strange["layers"] == " ".join(map(str, place.layers)))]
        itself = _change(scored, place.name, column)
        astray = [_change(scored, arm, column) for other, arm in names.items() if other != value]
        rows.append(
            {
                "value": value, "change": row["change"], "low": row["low"], "high": row["high"],
                "null_low": row.get("shuffled_null_low", np.nan), "null_high": row.get("shuffled_null_high", np.nan),
                "p": row["p_claim"], "own": itself, "share": row["change"] / itself if itself > 0 else np.nan,
                "astray": float(np.mean(astray)) if astray else np.nan,
                **_against(scored, name, sorted(set(at["condition"])), column, seed),
                **{key: row.get(key, np.nan) for key in ("ratio", "ratio_low", "ratio_high")}, "n": row["n"],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _change(scored: pd.DataFrame, name: str, column: str) -> float:
    return float(np.mean(np.subtract(*aligned(scored, name, NONE.name, column))))


def _against(scored: pd.DataFrame, name: str, wrong: Sequence[str], column: str, seed: int) -> dict[str, float]:
    """A direction's change less that of the unrelated direction that comes nearest to it."""
    if not wrong:
        return dict.fromkeys(("wrong", "specific", "specific_low", "specific_high", "p_specific"), float("nan"))
    changes = {arm: _change(scored, arm, column) for arm in wrong}
    nearest = max(changes, key=lambda arm: changes[arm])
    d = paired_difference(*aligned(scored, name, nearest, column), direction=1, seed=seed)
    return {
        "wrong": changes[nearest], "specific": d.estimate, "specific_low": d.low, "specific_high": d.high, "p_specific": d.p,
    }  # fmt: skip
