"""What an adapter changes inside, and what a direction does in a model that has one: rows of figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.statistics import mean_intervals, paired_difference, rank_p
from emotion_circuits.steering import NONE, SteeringVectors, random_direction
from emotion_circuits.steering.scoring import aligned, per_prompt
from emotion_circuits.tuning.shift import along

__all__ = ["among_nothing", "inside_rows", "shift_rows"]


def among_nothing(
    null: pd.DataFrame, name: str, base: pd.Series, own: pd.Series, column: str, *, sign: int
) -> dict[str, float]:
    """Where a condition's change lies among those of directions of nothing, on the openings that these were written on.

    Args:
        null: texts under ``NAME | random 0`` and so on, and ``NAME | shuffled 0`` and so on, scored.
        name: of the condition.
        base: by opening, what its change is counted from.
        own: by opening, the condition's figures.
        column: whose.
        sign: of a change that is meant: 1 more, −1 less.

    Returns:
        By kind, ``random`` and ``shuffled``: the least and the largest change ``*_low *_high``, and ``p_*``. And what is ranked
        among them: the condition's own change on those openings ``change_ranked``, and their number ``n_ranked``.
    """
    found: dict[str, float] = {}
    for kind in ("random", "shuffled"):
        mine = null[null["condition"].str.startswith(f"{name} | {kind} ")]
        means = mine.groupby(["condition", "prompt_id"])[column].mean().unstack()
        changes = sign * means.sub(base.reindex(means.columns), axis=1).mean(axis=1)
        same = sign * float((own - base).reindex(means.columns).mean())
        found |= {
            f"{kind}_low": float(changes.min()), f"{kind}_high": float(changes.max()),
            f"p_{kind}": rank_p(same, changes.to_numpy(float)), "change_ranked": same, "n_ranked": float(means.shape[1]),
        }  # fmt: skip
    return found


def inside_rows(
    scored: pd.DataFrame, null: pd.DataFrame, value: str, *, method: str = "dpo", seed: int = 0
) -> pd.DataFrame:
    """How much of an adapter's effect goes with a direction, and what adding it does beside the adapter.

    Args:
        scored: texts of the model with the adapter: the adapter alone (condition of its name), ``removal`` and ``after``; and
            unsteered ones.
        null: texts of the same model with directions of nothing, ``removal | …`` and ``after | …``, on some of the openings.
        value: that is meant.
        method: the adapter.
        seed: of the permutations.

    Returns:
        Rows of the table ``inside``.
    """
    column, rows = f"p_{value}", []
    own = per_prompt(scored, method, column)
    for what, sign in (("removal", -1), ("after", 1)):
        a, b = aligned(scored, what, method, column)
        d = paired_difference(sign * a, sign * b, direction=1, seed=seed)
        effect = float((own - per_prompt(scored, NONE.name, column)).mean())
        nats = np.subtract(*aligned(scored, what, method, "nats"))
        row: dict[str, Any] = {
            "method": method, "what": what, "change": d.estimate, "low": d.low, "high": d.high,
            "share": d.estimate / effect if what == "removal" and effect > 0 else np.nan,
            "ratio": float(np.exp(mean_intervals(nats)[0].estimate)), "p": d.p if d.estimate > 0 else 1.0, "n": d.n,
        }  # fmt: skip
        row |= among_nothing(null, what, own, per_prompt(scored, what, column), column, sign=sign)
        rows.append({**row, "p": max(row["p"], row["p_random"], row["p_shuffled"])})
    return pd.DataFrame(rows)


def shift_rows(
    shift: Float[Tensor, "text layer d_model"],
    vectors: SteeringVectors,
    values: Sequence[str],
    value: str,
    shuffled: Sequence[str],
    *,
    draws: int,
    layers: Sequence[int],
    method: str = "dpo",
    seed: int = 0,
) -> pd.DataFrame:
    """How much of a shift lies along each value's direction: of the value in every layer, of the others in those that are named.

    Args:
        shift: by text and layer, of means over the same tokens.
        vectors: directions, those of shuffled labels among them.
        values: whose directions.
        value: that the adapter was trained for.
        shuffled: names of directions of shuffled labels.
        draws: random directions.
        layers: where the other values are looked at, too.
        method: the adapter.
        seed: of the draws of texts.

    Returns:
        Rows of the table ``shift``.
    """
    rows = []
    drawn = torch.stack([random_direction(shift.shape[-1], i) for i in range(draws)])
    for layer in range(shift.shape[1]):
        nulls = {"random": drawn, "shuffled": torch.stack([vectors.direction(name, layer) for name in shuffled])}
        for name in values if layer in layers else [value]:
            found = along(shift[:, layer], vectors.direction(name, layer), nulls, seed=seed)
            length = float(shift[:, layer].mean(0).norm() / vectors.norms[layer])
            rows.append({"method": method, "layer": layer, "value": name, "length": length, "n": len(shift), **found})
    return pd.DataFrame(rows)
