"""Raters of known skill, bias and carelessness: what planning, and the tests of the analysis, are made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit, ndtr

from emotion_circuits.human.allocating import pairs_for, singles_for
from emotion_circuits.human.records import ARMS, RIVALS, Arm, Assumed
from emotion_circuits.human.tables import Pairs, Ratings, Singles

__all__ = ["Layout", "layout_of", "pair_kinds", "simulated", "slots_of", "truths"]

Slot = tuple[Arm, str]
_TIE = 0.4
"""Half of the range of differences, in logits, that people call a tie."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_NATURAL, _SPREAD = 4.6, 1.1
"""Mean naturalness of unsteered texts, and the spread of one rater's ratings of like texts, in points."""


def slots_of(values: Sequence[str], arms: Sequence[Arm]) -> list[Slot]:
    """Arm and value of every text on an opening."""
    others: list[Slot] = [(arm, v) for arm in ARMS[1:] if arm in arms for v in values]
    return [("unsteered", ""), *others]


def pair_kinds(values: Sequence[str], slots: Sequence[Slot]) -> list[tuple[int, int, int]]:
    """``(value, slot, slot)`` of the pairs on an opening: steered against each arm, and random against unsteered."""
    found = []
    for number, value in enumerate(values):
        places = {arm: i for i, (arm, of) in enumerate(slots) if of in ("", value)}
        found += [(number, places["steered"], i) for arm, i in places.items() if arm != "steered"]
        if "random" in places:
            found.append((number, places["random"], places["unsteered"]))
    return found


@dataclass(frozen=True)
class Layout:
    """Who reads what, by number.

    Attributes:
        values: asked about.
        slots: of the texts on an opening.
        pairs: ``(value, slot, slot)``.
        openings: how many.
        singles: ``[rating, 3]`` rater, opening, slot.
        compared: ``[rating, 4]`` rater, opening, pair, swapped.
    """

    values: tuple[str, ...]
    slots: tuple[Slot, ...]
    pairs: tuple[tuple[int, int, int], ...]
    openings: int
    singles: np.ndarray
    compared: np.ndarray


def layout_of(
    values: Sequence[str], arms: Sequence[Arm], *, raters: int, openings: int, singles: int, pairs: int, seed: int
) -> Layout:
    """The layout of a study.

    Args:
        values: asked about.
        arms: that it has.
        raters: how many.
        openings: how many.
        singles: texts per rater.
        pairs: pairs per rater.
        seed: of the orders.
    """
    slots = slots_of(values, arms)
    kinds = pair_kinds(values, slots)
    rng = np.random.default_rng([seed, 3])
    one = singles_for(raters, singles, openings, len(slots), rng)
    two = pairs_for(raters, pairs, openings, len(kinds), rng)
    return Layout(
        tuple(values), tuple(slots), tuple(kinds), openings,
        np.array([(r, *shown) for r, rows in enumerate(one) for shown in rows], dtype=np.int64).reshape(-1, 3),
        np.array([(r, *shown) for r, rows in enumerate(two) for shown in rows], dtype=np.int64).reshape(-1, 4),
    )  # fmt: skip


def _naming(values: Sequence[str], slots: Sequence[Slot], assumed: Assumed) -> Float[np.ndarray, "slot value"]:
    """Logit of naming each value, at the mean of raters, openings and texts, so that its *mean* share is the assumed one."""
    total = float(np.sqrt(assumed.rater**2 + assumed.opening**2 + assumed.text**2))
    # Whether any value is named at all, and if so which: the value meant, or one of them by chance.
    found = np.empty((len(slots), len(values)))
    for s, (arm, value) in enumerate(slots):
        for v, name in enumerate(values):
            gain = _gains(assumed).get(arm, 0.0) if name == value else 0.0
            found[s, v] = _solved(min(assumed.base + gain, 0.99), total)
    return found


def _gains(assumed: Assumed) -> dict[Arm, float]:
    return {"steered": assumed.effect, **dict.fromkeys(RIVALS, assumed.prompted)}


def _solved(share: float, spread: float) -> float:
    """The logit whose mean over a normal spread is that share."""
    low, high = -12.0, 12.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _mean_share(middle, spread) < share else (low, middle)
    return (low + high) / 2


def _mean_share(at: float, spread: float) -> float:
    return float(np.sum(_WEIGHTS * expit(at + spread * _NODES)))


def _preference(assumed: Assumed) -> float:
    """Difference in logits at which the mean score of a pair is the assumed preference."""
    low, high = 0.0, 12.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _mean_score(middle, assumed) < assumed.preference else (low, middle)
    return (low + high) / 2


def _mean_score(at: float, assumed: Assumed) -> float:
    spread = float(np.sqrt(assumed.rater**2 + assumed.opening**2 + 2 * assumed.text**2))
    z = at + spread * _NODES
    return float(np.sum(_WEIGHTS * (expit(z - _TIE) + expit(z + _TIE)) / 2))


def truths(assumed: Assumed) -> dict[tuple[str, str], float]:
    """What the figures tend to: ``(kind, other arm)`` → value. The same for every value."""
    total = float(np.sqrt(assumed.rater**2 + assumed.opening**2 + assumed.text**2 + _SPREAD**2))
    whole, cost = _points(_NATURAL, total), _points(_NATURAL - assumed.cost, total)
    preferred = _mean_score(_preference(assumed), assumed) if assumed.preference > 0.5 else 0.5
    gain = assumed.effect
    return {
        **{("human.transmitted", arm): gain for arm in ("unsteered", "random")},
        **{("human.transmitted", arm): gain - assumed.prompted for arm in RIVALS},
        **{("human.stronger", arm): preferred for arm in ("unsteered", "random")},
        **{("human.stronger", arm): 0.5 for arm in RIVALS},
        **{("human.natural", arm): cost - whole for arm in ("unsteered", *RIVALS)},
    }


def _points(at: float, spread: float) -> float:
    """Mean of a normal that is rounded to the points of the scale."""
    ends = np.arange(1.5, 7, 1)
    return 1 + float(np.sum(ndtr((at - ends) / spread)))


def simulated(
    layout: Layout, assumed: Assumed, rng: np.random.Generator, *, skill: float = 1.0
) -> tuple[Ratings, set[int]]:
    """Ratings of a whole study, and which raters were careless.

    Args:
        layout: who reads what.
        assumed: what people are like, and what is true.
        rng: of everything.
        skill: share of ratings that follow what was read; the others are slips, answered at random.
    """
    n_raters = int(layout.singles[:, 0].max()) + 1
    careless = rng.random(n_raters) < assumed.careless
    slots, values = len(layout.slots), len(layout.values)
    texts = rng.normal(0, assumed.text, (layout.openings, slots, values + 2))
    openings = rng.normal(0, assumed.opening, (layout.openings, values + 2))
    raters = rng.normal(0, assumed.rater, (n_raters, values + 2))
    singles = _singles(layout, assumed, rng, texts + openings[:, None], raters, careless, skill)
    pairs = _pairs(layout, assumed, rng, texts, openings, raters, careless, skill)
    return Ratings(singles, pairs), set(np.flatnonzero(careless).tolist())


def _singles(
    layout: Layout, assumed: Assumed, rng: np.random.Generator, texts: np.ndarray, raters: np.ndarray,
    careless: np.ndarray, skill: float,
) -> Singles:  # fmt: skip
    r, o, s = layout.singles.T
    values = len(layout.values)
    at = _naming(layout.values, layout.slots, assumed)[s] + texts[o, s, :values] + raters[r, :values]
    share = expit(at)
    # Shares of values that together exceed 1 leave nothing for none.
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1.0)
    drawn = rng.random(len(r))[:, None] > np.cumsum(share, axis=1)
    named = drawn.sum(axis=1)
    natural = _NATURAL + texts[o, s, values] + raters[r, values] + rng.normal(0, _SPREAD, len(r))
    natural -= np.array([assumed.cost if arm == "steered" else 0.0 for arm, _ in layout.slots])[s]
    strong = assumed.intensity + raters[r, values + 1] + texts[o, s, values + 1] + rng.normal(0, 1, len(r))
    natural, strong = np.clip(np.round(natural), 1, 7), np.clip(np.round(np.where(named < values, strong, 0)), 0, 6)
    random = careless[r] | (rng.random(len(r)) > skill)
    return Singles(
        r, o, o * len(layout.slots) + s, s,
        np.where(random, rng.integers(0, values + 1, len(r)), named),
        np.where(random, rng.integers(0, 7, len(r)), strong).astype(float),
        np.where(random, rng.integers(1, 8, len(r)), natural).astype(float),
    )  # fmt: skip


def _pairs(
    layout: Layout, assumed: Assumed, rng: np.random.Generator, texts: np.ndarray, openings: np.ndarray,
    raters: np.ndarray, careless: np.ndarray, skill: float,
) -> Pairs:  # fmt: skip
    r, o, k, swapped = layout.compared.T
    v, first, second = np.array(layout.pairs).T[:, k]
    strength = np.array([_preference(assumed) if arm in _gains(assumed) else 0.0 for arm, _ in layout.slots])
    at = strength[first] - strength[second] + texts[o, first, v] - texts[o, second, v]
    # A rater prefers a side, whichever text stands there; an opening may bring one arm out better than another.
    at = (
        at
        + np.where(swapped == 0, 1, -1) * raters[r, v]
        + np.where(strength[first] != strength[second], openings[o, v], 0)
    )
    noisy = at + logit(np.clip(rng.random(len(r)), 1e-9, 1 - 1e-9))
    score = np.where(noisy > _TIE, 1.0, np.where(noisy < -_TIE, 0.0, 0.5))
    random = careless[r] | (rng.random(len(r)) > skill)
    score = np.where(random, rng.choice([0.0, 0.5, 1.0], len(r)), score)
    return Pairs(r, o, v, first, second, score, swapped == 0)
