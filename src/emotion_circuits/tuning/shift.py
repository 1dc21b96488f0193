"""What an adapter changes inside: where states move on the same tokens, what of that lies along a direction, which heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations import Sinks
from emotion_circuits.model import LanguageModel, Site, observe
from emotion_circuits.statistics import holding, mean_intervals, rank_p, resample_counts

__all__ = ["along", "head_changes", "mean_states", "shares_along"]

_DRAWS = 2000
_ROWS = 8


@torch.inference_mode()
def mean_states(
    model: LanguageModel, rows: Sequence[Sequence[int]], sinks: Sinks, kept: Sequence[Tensor] | None = None
) -> tuple[Float[Tensor, "text layer d_model"], list[Tensor]]:
    """Mean state of each text behind every block, over its tokens but sinks.

    Args:
        model: the model.
        rows: token ids of the texts.
        sinks: of the plain model.
        kept: per text ``[layer, position]``, the tokens that count; by default all that are no sinks. Give those of the plain
            model to compare means of the same tokens.

    Returns:
        The means in float64, and the tokens that counted.
    """
    sites = [Site("resid_post", layer) for layer in range(model.n_layers)]
    states: list[Tensor] = []
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        batch = model.collate(some, side="right")
        with observe(model, sites) as record:
            model.hidden(batch)
        stacked = torch.stack([record[site] for site in sites], dim=1).double().cpu()
        states += [stacked[index, :, : len(row)] for index, row in enumerate(some)]
    if kept is None:
        kept = [sinks.kept(state) for state in states]
    means = [
        torch.where(keep[..., None], state, 0.0).sum(1) / keep.sum(1, keepdim=True).clamp(min=1)
        for state, keep in zip(states, kept, strict=True)
    ]
    return torch.stack(means), list(kept)


def shares_along(
    shift: Float[Tensor, "text d_model"], directions: Float[Tensor, "direction d_model"]
) -> Float[np.ndarray, " direction"]:
    """Share of the mean shift's squared length that lies along each direction: cos², chance ``1 / d_model``.

    Args:
        shift: of each text.
        directions: of any length.

    Example:
        >>> shares_along(torch.tensor([[3.0, 4.0]]), torch.eye(2)).round(2).tolist()
        [0.36, 0.64]
    """
    mean = shift.double().mean(0)
    unit = torch.nn.functional.normalize(directions.double(), dim=-1)
    found: np.ndarray = ((unit @ mean) ** 2 / (mean @ mean).clamp(min=1e-30)).numpy()
    return found


def along(
    shift: Float[Tensor, "text d_model"],
    direction: Float[Tensor, " d_model"],
    nulls: Mapping[str, Float[Tensor, "draw d_model"]],
    *,
    seed: int = 0,
) -> dict[str, float]:
    """How much of a shift lies along a direction, among directions of nothing.

    Args:
        shift: of each text.
        direction: which.
        nulls: kind → directions of nothing.
        seed: of the draws of texts.

    Returns:
        ``share low high`` (95 %, bootstrap by text), ``cosine`` with its sign, ``chance``, ``p`` (the largest of the ranks among
        each kind), and per kind ``<kind>_low <kind>_high p_<kind>``.
    """
    share = float(shares_along(shift, direction[None])[0])
    wide, unit = shift.double(), torch.nn.functional.normalize(direction.double(), dim=-1)
    weights = torch.from_numpy(resample_counts(len(wide), _DRAWS, seed) / len(wide))
    means = weights @ wide
    drawn = ((means @ unit) ** 2 / (means**2).sum(-1).clamp(min=1e-30)).numpy()
    low, high = holding(share, *np.quantile(drawn, [0.025, 0.975]))
    mean = wide.mean(0)
    found = {
        "share": share, "low": low, "high": high,
        "cosine": float(mean @ unit / mean.norm().clamp(min=1e-15)), "chance": 1 / shift.shape[-1], "p": 0.0,
    }  # fmt: skip
    for kind, rows in nulls.items():
        null = shares_along(shift, rows)
        found |= {f"{kind}_low": float(null.min()), f"{kind}_high": float(null.max()), f"p_{kind}": rank_p(share, null)}
        found["p"] = max(found["p"], found[f"p_{kind}"])
    return found


@torch.inference_mode()
def head_changes(plain: LanguageModel, changed: LanguageModel, rows: Sequence[Sequence[int]]) -> pd.DataFrame:
    """By how much each head's addition to the residual stream differs between two models on the same tokens.

    Args:
        plain: the base model.
        changed: the same with an adapter.
        rows: token ids of the texts, two at least.

    Returns:
        One row per head: ``layer head change low high``: the length of the difference over that of the plain model's addition,
        means over tokens but the first, then over texts, with 95 % interval over texts.
    """
    every: list[np.ndarray] = []
    for row in rows:
        both = []
        for model in (plain, changed):
            sites = [Site("z", layer) for layer in range(model.n_layers)]
            with observe(model, sites) as record:
                model.hidden(model.collate([row]))
            # [layer, position, head, d_model]: what each head adds.
            both.append(
                torch.stack(
                    [
                        torch.einsum(
                            "phd,hdm->phm", record[site][0, 1:].float(), model.out_projection(site.layer).float()
                        )
                        for site in sites
                    ]
                )
            )
        size = both[0].norm(dim=-1).mean(1)
        every.append(((both[1] - both[0]).norm(dim=-1).mean(1) / size.clamp(min=1e-12)).double().cpu().numpy())
    table = np.stack(every)
    layers, heads = table.shape[1:]
    ends = mean_intervals(table.reshape(len(rows), -1))
    return pd.DataFrame(
        [
            {"layer": layer, "head": head, "change": e.estimate, "low": e.low, "high": e.high}
            for (layer, head), e in zip(np.ndindex(layers, heads), ends, strict=True)
        ]
    )
