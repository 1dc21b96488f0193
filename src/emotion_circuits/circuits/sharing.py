"""Do two sets of pairs or sentences, in one model, rest on the same heads: signed effects of single heads, from disjoint halves.

Two figures of one sentence share its noise, and two languages' scenes may be translations of one another. So groups are halved,
those of one name on one side for all, and a head's mean effect in one half of *i* is held against the same head's mean effect
in the other half of *j*, both ways, over many halvings. What noise takes away from that correlation it takes away from the one
of *i* with itself and of *j* with itself, too: divided by the geometric mean of these two **reliabilities** it says how far
the effects themselves agree (Spearman 1904). Where effects do not repeat between halves of one point's own groups there is
nothing to compare. Beside it stand

* the same with heads **permuted within layers**, which keeps what depth alone explains;
* an **unrelated** point, of whose values neither *i* nor *j* has any: heads that do the same in any task;
* *j*'s **other values**: heads that do the same for any value;
* the **Jaccard index** of the strongest heads, with a null of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads import Node
from emotion_circuits.progress import progress_bar
from emotion_circuits.statistics import rank_p

__all__ = ["LEAST", "HeadEffects", "SharedEffects", "does_repeat", "shared_effects"]

LEAST = 3
"""Heads over which there is a correlation."""
_GROUPS = 4
"""Groups of a value at least: two in each half."""
LEVEL = 0.05
"""Effects repeat where permuted heads agree as well with at most this probability."""
_AT_ONCE = 8
"""Halvings of every resample: with few of them the interval is that of the halving."""
_BLOCK = 25
"""Resamples at once, for memory."""
_TOP_DRAWS = 199
"""Permutations beside a Jaccard index, which is told and not claimed."""


@dataclass(frozen=True, eq=False)
class HeadEffects:
    """Signed effects of heads by group.

    Attributes:
        name: of the point.
        heads: in the order of the columns.
        by_value: per value the groups and ``[group, head]`` effects; a group may stand there several times.
    """

    name: str
    heads: tuple[Node, ...]
    by_value: Mapping[str, tuple[tuple[str, ...], Float[np.ndarray, "group head"]]]

    @classmethod
    def of(cls, name: str, table: pd.DataFrame) -> HeadEffects:
        """From the rows of one task in a circuits station's ``effects`` table; MLPs, and values of few groups, are left out."""
        rows = table[table["node"].str.startswith("L")]
        heads = tuple(Node.parse(str(node)) for node in dict.fromkeys(rows["node"]))
        found = {}
        for value, part in rows.groupby("value", sort=False):
            groups = tuple(map(str, part["group"].to_numpy()[:: len(heads)]))
            if len(set(groups)) >= _GROUPS:
                found[str(value)] = (groups, part["effect"].to_numpy(dtype=float).reshape(-1, len(heads)))
        return cls(name, heads, found)

    def only(self, heads: Sequence[Node]) -> HeadEffects:
        """The same of some heads."""
        at = [self.heads.index(head) for head in heads]
        return HeadEffects(self.name, tuple(heads), {v: (g, e[:, at]) for v, (g, e) in self.by_value.items()})


@dataclass(frozen=True, eq=False)
class SharedEffects:
    """What points of one model share.

    Attributes:
        table: one row per two points that share a value; see :func:`shared_effects`.
        top: one row per two points and number of heads ``k``: ``jaccard``, ``within`` (halves of one and the same point, mean
            of both), ``null_low``, ``null_high`` and ``p`` of heads permuted within layers.
    """

    table: pd.DataFrame
    top: pd.DataFrame


def shared_effects(
    points: Sequence[HeadEffects],
    *,
    ks: Sequence[int] = (5, 10, 20),
    draws: int = 999,
    halvings: int = 50,
    resamples: int = 500,
    seed: int = 0,
) -> SharedEffects:
    """Compare every two points that have a value in common, on the heads that all points measured.

    Args:
        points: of one model and one task.
        ks: numbers of strongest heads; those that are not fewer than all heads are left out.
        draws: permutations of heads within layers.
        halvings: random halves per figure.
        resamples: of the bootstrap: groups get random weights (none of them 0), the same in every point.
        seed: of everything random.

    Returns:
        Rows ``source target values heads groups raw correlation low high chance null_low null_high p reliability_source
        reliability_target least_source least_target repeats_source repeats_target others unrelated wrong specific specific_low
        specific_high``.
        ``raw`` is the correlation between halves; ``correlation`` is ``raw`` over the geometric mean of both reliabilities,
        NaN (with what follows from it) where one of them is not beyond permuted heads (``repeats``: its p) or its interval
        reaches 0 (``least``: its lower end).
        ``chance`` and ``null``: of permuted heads, in the unit of ``correlation``. ``wrong`` is the largest
        correlation with a point of other values, ``specific`` is ``correlation`` minus that. Sampling lets a correlation come
        out above 1. ``groups`` is the smaller number of both points.

    Raises:
        EmotionCircuitsError: fewer than two points, two of one name, no head in common.
    """
    if len(points) < 2 or len({p.name for p in points}) < len(points):
        raise EmotionCircuitsError("shared circuits compare two or more points of different names")
    heads = [h for h in points[0].heads if all(h in set(p.heads) for p in points)]
    if len(heads) < LEAST:
        raise EmotionCircuitsError("shared circuits compare heads that all points have measured, at least three")
    board = _Board([p.only(heads) for p in points])
    rng = np.random.default_rng([seed, 81])
    plain = board.means(board.sides(rng, halvings), None)
    whole = board.agreement(plain)
    board.null = _within_layers(heads, draws, rng)
    drawn = board.resampled(rng, resamples)
    pairs = [
        (i, j, shared)
        for i, j in combinations(range(len(points)), 2)
        if (shared := [v for v in points[i].by_value if v in points[j].by_value])
    ]
    rows, top = [], []
    repeats = {p: board.permuted(plain, p, p, board.values(p)) for p in range(len(points)) if board.values(p)}
    firm = [p for p, (own, null) in repeats.items() if own > 0 and rank_p(own, null) <= LEVEL]
    with progress_bar("comparing heads", len(pairs)) as bar:
        for i, j, values in pairs:
            rows.append(board.row(i, j, values, plain, whole, drawn, firm))
            top += board.top(i, j, values, plain, [k for k in ks if k < len(heads)])
            bar.advance()
    return SharedEffects(pd.DataFrame(rows), pd.DataFrame(top))


class _Board:
    """All points on the same heads: mean effects of halves, and how they agree."""

    null: Int[np.ndarray, "draw head"]

    def __init__(self, points: Sequence[HeadEffects]) -> None:
        self.points = points
        self.keys = [(p, value) for p, point in enumerate(points) for value in point.by_value]
        self.place = {key: at for at, key in enumerate(self.keys)}
        held = [points[p].by_value[value] for p, value in self.keys]
        names = list(dict.fromkeys(group for groups, _ in held for group in groups))
        at = {name: index for index, name in enumerate(names)}
        self.groups = [np.array([at[group] for group in groups]) for groups, _ in held]
        self.effects = [effects for _, effects in held]
        self.count = len(names)
        # Groups that stand in the same points and values are halved together, so that every half has its share of each.
        belongs: dict[int, list[int]] = {index: [] for index in range(self.count)}
        for key, groups in enumerate(self.groups):
            for index in set(groups.tolist()):
                belongs[index].append(key)
        strata: dict[tuple[int, ...], list[int]] = {}
        for index, where in belongs.items():
            strata.setdefault(tuple(where), []).append(index)
        self.strata = [np.array(members) for members in strata.values()]

    def values(self, point: int) -> list[str]:
        return list(self.points[point].by_value)

    def sides(self, rng: np.random.Generator, draws: int) -> Bool[np.ndarray, "draw group"]:
        """Which half each group is in; halves of every stratum differ by one group at most."""
        found = np.zeros((draws, self.count), dtype=bool)
        for members in self.strata:
            ranks = rng.random((draws, len(members))).argsort(1).argsort(1)
            found[:, members] = (ranks + rng.integers(0, 2, size=(draws, 1))) % 2 == 0
        return found

    def means(
        self, sides: Bool[np.ndarray, "draw group"], weights: Float[np.ndarray, "draw group"] | None
    ) -> Float[np.ndarray, "key half draw head"]:
        """Weighted mean effects in both halves."""
        found = np.empty((len(self.keys), 2, len(sides), self.effects[0].shape[1]))
        for key, (groups, effects) in enumerate(zip(self.groups, self.effects, strict=True)):
            for half, side in enumerate((sides, ~sides)):
                w = side[:, groups].astype(float) if weights is None else side[:, groups] * weights[:, groups]
                found[key, half] = (w @ effects) / np.maximum(w.sum(1, keepdims=True), 1e-12)
        return found

    def agreement(self, means: Float[np.ndarray, "key half draw head"]) -> Float[np.ndarray, "draw key key"]:
        """Correlation over heads of one half of each key with the other half of each, both ways."""
        z = _standard(means)
        one = z[:, 0].transpose(1, 0, 2) @ z[:, 1].transpose(1, 2, 0)
        return (one + one.transpose(0, 2, 1)) / 2  # type: ignore[no-any-return]

    def resampled(self, rng: np.random.Generator, resamples: int) -> Float[np.ndarray, "draw key key"]:
        """Agreement under random weights of groups, a few halvings each; in blocks, for memory."""
        found = []
        for start in range(0, resamples, _BLOCK):
            count = min(_BLOCK, resamples - start)
            weights = np.repeat(rng.exponential(size=(count, self.count)), _AT_ONCE, axis=0)
            every = self.agreement(self.means(self.sides(rng, len(weights)), weights))
            found.append(every.reshape(count, _AT_ONCE, *every.shape[1:]).mean(1))
        return np.concatenate(found)

    def pooled(
        self, agreement: Float[np.ndarray, "draw key key"], i: int, j: int, values: Iterable[str]
    ) -> Float[np.ndarray, " draw"]:
        """Mean over values of the agreement of two points."""
        found: np.ndarray = np.mean([agreement[:, self.place[i, v], self.place[j, v]] for v in values], axis=0)
        return found

    def permuted(
        self, plain: np.ndarray, i: int, j: int, values: Sequence[str]
    ) -> tuple[float, Float[np.ndarray, " draw"]]:
        """The agreement of two points, and the same with the heads of one permuted within layers, in all halves alike."""
        z = _standard(plain)
        width = z.shape[-1]
        products = np.zeros((width, width))
        for v in values:
            a, b = z[self.place[i, v]], z[self.place[j, v]]
            products += a[0].T @ b[1] + a[1].T @ b[0]
        products /= 2 * len(values) * z.shape[2]
        return float(np.trace(products)), products[np.arange(width), self.null].sum(1)

    def row(
        self,
        i: int,
        j: int,
        values: Sequence[str],
        plain: np.ndarray,
        whole: np.ndarray,
        drawn: np.ndarray,
        firm: list[int],
    ) -> dict[str, Any]:
        """Everything about two points; see :func:`shared_effects`."""
        mean = whole.mean(0)[None]
        raw, null = self.permuted(plain, i, j, values)
        own = {p: self.permuted(plain, p, p, values) for p in (i, j)}
        repeats = {p: rank_p(found, other) for p, (found, other) in own.items()}
        low_ends = {p: float(np.quantile(self.pooled(drawn, p, p, values), 0.025)) for p in (i, j)}
        row: dict[str, Any] = {
            "source": self.points[i].name, "target": self.points[j].name, "values": ", ".join(values),
            "heads": int(plain.shape[-1]), "groups": min(self._groups(p, values) for p in (i, j)), "raw": raw,
            "p": rank_p(raw, null), "reliability_source": own[i][0], "reliability_target": own[j][0],
            "least_source": low_ends[i], "least_target": low_ends[j],
            "repeats_source": repeats[i], "repeats_target": repeats[j], "unrelated": "",
            **dict.fromkeys(
                ("correlation", "low", "high", "chance", "null_low", "null_high", "others", "wrong", "specific",
                 "specific_low", "specific_high"),
                float("nan"),
            ),
        }  # fmt: skip
        if not all(does_repeat(repeats[p], low_ends[p]) for p in (i, j)):
            return row
        bar = float(self._bar(mean, i, j, values, values)[0])
        bars = self._bar(drawn, i, j, values, values)
        boots = self.pooled(drawn, i, j, values) / bars
        ends, beside = np.nanquantile(boots, [0.025, 0.975]), np.quantile(null, [0.025, 0.975]) / bar
        row |= {
            "correlation": raw / bar, "low": float(ends[0]), "high": float(ends[1]), "chance": float(null.mean()) / bar,
            "null_low": float(beside[0]), "null_high": float(beside[1]),
        }  # fmt: skip
        crossed = [(v, w) for v in values for w in values if v != w]
        if crossed:
            row["others"] = float(np.mean([mean[0, self.place[i, v], self.place[j, w]] for v, w in crossed])) / bar
        strange = {*self.values(i), *self.values(j)}
        unrelated = [u for u in firm if not strange & set(self.values(u))]
        if unrelated:
            found = [float(self._wrong(mean, i, j, values, u)[0]) for u in unrelated]
            every = np.max([self._wrong(drawn, i, j, values, u) for u in unrelated], axis=0)
            apart = np.nanquantile(boots - every, [0.025, 0.975])
            row |= {
                "unrelated": self.points[unrelated[int(np.argmax(found))]].name, "wrong": max(found),
                "specific": raw / bar - max(found), "specific_low": float(apart[0]), "specific_high": float(apart[1]),
            }  # fmt: skip
        return row

    def _groups(self, point: int, values: Sequence[str]) -> int:
        return len(set(np.concatenate([self.groups[self.place[point, v]] for v in values]).tolist()))

    def _bar(
        self, agreement: np.ndarray, i: int, j: int, of_i: Sequence[str], of_j: Sequence[str]
    ) -> Float[np.ndarray, " draw"]:
        """Geometric mean of two reliabilities; NaN where one is not above 0."""
        product = self.pooled(agreement, i, i, of_i), self.pooled(agreement, j, j, of_j)
        good = (product[0] > 0) & (product[1] > 0)
        found: np.ndarray = np.sqrt(np.where(good, product[0] * product[1], np.nan))
        return found

    def _wrong(
        self, agreement: np.ndarray, i: int, j: int, values: Sequence[str], u: int
    ) -> Float[np.ndarray, " draw"]:
        """The largest correlation of either point with an unrelated one, value by value, whichever its sign."""
        sizes = []
        for p in (i, j):
            bar = self._bar(agreement, p, u, values, self.values(u))
            sizes.append(
                [
                    [np.abs(agreement[:, self.place[p, v], self.place[u, w]]) / bar for w in self.values(u)]
                    for v in values
                ]
            )
        found: np.ndarray = np.array(sizes).max(axis=(0, 2)).mean(axis=0)
        return found

    def top(self, i: int, j: int, values: Sequence[str], plain: np.ndarray, ks: Sequence[int]) -> list[dict[str, Any]]:
        """Jaccard indices of the strongest heads of halves."""
        size = np.abs(plain[[self.place[p, v] for p in (i, j) for v in values]])
        ranks = (-size).argsort(-1).argsort(-1)
        rows = []
        for k in ks:
            chosen = ranks < k
            first, second = chosen[: len(values)], chosen[len(values) :]
            null = [_jaccard(first, second[..., order], k) for order in self.null[:_TOP_DRAWS]]
            found = _jaccard(first, second, k)
            ends = np.quantile(null, [0.025, 0.975])
            rows.append(
                {
                    "source": self.points[i].name, "target": self.points[j].name, "k": k, "jaccard": found,
                    "within": (_jaccard(first, first, k) + _jaccard(second, second, k)) / 2,
                    "null_low": float(ends[0]), "null_high": float(ends[1]), "p": rank_p(found, null),
                }
            )  # fmt: skip
        return rows


def does_repeat(p: float, least: float) -> bool:
    """Whether effects of one point agree between halves of its own groups, so that they can be compared with others.

    Args:
        p: of its reliability beside permuted heads.
        least: lower end of the reliability's interval.
    """
    return p <= LEVEL and least > 0


def _standard(means: Float[np.ndarray, "*draw head"]) -> Float[np.ndarray, "*draw head"]:
    """Centred over heads, of length 1; what is the same in all heads becomes 0."""
    away = means - means.mean(-1, keepdims=True)
    size = np.linalg.norm(away, axis=-1, keepdims=True)
    return away / np.where(size > 0, size, 1.0)  # type: ignore[no-any-return]


def _jaccard(a: Bool[np.ndarray, "value half draw head"], b: Bool[np.ndarray, "value half draw head"], k: int) -> float:
    """Of one half of the first with the other half of the second, both ways, mean."""
    shared = (a & b[:, ::-1]).sum(-1)
    return float((shared / (2 * k - shared)).mean())


def _within_layers(heads: Sequence[Node], draws: int, rng: np.random.Generator) -> Int[np.ndarray, "draw head"]:
    """Permutations that leave every head in its layer."""
    layers = np.array([head.layer for head in heads])
    found = np.tile(np.arange(len(heads)), (draws, 1))
    for layer in np.unique(layers):
        inside = np.flatnonzero(layers == layer)
        found[:, inside] = inside[rng.random((draws, len(inside))).argsort(1)]
    return found
