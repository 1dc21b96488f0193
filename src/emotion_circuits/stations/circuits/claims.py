"""Claims about heads and emotions that stand beside those on the circuit itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from emotion_circuits.circuits.attribution import Attribution
from emotion_circuits.circuits.claims import Effects
from emotion_circuits.circuits.joint import Dissociation
from emotion_circuits.circuits.overlap import EmotionOverlap
from emotion_circuits.heads import Node
from emotion_circuits.heads.screening import Screen
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.statistics import About, Draft, draft, interval_p, rank_p, resample_counts

__all__ = ["attention_draft", "dissociation_draft", "overlap_draft"]

_BEST = 10
"""Heads of which it is told how many are among the largest on both sides."""


def attention_draft(
    screen: Screen, effects: Effects, scored: Attribution, groups: Sequence[str], *, draws: int = 499, seed: int = 0
) -> Draft:
    """Do heads that attend to the emotion word do more? Rank correlation of sizes over heads, resampled by group of pairs.

    Against the exact effect where every head was noised, else against attribution on train pairs. Two nulls, the larger p
    counts: *sides exchanged* – clean and corrupted prompt change places in random groups, in both figures, so that a head
    which attends much and writes much anywhere keeps doing so; *heads permuted within layers* – attention and effect both
    grow with depth.

    Args:
        screen: of train pairs.
        effects: exact effects on test pairs.
        scored: attribution of every head.
        groups: of the pairs that ``scored`` is of.
        draws: of either null, and of the bootstrap.
        seed: of all of them.
    """
    layers, heads, _ = screen.clean.shape
    nodes = [Node("head", layer, head) for layer in range(layers) for head in range(heads)]
    attention = by_group((screen.clean - screen.corrupted).flatten(0, 1).T.double().cpu().numpy(), screen.groups)
    place = {node: i for i, (node,) in enumerate(effects.scan.sets)}
    exact = all(n in place for n in nodes)
    if exact:
        every = by_group(effects.scan.effect.T.double().cpu().numpy(), effects.scan.groups)
        values = every[:, [place[n] for n in nodes]]
    else:
        columns = [scored.nodes.index(n) for n in nodes]
        values = by_group(scored.node_scores[:, columns].double().cpu().numpy(), groups)
    rng = np.random.default_rng(seed)
    tables = (attention, values)
    found = float(_correlations(*(np.abs(t.mean(0, keepdims=True)) for t in tables))[0])

    def sizes(weights: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.abs(w @ t) / len(t) for w, t in zip(weights, tables, strict=True)]

    counts = [resample_counts(len(t), draws, rng).astype(float) for t in tables]
    low, high = (float(end) for end in np.quantile(_correlations(*sizes(counts)), [0.025, 0.975]))
    signs = [rng.choice([-1.0, 1.0], size=(draws, len(t))) for t in tables]
    exchanged = _correlations(*sizes(signs))
    whole = [np.abs(t.mean(0)) for t in tables]
    order = rng.random((draws, layers, heads)).argsort(2) + heads * np.arange(layers)[None, :, None]
    permuted = _correlations(np.tile(whole[0], (draws, 1)), whole[1][order.reshape(draws, -1)])
    harder = exchanged if np.quantile(exchanged, 0.95) > np.quantile(permuted, 0.95) else permuted
    best = [set(np.argsort(-size)[:_BEST].tolist()) for size in whole]
    null = np.quantile(harder, [0.025, 0.975])
    return draft(
        "circuits.attention",
        "circuits.attention",
        About(method="exact" if exact else "attribution"),
        family="circuits.attention",
        estimate=found,
        interval=(low, high),
        n=len(attention),
        chance=0.0,
        null=(float(null[0]), float(null[1])),
        p=max(rank_p(found, exchanged), rank_p(found, permuted), interval_p(found, (low, high), n=len(attention))),
        smallest=0.1,
        beside={
            "best": _BEST,
            "shared": len(best[0] & best[1]),
            "shared_by_chance": _BEST**2 / len(nodes),
        },
    )


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of every row of ``a`` with the same row of ``b``."""
    ranks = [rankdata(x, axis=1) for x in (a, b)]
    centred = [r - r.mean(1, keepdims=True) for r in ranks]
    spread = np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    return (centred[0] * centred[1]).sum(1) / np.where(spread > 0, spread, 1.0)  # type: ignore[no-any-return]


def overlap_draft(found: EmotionOverlap) -> Draft:
    """The strongest heads of one emotion agree more between halves of the pairs than those of two emotions."""
    own = found.table["a"] == found.table["b"]
    return draft(
        "circuits.emotions.overlap",
        "circuits.overlap",
        About(),
        family="circuits.emotions",
        estimate=found.specificity,
        interval=found.interval,
        n=found.n,
        chance=0.0,
        null=found.null_interval,
        p=found.p,
        smallest=0.05,
        beside={
            "heads": found.k,
            "within": found.table[own]["jaccard"].mean(),
            "between": found.table[~own]["jaccard"].mean(),
            "random": float(found.table["chance"].iloc[0]),
        },
    )


def dissociation_draft(found: Dissociation, by_chance: float, heads: int) -> Draft:
    """Taking out an emotion's heads hurts its own pairs more than the others' heads do.

    Args:
        found: of :func:`emotion_circuits.circuits.dissociation`.
        by_chance: of :func:`emotion_circuits.circuits.overlap.named_by_chance`; the larger p counts.
        heads: how many were taken out.
    """
    return draft(
        "circuits.emotions.dissociation",
        "circuits.dissociation",
        About(),
        family="circuits.emotions",
        estimate=found.specificity,
        interval=found.interval,
        n=found.n,
        chance=0.0,
        null=found.null_interval,
        p=max(found.p, by_chance),
        smallest=0.05,
        beside={"heads": heads, "by_chance": by_chance},
    )
