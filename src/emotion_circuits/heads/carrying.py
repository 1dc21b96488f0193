"""What a head or MLP carries to a value's direction: how far sentences of the value fall back when it is taken away.

The other way to ask which parts matter, beside minimal pairs: it needs no answer words and no two prompts of one length, so
that it can be asked in every language and of every attribute. A part is held at its mean over the tokens of neutral sentences,
everything behind it is run again, and what is measured is the state at the last token of the layer whose directions are read.
The effect is how much of the projection on the direction goes with it, sentences of the value against the neutral sentence of
the same scene. It counts what a part writes itself and what later parts make of it; what it adds alone is
:func:`emotion_circuits.directions.average_components`.

States are kept, not projections of one direction, so that two hundred directions of shuffled labels cost one product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.trace_questions import SPLITS
from emotion_circuits.directions.trace_selection import Asked, marked, through_selection
from emotion_circuits.directions.trace_sets import beside_others
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.heads.changes import ablation, mean_values, node_sites
from emotion_circuits.heads.nodes import Node, all_nodes
from emotion_circuits.heads.scanning import BaseRun, base_run, run_variants
from emotion_circuits.model import LanguageModel, Record, Site
from emotion_circuits.model.source import identity
from emotion_circuits.paths import hash_json
from emotion_circuits.prompts import Prompt
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.parts import Kept, Tensors, results
from emotion_circuits.statistics import fdr, paired_differences

__all__ = ["Carried", "carried_states", "carried_tables", "carriers", "neutral_means", "states_without"]


def carriers(model: LanguageModel, layer: int) -> list[Node]:
    """Heads and MLPs that the states of a layer rest on, in the order of the model."""
    return [node for node in all_nodes(model) if node.layer <= layer]


def neutral_means(model: LanguageModel, texts: Sequence[str], layer: int) -> dict[Site, Tensor]:
    """Mean output of every head and MLP up to a layer over the tokens of texts, their first tokens left out.

    Args:
        model: the model.
        texts: neutral sentences that nothing is measured on.
        layer: up to which.

    Raises:
        EmotionCircuitsError: no texts.
    """
    if not texts:
        raise EmotionCircuitsError("a mean needs at least one neutral sentence")
    sites = node_sites(carriers(model, layer))
    return mean_values(base_run(model, model.tokenize(list(texts)), sites), sites)


@torch.no_grad()
def states_without(
    model: LanguageModel,
    texts: Sequence[str],
    nodes: Sequence[Node],
    means: Mapping[Site, Tensor],
    layer: int,
    *,
    batch_rows: int = 256,
) -> Float[Tensor, "node text d_model"]:
    """How much the last token's state loses when a node is held at its mean: with it minus without it, float32.

    Args:
        model: the model.
        texts: sentences.
        nodes: each taken away alone.
        means: from :func:`neutral_means`.
        layer: where states are read, below no node.
        batch_rows: rows run at once.

    Raises:
        EmotionCircuitsError: states that are not finite.
    """
    base = base_run(model, model.tokenize(list(texts)), [Site("resid_post", layer)])
    return _lost(model, base, nodes, means, layer, batch_rows)


def _lost(
    model: LanguageModel,
    base: BaseRun,
    nodes: Sequence[Node],
    means: Mapping[Site, Tensor],
    layer: int,
    batch_rows: int,
) -> Tensor:
    site = Site("resid_post", layer)
    before = base.values[site][:, -1].float()

    def measure(logits: Tensor, record: Record) -> Tensor:
        lost: Tensor = before - record[site][:, -1].float().unflatten(0, logits.shape[:2])
        return lost

    variants = [ablation([node], "mean", means=dict(means)) for node in nodes]
    found: Tensor = run_variants(
        model, base, variants, measure, watch=[site], stop=layer + 1, batch_rows=batch_rows, title="taking parts away"
    ).cpu()
    if not bool(torch.isfinite(found).all()):
        raise EmotionCircuitsError(f"{model.name} gives NaN or infinity; load it with dtype='bfloat16' or 'float32'")
    return found


@dataclass(frozen=True, eq=False)
class Carried:
    """State differences of the sentences of one split.

    Attributes:
        prompts: the sentences.
        lost: ``[node, sentence, d_model]`` of :func:`states_without`.
        nodes: heads and MLPs, in the order of the model.
        layer: where the states were read.
    """

    prompts: tuple[Prompt, ...]
    lost: Float[Tensor, "node sentence d_model"]
    nodes: tuple[Node, ...]
    layer: int

    def ask(
        self,
        directions: DirectionSet,
        label: str,
        nulls: Float[Tensor, "null d_model"],
        *,
        slope: float = float("nan"),
        seed: int = 0,
    ) -> Asked:
        """What every part carries to a value's direction, and to directions that mean nothing.

        Args:
            directions: a fitted set at ``resid_post``.
            label: the value.
            nulls: directions fitted on shuffled labels, of any length.
            slope: log-odds of the value per residual norm of projection; NaN leaves that column empty.
            seed: of the bootstrap.

        Returns:
            A table ``component, layer, effect`` (mean on sentences of the value), ``neutral`` (on what it is compared with),
            ``difference`` (paired by group) with ``low, high, p, q`` (one family: all parts), ``log_odds`` (the difference in
            the reader's log-odds), ``null_low, null_high`` (95 % of the part's differences along ``nulls``), ``n``; in
            residual norms.

        Raises:
            EmotionCircuitsError: fewer than two groups have a sentence of the value and one it is compared with.
        """
        groups, own, other = self._sides(directions, label, nulls)
        found = paired_differences(own[0], other[0], clusters=groups, seed=seed)
        q = fdr([f.p for f in found], family=f"what carries {label}: {len(found)} parts").q
        by_group = own - other
        low, high = np.quantile(by_group[1:].mean(1), [0.025, 0.975], axis=0)
        table = pd.DataFrame(
            {
                "component": [str(node) for node in self.nodes],
                "layer": [node.layer for node in self.nodes],
                "effect": own[0].mean(0),
                "neutral": other[0].mean(0),
                "difference": [f.estimate for f in found],
                "low": [f.low for f in found],
                "high": [f.high for f in found],
                "p": [f.p for f in found],
                "q": list(q.values()),
                "log_odds": [f.estimate * slope for f in found],
                "null_low": low,
                "null_high": high,
                "n": len(groups),
            }
        )
        return Asked(table, by_group)

    def effects(self, directions: DirectionSet, label: str) -> tuple[tuple[str, ...], Float[np.ndarray, "group node"]]:
        """What every part carries to a value's direction, group by group: ``difference`` of :meth:`ask` before its mean.

        Args:
            directions: a fitted set at ``resid_post``.
            label: the value.

        Returns:
            The groups that have a sentence of the value and one it is compared with, and their effects, in residual norms.

        Raises:
            EmotionCircuitsError: fewer than two groups have both.
        """
        groups, own, other = self._sides(directions, label, self.lost.new_zeros(0, self.lost.shape[-1]))
        return tuple(groups), own[0] - other[0]

    def _sides(
        self, directions: DirectionSet, label: str, nulls: Float[Tensor, "null d_model"]
    ) -> tuple[list[str], Float[np.ndarray, "direction group node"], Float[np.ndarray, "direction group node"]]:
        """Projections of a value's sentences and of those it is compared with, by group; direction 0 is the real one."""
        beside = beside_others(self.prompts, label, directions.compared_with(label))
        place = {id(p): i for i, p in enumerate(self.prompts)}
        units = torch.cat([directions.unit(label, self.layer).double()[None], nulls.double()])
        units = (torch.nn.functional.normalize(units, dim=-1) / directions.norm(self.layer)).float()

        def projected(rows: Sequence[Prompt]) -> Float[np.ndarray, "direction row node"]:
            some = self.lost[:, [place[id(p)] for p in rows]]
            found: np.ndarray = (some @ units.T).permute(2, 1, 0).double().numpy()
            return found

        own = projected(beside.felt)
        other = np.moveaxis(beside.by_group(np.moveaxis(projected(beside.others), 1, -1)), -1, 1)
        return beside.groups, own, other


def carried_states(
    model: LanguageModel,
    sentences: Mapping[str, Sequence[Prompt]],
    neutral: Sequence[str],
    layer: int,
    *,
    batch_rows: int = 256,
    folder: Path | None = None,
    engine: Engine | None = None,
) -> dict[str, Carried]:
    """Take every head and MLP up to a layer away from the sentences of every split.

    Args:
        model: the model.
        sentences: by split.
        neutral: sentences for the means, on which nothing is measured.
        layer: where states are read.
        batch_rows: rows run at once.
        folder: where parts are kept, so that what was interrupted goes on; the caller removes it. ``None``: nothing is kept.
        engine: where parts are computed; in this process by default.

    Raises:
        EmotionCircuitsError: no neutral sentence, states that are not finite, or another process at work in the folder.
    """
    texts = {split: tuple(p.text for p in rows) for split, rows in sentences.items()}
    work = {
        "format": 1,
        **identity(model),
        "sentences": {split: hash_json(list(rows)) for split, rows in texts.items()},
        "neutral": hash_json(list(neutral)),
        "layer": layer,
        "batch_rows": batch_rows,
    }
    tasks = [[split, at] for split in texts for at in range(layer + 1)]
    compute = Compute(_without, _Taking(texts, tuple(neutral), layer, batch_rows), model, prepare=_ground)
    parts = results(folder, work, tasks, compute, Kept("carried", Tensors()), engine=engine, title="taking parts away")
    found = {}
    for split, rows in sentences.items():
        lost = torch.cat([part["lost"] for part, (own, _) in zip(parts, tasks, strict=True) if own == split])
        found[split] = Carried(tuple(rows), lost, tuple(carriers(model, layer)), layer)
    return found


@dataclass(frozen=True, eq=False)
class _Taking:
    """What parts are taken away from."""

    texts: dict[str, tuple[str, ...]]
    neutral: tuple[str, ...]
    layer: int
    batch_rows: int


@dataclass(frozen=True, eq=False)
class _Ground:
    """The runs that are changed, and what a part is held at."""

    taking: _Taking
    means: dict[Site, Tensor]
    bases: dict[str, BaseRun]


@torch.no_grad()
def _ground(model: LanguageModel, of: _Taking) -> _Ground:
    site = Site("resid_post", of.layer)
    bases = {split: base_run(model, model.tokenize(list(rows)), [site]) for split, rows in of.texts.items()}
    return _Ground(of, neutral_means(model, of.neutral, of.layer), bases)


def _without(model: LanguageModel, of: _Ground, task: Sequence[Any]) -> dict[str, Tensor]:
    (split, at), layer = task, of.taking.layer
    nodes = [node for node in carriers(model, layer) if node.layer == at]
    return {"lost": _lost(model, of.bases[split], nodes, of.means, layer, of.taking.batch_rows)}


def carried_tables(
    states: Mapping[str, Carried],
    directions: DirectionSet,
    nulls: Float[Tensor, "null label d_model"],
    *,
    slopes: Mapping[str, float] | None = None,
    top: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Every part's effect for every value on both splits, and which are chosen on validation.

    Args:
        states: of ``validation`` and ``test`` (:func:`carried_states`).
        directions: a fitted set at ``resid_post``.
        nulls: directions fitted on shuffled labels, in the order of the labels.
        slopes: value → log-odds per residual norm.
        top: how many parts each direction chooses.
        seed: of the bootstrap.

    Returns:
        The rows of :meth:`Carried.ask` with those of :func:`~emotion_circuits.directions.trace_selection.marked`, and
        ``emotion`` and ``split``.
    """
    tables = []
    for label in directions.labels:
        own = nulls[:, directions.row(label)]
        slope = float("nan") if slopes is None else slopes[label]
        asked = {split: states[split].ask(directions, label, own, slope=slope, seed=seed) for split in SPLITS}
        selected = through_selection(*(asked[split].figures for split in SPLITS), top=top, two_sided=True)
        tables += [
            marked(asked[split], selected, test=split == "test").assign(emotion=label, split=split) for split in SPLITS
        ]
    return pd.concat(tables, ignore_index=True)
