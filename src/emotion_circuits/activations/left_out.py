"""What a capture left out as attention sinks, counted."""

from __future__ import annotations

import pandas as pd
import torch

from emotion_circuits.activations.sinks import judged_by
from emotion_circuits.activations.store import PAIR_KINDS, ActivationStore

__all__ = ["left_out"]


def left_out(store: ActivationStore) -> pd.DataFrame:
    """Tokens and sentences that attention sinks cost, per site kind and layer.

    Args:
        store: a capture.

    Returns:
        ``kind, layer, median`` (token norm; beyond four of it a token is a sink), ``tokens`` of the sentences without the
        model's prefix, ``first`` (left out as the first of their text: none where a prefix stands before it), ``longer``
        (left out for their length), ``rows``, and for every pooling captured ``without_POOLING``: rows that have such tokens
        but no state, because sinks are all of them.
    """
    rows = store.rows
    count, lead = len(rows), store.sinks.lead
    prefix = len(store.sinks.prefix)
    marked = torch.tensor((rows["has_emotion"] | rows["emotion_is_sink"]).to_numpy().copy())
    records = []
    for kind in (k for k in store.kinds if k not in PAIR_KINDS):
        for layer in store.layers:
            norms, of = store.token_norms(kind, layer)
            starts = torch.ones_like(of, dtype=torch.bool)
            starts[1:] = of[1:] != of[:-1]
            begins = starts.nonzero()[:, 0]
            position = torch.arange(len(of)) - begins[starts.cumsum(0) - 1]
            limit = store.sinks.factor * store.sinks.median(judged_by(kind), layer)
            records.append(
                {
                    "kind": kind,
                    "layer": layer,
                    "median": store.sinks.median(judged_by(kind), layer),
                    "tokens": int((position >= prefix).sum()),
                    "first": int(((position >= prefix) & (position < lead)).sum()),
                    "longer": int(((position >= lead) & (norms > limit)).sum()),
                    "rows": count,
                    **{
                        f"without_{pool}": int(
                            (store.pooled(kind, pool, layer).isnan().all(-1) & (marked | (pool != "emotion"))).sum()
                        )
                        for pool in store.poolings
                        if pool != "tokens"
                    },
                }
            )
    return pd.DataFrame.from_records(records)
