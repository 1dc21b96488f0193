"""What the map claims: an axis that people's ratings follow, and more of it than in the words alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emotion_circuits.directions.value_map import Aligned
from emotion_circuits.statistics import About, Draft, draft, interval_p

__all__ = ["map_drafts"]

_DRAWS = 2000


def map_drafts(
    layers: pd.DataFrame, layer: int, found: Sequence[Aligned], static: Sequence[Aligned], *, seed: int = 0
) -> list[Draft]:
    """Per dimension: its axis at the chosen layer, and how much more it says than that of the static embeddings.

    Args:
        layers: the station's table.
        layer: the chosen one.
        found: at that layer.
        static: of the static embeddings, in the same order.
        seed: of the bootstrap over values.
    """
    own = {row["dimension"]: row for row in layers[layers["layer"] == layer].to_dict("records")}
    drafts = []
    for here, words in zip(found, static, strict=True):
        row = own[here.dimension]
        claim = draft(
            f"map.axis.{here.dimension}",
            "map.axis",
            About(metric=here.dimension, layer=layer),
            family="map.axis",
            estimate=here.r,
            interval=(here.low, here.high),
            chance=0.0,
            null=(float(row["null_low"]), float(row["null_high"])),
            p=max(here.p, interval_p(here.r, (here.low, here.high), n=len(here.values))),
            n=len(here.values),
            side="greater",
            smallest=0.2,
            beside={"axis": here.axis + 1, "ceiling": float(row["ceiling"])},
        )
        rise, low, high = _rise(here, words, seed)
        drafts += [
            claim,
            draft(
                f"map.beyond.{here.dimension}",
                "map.beyond",
                About(metric=here.dimension, layer=layer),
                family="map.beyond",
                estimate=rise,
                interval=(low, high),
                chance=0.0,
                p=interval_p(rise, (low, high), n=len(here.values)),
                n=len(here.values),
                side="greater",
                smallest=0.1,
                given=claim.id,
                beside={"states": here.r, "words": words.r},
            ),
        ]
    return drafts


def _rise(here: Aligned, words: Aligned, seed: int) -> tuple[float, float, float]:
    """Difference of both correlations, with the same values drawn for both."""
    picks = np.random.default_rng(seed).integers(0, len(here.values), (_DRAWS, len(here.values)))
    drawn = [_r(here.scores[p], here.ratings[p]) - _r(words.scores[p], words.ratings[p]) for p in picks]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return here.r - words.r, float(low), float(high)


def _r(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else float("nan")
