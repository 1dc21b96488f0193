"""The station's claims where labels mean nothing: how often would it be wrong?

Labels are shuffled within groups, on every split, and everything after the capture is done again: directions of every
kind, the choice of layer, set and reader, the baselines of words, the claims. What groups share (topic, people, length)
stays as it is. With states that tell the shuffled labels the same program shows how often it finds what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.activations import ActivationStore, group_numbers
from emotion_circuits.directions import (
    choose_directions,
    choose_layer,
    cosines_by_layer,
    evaluate_directions,
    fit_extractors,
    fit_reader,
    held_out_report,
    reader_report,
    words_of,
)
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.claims import cosine_claims, reading_claims
from emotion_circuits.stations.directions.folder import set_name
from emotion_circuits.stations.directions.settings import possible_settings
from emotion_circuits.statistics import Claim, corrected

__all__ = ["PLANTED", "PlantedStates", "planted_claims", "shuffled_claims", "shuffled_within_groups"]

PLANTED = 0.1
"""Length of what is planted, as a share of the layer's median token norm."""


def shuffled_within_groups(rows: pd.DataFrame, draw: int) -> list[str]:
    """Labels of a capture's rows, permuted within each group of sentences.

    Args:
        rows: of the capture.
        draw: number of the shuffle; the same number gives the same labels.
    """
    groups, rng = group_numbers(rows).numpy(), np.random.default_rng([8191, draw])
    labels = rows["label"].to_numpy(dtype=object)
    found = labels.copy()
    found[np.argsort(groups, kind="stable")] = labels[np.lexsort((rng.random(len(labels)), groups))]
    return [str(label) for label in found]


def shuffled_claims(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    """What the station claims after each of some shuffles.

    Args:
        context: of a finished run.
        draws: numbers of the shuffles.
    """
    return [_claims(context, _shuffled(context, draw)) for draw in draws]


def planted_claims(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    """The same where states do tell the shuffled labels (:class:`PlantedStates`), claims on reading alone.

    Args:
        context: of a finished run.
        draws: numbers of the shuffles.
    """
    found = []
    for draw in draws:
        store = PlantedStates.of(_shuffled(context, draw), context.about.values, seed=draw)
        found.append([claim for claim in _claims(context, store) if claim.kind != "directions.cosine"])
    return found


class PlantedStates(ActivationStore):
    """Captured states with a direction of its own added to those of each label: what words cannot tell, states can.

    The directions are random, one per label and layer, at right angles to nothing in particular and as long as
    ``strength`` median token norms.
    """

    directions: dict[str, Float[Tensor, "layer d_model"]]

    @classmethod
    def of(
        cls, store: ActivationStore, labels: Sequence[str], *, strength: float = PLANTED, seed: int = 0
    ) -> PlantedStates:
        """The states of a store with directions planted.

        Args:
            store: with the labels that are to be told.
            labels: those with a direction.
            strength: length of the directions, in median token norms of the layer.
            seed: of the directions.
        """
        found = cls(store.folder, store.manifest, store.rows)
        drawn = torch.Generator().manual_seed(seed)
        found.directions = {
            label: strength
            * torch.nn.functional.normalize(torch.randn(len(store.layers), store.d_model, generator=drawn), dim=-1)
            for label in labels
        }
        return found

    def pooled(self, kind: str, pooling: str, layer: int) -> Float[Tensor, "row d_model"]:
        """As :meth:`ActivationStore.pooled`, each state moved along its label's direction."""
        states = super().pooled(kind, pooling, layer).clone()
        length, place = self.sinks.median(kind, layer), self.layers.index(layer)
        for label, rows in self.directions.items():
            states[self.mask(label=label)] += (length * rows[place]).to(states.dtype)
        return states


def _shuffled(context: Context, draw: int) -> ActivationStore:
    store = context.of(CaptureFolder).store()
    return store.relabelled(shuffled_within_groups(store.rows, draw))


def _claims(context: Context, store: ActivationStore) -> list[Claim]:
    config, about, seed = possible_settings(context.config), context.about, context.config.seed
    of: dict[str, Any] = {"labels": about.values, "reference": about.reference}
    words = words_of(store, names=about.labels, model=context.model)
    fitted = [
        directions
        for pooling in config.poolings
        for directions in fit_extractors(
            store, [e for e, p in config.pairs() if p == pooling], pooling=pooling, kind="resid_post", **of
        )
    ]
    reader = fit_reader(store, extractors=config.reading, poolings=config.poolings, fitted=fitted, **of)
    claims = reading_claims(reader_report(store, reader, seed=seed, words=words), kind="directions.reading")
    validated = evaluate_directions(store, fitted, splits=("validation",), words=words)
    single = choose_directions(validated, fitted)
    assert single.chosen_layer is not None
    # Nulls stand beside the figures and decide nothing here.
    best = held_out_report(store, single, single.chosen_layer, null_draws=2, seed=seed, words=words)
    claims += reading_claims(best, kind="directions.single", method=single.name)

    steering = next(d for d in fitted if d.name == set_name(config.steering))
    layer = choose_layer(validated, extractor=steering.extractor, pooling=steering.pooling, kind=steering.kind)
    cosines = cosines_by_layer(store, steering, layers=[layer], seed=seed)
    groups = int(store.rows[store.rows["split"] == "train"].groupby(["set", "group"]).ngroups)
    return corrected([*claims, *cosine_claims(cosines, layer=layer, groups=groups)])
