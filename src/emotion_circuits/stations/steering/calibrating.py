"""What the whole verdict says of directions of nothing, and of planted effects: false claims and power.

Label-shuffled directions are put in the place of the real ones: each is steered with, ranked among random directions and among
other shuffled ones, corrected in the same family and judged by the same rules. Whatever is supported is a false claim. A planted
effect of a known size on the same texts shows how often a true one is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.stations.steering.claims import steering_claims, token_claims
from emotion_circuits.statistics import Claim, corrected
from emotion_circuits.steering import BUDGET, NONE, Condition, choose_together, effects, token_effects
from emotion_circuits.steering.effects import Sides

__all__ = ["choose_in_turn", "claims_in_turn", "in_turn", "plant", "posing"]


def posing(arms: Sequence[Condition], shuffled: Sequence[str]) -> list[Condition]:
    """The conditions of one emotion with shuffled directions in its place, each written once; :data:`NONE` in front.

    Args:
        arms: the real conditions tried, e.g. of :func:`emotion_circuits.stations.steering.plan.steering_arms`; those of one
            emotion are enough, since emotions differ in nothing but the direction.
        shuffled: keys of the directions.
    """
    real = [arm for arm in arms if arm.kind == "emotion"]
    places = [arm for arm in real if arm.emotion == real[0].emotion]
    return [
        NONE,
        *(
            replace(arm, name=_name(arm, key), kind="shuffled", emotion=None, direction=key)
            for key in shuffled
            for arm in places
        ),
    ]


def _name(arm: Condition, key: str) -> str:
    return f"{'+'.join(map(str, arm.layers))} {arm.alpha:g} {arm.how} | {key}"


def in_turn(written: pd.DataFrame, turn: Mapping[str, str]) -> pd.DataFrame:
    """Texts of directions that stand in the place of real ones, as theirs; unsteered ones in front.

    Args:
        written: scored sweep of :func:`posing`.
        turn: emotion → shuffled direction.

    Raises:
        EmotionCircuitsError: a direction of which there is no text.
    """
    parts = [written[written["kind"] == "none"]]
    for emotion, key in turn.items():
        own = written[written["condition"].str.endswith(f" | {key}")]
        if own.empty:
            raise EmotionCircuitsError(f"the sweep holds no condition of the direction {key!r}")
        parts.append(own.assign(kind="emotion", emotion=emotion))
    return pd.concat(parts)


def choose_in_turn(
    validation: pd.DataFrame,
    turn: Mapping[str, str],
    *,
    judge: str = "emotion",
    budget: float = BUDGET,
    slack: float = float("inf"),
) -> dict[str, str]:
    """The choice of place and strength as the real directions' is made, with shuffled ones in their place.

    Args:
        validation: scored sweep of :func:`posing` on validation openings.
        turn: emotion → shuffled direction.
        judge: as for :func:`emotion_circuits.steering.choose_together`.
        budget: as for :func:`emotion_circuits.steering.choose_together`.
        slack: as for :func:`emotion_circuits.steering.choose_together`.

    Returns:
        Emotion → name of the condition; without those that have none within the budget.
    """
    choices = choose_together(in_turn(validation, turn), list(turn), judge=judge, budget=budget, slack=slack)
    return {choice.emotion: choice.condition for choice in choices if choice.condition is not None}


def claims_in_turn(
    test: pd.DataFrame,
    chosen: Mapping[str, Condition],
    *,
    sides: Sides,
    judge: str = "emotion",
    budget: float = BUDGET,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Claim]:
    """What is claimed of the effects of directions that stand in the place of the real ones.

    What they cost in fluency is left out: that a direction of nothing leaves a text fluent is no false claim.

    Args:
        test: scored sweep on test openings: no steering, the directions at the chosen places, where a condition pushes the first
            token and the others its two halves, and random and label-shuffled directions beside them.
        chosen: emotion → condition.
        sides: as for :func:`emotion_circuits.steering.effects`.
        judge: as for :func:`emotion_circuits.steering.effects`.
        budget: largest perplexity ratio that counts as fluent.
        resamples: of bootstrap and permutation.
        seed: of bootstrap and permutation.
    """
    rows = test.drop(columns="nats", errors="ignore")
    how: dict[str, Any] = {"sides": sides, "judge": judge, "resamples": resamples, "seed": seed}
    found = effects(rows, {emotion: arm.name for emotion, arm in chosen.items()}, **how)
    tokens = token_effects(rows, chosen, **how)
    return corrected([*steering_claims(found, budget=budget), *token_claims(tokens)])


def plant(
    test: pd.DataFrame,
    turn: Mapping[str, str],
    *,
    shift: float,
    sides: Sides,
    judge: str = "emotion",
    openings: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The texts' scores with a known effect in the place of none: ``shift`` of the texts of a turn become the emotion.

    A text that becomes the emotion gets its label, a probability as high as those texts of the table have that carry it (or 0.9),
    a word of its lexicon, and a sentiment moved by half of VADER's range. All of an effect is thus in known texts, as in the
    judge's own figures, and shares rise by ``shift`` less what the texts had.

    Args:
        test: as for :func:`claims_in_turn`.
        turn: emotion → condition whose texts are changed.
        shift: share of texts.
        sides: metric → emotion → which way it moves.
        judge: whose label is changed.
        openings: draw so many openings with replacement first, for all arms alike; the openings of nulls are kept as a share.
            ``None``: as they are.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    found = _redrawn(test, openings, rng) if openings is not None else test.reset_index(drop=True).copy()
    probabilities = [c for c in found if str(c).startswith("p_")]
    for emotion, condition in turn.items():
        rows = np.flatnonzero(found["condition"] == condition)
        changed = found.index[rows[rng.random(len(rows)) < shift]]
        typical = test.loc[test[f"{judge}_label"] == emotion, f"p_{emotion}"]
        high = float(typical.mean()) if len(typical) else 0.9
        found.loc[changed, f"{judge}_label"] = emotion
        found.loc[changed, probabilities] = (1 - high) / max(1, len(probabilities) - 1)
        found.loc[changed, f"p_{emotion}"] = high
        if f"n_{emotion}" in found:
            found.loc[changed, f"n_{emotion}"] = 1
        for metric, side in ((m, by[emotion]) for m, by in sides.items() if emotion in by and m in found):
            found.loc[changed, metric] = (found.loc[changed, metric] + side).clip(-1, 1)
    return found


def _redrawn(test: pd.DataFrame, openings: int, rng: np.random.Generator) -> pd.DataFrame:
    """The same arms on openings drawn with replacement, those that nulls were written on and the others apart."""
    null = set(test.loc[test["kind"] == "random", "prompt_id"])
    others = sorted(set(test["prompt_id"]) - null)
    kept = round(openings * len(null) / (len(null) + len(others)))
    drawn = [*rng.choice(sorted(null), kept), *(rng.choice(others, openings - kept) if others else [])]
    by = dict(tuple(test.groupby("prompt_id")))
    return pd.concat([by[name].assign(prompt_id=f"{i:04d} {name}") for i, name in enumerate(drawn)], ignore_index=True)
