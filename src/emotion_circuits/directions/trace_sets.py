"""Traces averaged over a set of sentences, with intervals and nulls; the unit is the sentence's group.

* *who writes* (:func:`average_components`): parts of the projection, beside the group's neutral sentence
* *who looks* (:func:`average_attention`): attention to emotion words, beside the same position of a neutral sentence
* *who reads*: :mod:`emotion_circuits.directions.trace_reading`
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations import pooled_positions
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.last_token import last_token_attention, last_token_parts
from emotion_circuits.directions.trace_selection import Asked
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.prompts import Prompt
from emotion_circuits.statistics import bootstrap_mean_intervals, cluster_means, fdr, paired_differences

__all__ = [
    "BesideOthers", "ask_attention", "ask_writers", "average_attention", "average_components", "beside_others", "can_attend",
]  # fmt: skip

_LEAST = 2
"""Groups without which attention to words is not asked for."""


@dataclass(frozen=True, eq=False)
class BesideOthers:
    """Sentences of a label and, group by group, those it is compared with.

    Attributes:
        felt: one of the label per group.
        others: the group's sentences of the labels it is compared with, one of each, group after group.
        sizes: how many of them each group has.
        groups: in the same order.
    """

    felt: list[Prompt]
    others: list[Prompt]
    sizes: list[int]
    groups: list[str]

    def by_group(self, values: Float[np.ndarray, "*rest other"]) -> Float[np.ndarray, "*rest group"]:
        """Mean over each group's others of figures that stand in their order on the last axis."""
        starts = np.cumsum([0, *self.sizes[:-1]])
        return np.add.reduceat(values, starts, axis=-1) / np.array(self.sizes)  # type: ignore[no-any-return]


def beside_others(prompts: Sequence[Prompt], label: str, compared: Sequence[str]) -> BesideOthers:
    """Sentences of a label and those of the same group it is compared with.

    Args:
        prompts: of one split.
        label: the label.
        compared: labels it is compared with, e.g. :meth:`DirectionSet.compared_with`.

    Raises:
        EmotionCircuitsError: fewer than two groups have both.
    """
    by_group: dict[str, dict[str, Prompt]] = {}
    for prompt in prompts:
        by_group.setdefault(f"{prompt.set}\x1f{prompt.group}", {})[prompt.label] = prompt
    both = {
        group: (rows[label], others)
        for group, rows in by_group.items()
        if label in rows and (others := [rows[name] for name in compared if name in rows])
    }
    if len(both) < 2:
        raise EmotionCircuitsError(
            f"averaging needs at least two groups with a sentence of {label!r} and one of {' or '.join(compared)}, there are "
            f"{len(both)}"
        )
    found = list(both.values())
    others = [prompt for _, rows in found for prompt in rows]
    return BesideOthers([felt for felt, _ in found], others, [len(rows) for _, rows in found], list(both))


def average_components(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    directions: DirectionSet,
    label: str,
    layer: int,
    *,
    nulls: Float[Tensor, "null d_model"] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean part of every component at the last token, emotion against the neutral sentence of the same group.

    Args:
        model: the model the directions belong to.
        prompts: sentences the directions were not fitted on, with groups that hold ``label`` and neutral.
        directions: a fitted set at ``resid_post``.
        label: the emotion.
        layer: whose direction parts are attributed along.
        nulls: directions that mean nothing (fitted on shuffled labels), of any length.
        seed: of the bootstrap.

    Returns:
        ``component, layer, part, part_low, part_high`` (on sentences of the label), ``neutral``, ``difference`` (paired,
        by group) with ``low, high, p, q`` (one family: all components), ``null_low, null_high`` (95 % of the component's
        differences along ``nulls``), ``n``; largest difference first. In residual norms of the layer.

    Raises:
        EmotionCircuitsError: fewer than two groups, or parts that do not sum to the whole.
    """
    table = ask_writers(model, prompts, directions, label, layer, nulls=nulls, seed=seed).table
    return table.sort_values("difference", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def ask_writers(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    directions: DirectionSet,
    label: str,
    layer: int,
    *,
    nulls: Float[Tensor, "null d_model"] | None = None,
    seed: int = 0,
) -> Asked:
    """As :func:`average_components`, components in the order of the model, with the difference along every direction."""
    beside = beside_others(prompts, label, directions.compared_with(label))
    felt, groups = beside.felt, beside.groups
    units = directions.unit(label, layer).double()[None]
    if nulls is not None:
        units = torch.cat([units, torch.nn.functional.normalize(nulls.double(), dim=-1)])
    texts = [p.text for p in (*felt, *beside.others)]
    components, parts = last_token_parts(model, texts, units / directions.norm(layer), layer)
    values = parts.numpy()
    own = values[: len(felt)]
    other = np.moveaxis(beside.by_group(np.moveaxis(values[len(felt) :], 0, -1)), -1, 0)
    inside = bootstrap_mean_intervals(own[:, 0], seed=seed)
    found = paired_differences(own[:, 0], other[:, 0], clusters=groups, seed=seed)
    q = fdr([f.p for f in found], family=f"parts of {label}: {len(found)} components").q
    asked = (own - other).transpose(1, 0, 2)
    table = pd.DataFrame(
        {
            "component": [c.name for c in components],
            "layer": [c.layer for c in components],
            "part": [e.estimate for e in inside],
            "part_low": [e.low for e in inside],
            "part_high": [e.high for e in inside],
            "neutral": other[:, 0].mean(0),
            "difference": [f.estimate for f in found],
            "low": [f.low for f in found],
            "high": [f.high for f in found],
            "p": [f.p for f in found],
            "q": list(q.values()),
            "n": len(groups),
        }
    )
    if nulls is not None:
        table["null_low"], table["null_high"] = np.quantile(asked[1:].mean(1), [0.025, 0.975], axis=0)
    return Asked(table, asked)


def average_attention(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    label: str,
    *,
    compared: Sequence[str] = ("neutral",),
    seed: int = 0,
) -> pd.DataFrame:
    """Attention from the last token to emotion words, against the same place of a neutral sentence of the same length.

    Sentences of equal token length have the same query and key positions, so that neither the distance nor the number of
    keys differs. The neutral sentence is that of the same group where it fits, else another one. Left out are sentences
    without a neutral one of their length, those whose marked word is the last token, which would attend to itself, and those
    whose word is the first token, an attention sink.

    Attention is a screen for heads, not evidence of what they do.

    Args:
        model: the model.
        prompts: sentences with marked emotion words, and neutral ones.
        label: the emotion.
        compared: labels of the sentences it is compared with, called neutral here.
        seed: of the bootstrap.

    Returns:
        ``layer, head, attention, neutral, difference, low, high, p, q`` (one family: all heads), ``n`` groups,
        ``excluded`` sentences; in the order of layers and heads.

    Raises:
        EmotionCircuitsError: fewer than two groups left, or a model whose attention cannot be observed.
    """
    return ask_attention(model, prompts, label, compared=compared, seed=seed).table


def can_attend(
    model: LanguageModel, prompts: Sequence[Prompt], label: str, compared: Sequence[str] = ("neutral",)
) -> bool:
    """Whether :func:`average_attention` has enough sentences of a label with marked words."""
    felt, *_ = _compared(model, prompts, label, compared)
    return len({(p.set, p.group) for p in felt}) >= _LEAST


def _compared(
    model: LanguageModel, prompts: Sequence[Prompt], label: str, compared: Sequence[str]
) -> tuple[list[Prompt], list[Prompt], list[list[int]]]:
    """Sentences of a label with marked words, for each a neutral one of its length, and the words' tokens."""
    chosen = [p for p in prompts if p.label == label and p.spans]
    calm = [p for p in prompts if p.label in compared]
    encoded = model.encode([p.text for p in (*chosen, *calm)], names=[p.id for p in (*chosen, *calm)])
    lengths = [len(ids) for ids in encoded.ids]
    by_length: dict[int, list[Prompt]] = {}
    for prompt, length in zip(calm, lengths[len(chosen) :], strict=True):
        by_length.setdefault(length, []).append(prompt)
    felt: list[Prompt] = []
    neutral: list[Prompt] = []
    keys: list[list[int]] = []
    # A word at the beginning is the attention sink: what looks there looks at nothing.
    places = pooled_positions(chosen, encoded.offsets[: len(chosen)], max(1, len(model.prefix)))
    for prompt, length, place in zip(chosen, lengths[: len(chosen)], places, strict=True):
        like = by_length.get(length, [])
        if not like or not place.tokens or length - 1 in place.tokens:
            continue
        own = [p for p in like if (p.set, p.group) == (prompt.set, prompt.group)]
        felt.append(prompt)
        some = own or like
        neutral.append(some[zlib.crc32(prompt.id.encode()) % len(some)])
        keys.append(list(place.tokens))
    return felt, neutral, keys


def ask_attention(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    label: str,
    *,
    compared: Sequence[str] = ("neutral",),
    draws: int = 0,
    seed: int = 0,
) -> Asked:
    """As :func:`average_attention`, with the difference of every head for labels shuffled within groups.

    No direction is involved, so what is shuffled are the labels of these sentences: in each group the emotional sentence and
    the neutral one it is compared with keep or change their labels, with them the sign of the group's difference.

    Args:
        model: as there.
        prompts: as there.
        label: as there.
        compared: as there.
        draws: shuffles.
        seed: of the bootstrap and of the shuffles; sentences of another split need another one.
    """
    felt, neutral, keys = _compared(model, prompts, label, compared)
    groups = [f"{p.set}\x1f{p.group}" for p in felt]
    if len(set(groups)) < _LEAST:
        raise EmotionCircuitsError(
            f"attention needs sentences of {label!r} with marked words from at least two groups with one of "
            f"{' or '.join(compared)} of the same token length"
        )
    pattern = last_token_attention(model, [p.text for p in (*felt, *neutral)])
    mass = torch.stack([pattern[i, :, :, at].sum(-1) for i, at in enumerate([*keys, *keys])]).flatten(1).numpy()
    emotion, other = mass[: len(felt)], mass[len(felt) :]
    found = paired_differences(emotion, other, clusters=groups, seed=seed)
    q = fdr([f.p for f in found], family=f"attention to {label} words: {len(found)} heads").q
    table = pd.DataFrame(
        {
            "layer": [i // model.n_heads for i in range(len(found))],
            "head": [i % model.n_heads for i in range(len(found))],
            "attention": emotion.mean(0),
            "neutral": other.mean(0),
            "difference": [f.estimate for f in found],
            "low": [f.low for f in found],
            "high": [f.high for f in found],
            "p": [f.p for f in found],
            "q": list(q.values()),
            "n": found[0].n,
            "excluded": sum(p.label == label and bool(p.spans) for p in prompts) - len(felt),
        }
    )
    by_group, _ = cluster_means(emotion - other, groups)
    flips = np.random.default_rng([seed, 1]).integers(0, 2, (draws, len(by_group))) * 2 - 1
    signs = np.concatenate([np.ones((1, len(by_group))), flips])
    return Asked(table, signs[:, :, None] * by_group)
