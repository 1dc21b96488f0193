"""Claims about heads and emotions that stand beside those on the circuit itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from emotion_circuits.circuits.attribution import Attribution
from emotion_circuits.circuits.claims import Effects
from emotion_circuits.circuits.joint import Dissociation
from emotion_circuits.circuits.overlap import EmotionOverlap
from emotion_circuits.heads import Node
from emotion_circuits.heads.screening import Screen
from emotion_circuits.heads.tasks import by_group
from emotion_circuits.statistics import About, Draft, draft, interval_p, paired_difference, rank_p

__all__ = ["attention_claim", "dissociation_claim", "overlap_claim", "patched_claims"]

_BEST = 10
"""Heads of which it is told how many are among the largest on both sides."""


def attention_claim(screen: Screen, effects: Effects, scored: Attribution, *, seed: int = 0) -> Draft:
    """Do heads that attend to the emotion word do more? Rank correlation over heads, resampled by group of pairs.

    Against the exact effect where every head was noised, else against attribution on train pairs.

    Args:
        screen: of train pairs.
        effects: exact effects on test pairs.
        scored: attribution of every head.
        seed: of the bootstrap.
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
        score = scored.node_scores.mean(0)[[scored.nodes.index(n) for n in nodes]].double().cpu().numpy()
        values = score[None]
    rng = np.random.default_rng(seed)

    def drawn(table: np.ndarray) -> np.ndarray:
        mean: np.ndarray = table[rng.integers(0, len(table), len(table))].mean(0)
        return np.abs(mean)  # type: ignore[no-any-return]

    draws = [float(spearmanr(drawn(attention), drawn(values)).statistic) for _ in range(500)]
    low, high = np.quantile(draws, [0.025, 0.975])
    sizes = np.abs(attention.mean(0)), np.abs(values.mean(0))
    best = [set(np.argsort(-size)[:_BEST].tolist()) for size in sizes]
    null = [float(spearmanr(sizes[0], rng.permutation(sizes[1])).statistic) for _ in range(500)]
    correlation, ends = float(spearmanr(*sizes).statistic), (float(low), float(high))
    return draft(
        "circuits.attention",
        "circuits.attention",
        About(method="exact" if exact else "attribution"),
        family="circuits.attention",
        estimate=correlation,
        interval=ends,
        p=max(rank_p(correlation, null), interval_p(correlation, ends, n=len(attention))),
        smallest=0.1,
        n=len(attention),
        chance=0.0,
        null=tuple(np.quantile(null, [0.025, 0.975]).tolist()),
        beside={
            "best": _BEST,
            "shared": len(best[0] & best[1]),
            "shared_by_chance": _BEST**2 / len(nodes),
        },
    )


def overlap_claim(found: EmotionOverlap) -> Draft:
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


def dissociation_claim(found: Dissociation, heads: int) -> Draft:
    """Taking out an emotion's heads hurts its own pairs more than the others' heads do.

    Args:
        found: of :func:`emotion_circuits.circuits.dissociation`.
        heads: how many were taken out.
    """
    return draft(
        "circuits.emotions.dissociation",
        "circuits.dissociation",
        About(),
        family="circuits.emotions",
        p=found.p,
        estimate=found.specificity,
        interval=found.interval,
        n=found.n,
        chance=0.0,
        smallest=0.05,
        beside={"heads": heads},
    )


def patched_claims(table: pd.DataFrame, emotions: Sequence[str], *, seed: int = 0) -> list[Draft]:
    """One claim per emotion: its heads raise the emotion's probability more than the same heads from neutral prompts.

    Args:
        table: of :func:`emotion_circuits.stations.circuits.patched.patched_texts`.
        emotions: which.
        seed: of bootstrap and permutation.
    """
    plain = table[table["arm"] == "plain"].set_index("prompt")
    found = {}
    for emotion in emotions:
        part = table[table["emotion"] == emotion]
        arms = {
            str(arm): rows.set_index("prompt")[f"p_{emotion}"].loc[plain.index] for arm, rows in part.groupby("arm")
        }
        arms["plain"] = plain[f"p_{emotion}"]
        main = paired_difference(arms["circuit"], arms["neutral source"], resamples=5000, seed=seed)
        found[emotion] = (main, {arm: float(values.mean()) for arm, values in arms.items()})
    return [
        draft(
            f"circuits.patched.{emotion}",
            "circuits.patched",
            About(value=emotion),
            family="circuits.patched",
            estimate=main.estimate,
            interval=(main.low, main.high),
            n=main.n,
            chance=0.0,
            p=main.p,
            smallest=0.05,
            beside=means,
        )
        for emotion, (main, means) in found.items()
    ]
