"""Every layer's vectors of the values beside people's ratings, and the model's static embeddings beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.activations import ActivationStore, group_numbers
from emotion_circuits.directions.baseline import static_embeddings
from emotion_circuits.directions.value_map import Aligned, Placed, distances, map_of, principal_axes
from emotion_circuits.paths import hash_json
from emotion_circuits.progress import progress_bar
from emotion_circuits.record.station import Context
from emotion_circuits.record.studied import Studied
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.capture.station import study_prompts
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.map.claims import map_drafts
from emotion_circuits.stations.map.folder import Choice, MapFolder
from emotion_circuits.stations.map.settings import MapSettings, coordinates_of
from emotion_circuits.statistics import corrected

__all__ = ["inputs", "run"]

STATIC = -1
"""Layer under which the static embeddings stand."""


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the ratings, the values and the seed."""
    return {
        "map": context.config.of(MapSettings).model_dump(mode="json"),
        "coordinates": hash_json(coordinates_of(context.about).model_dump(mode="json")),
        "values": list(context.about.values),
        "seed": context.config.seed,
    }


def run(context: Context, folder: MapFolder) -> None:
    """Lay out every layer, and the static embeddings; draw the layer that reads best on validation sentences."""
    own, about, seed = context.config.of(MapSettings), context.about, context.config.seed
    store, known = context.of(CaptureFolder).store(), coordinates_of(about)
    ratings = known.among(about.values)
    texts = {p.id: p.text for p in study_prompts(context.config)}
    chosen = context.of(DirectionsFolder).choice.read().layer
    tables, aligned, static = [], list[Aligned](), list[Aligned]()
    with progress_bar("laying out values", len(store.layers) + 1) as bar:
        for layer in (STATIC, *store.layers):
            if layer == STATIC:
                states = static_embeddings(context.model, [texts[i] for i in store.rows["id"]])
            else:
                states = store.pooled("resid_post", own.pooling, layer).double().numpy()
            placed = _placed(store, states, about)
            found, null, ceiling = map_of(placed, ratings, draws=own.draws, shuffles=own.shuffles, seed=seed)
            tables.append(_rows(layer, found, null, ceiling))
            if layer == STATIC:
                static = found
            if layer == chosen:
                aligned = found
                _drawn(folder, placed, store.sinks.median("resid_post", layer), ratings)
            bar.advance()
    layers = pd.concat(tables, ignore_index=True)
    folder.layers.write(layers)
    folder.choice.write(Choice(layer=chosen, source=known.source, licence=known.licence))
    folder.write_claims(corrected(map_drafts(layers, chosen, aligned, static, seed=seed)))


def _placed(store: ActivationStore, states: np.ndarray, about: Studied) -> Placed:
    rows = store.rows
    kept = rows["split"].isin(["train", "test"]).to_numpy() & np.isfinite(states).all(1)
    return Placed(
        states=states[kept],
        labels=rows["label"].to_numpy()[kept].astype(str),
        groups=group_numbers(rows).numpy()[kept],
        train=(rows["split"] == "train").to_numpy()[kept],
        values=about.values,
        reference=about.reference,
    )


def _rows(layer: int, found: list[Aligned], null: pd.DataFrame, ceiling: float) -> pd.DataFrame:
    ends = null.set_index("dimension")
    return pd.DataFrame(
        [
            {
                "layer": layer, "dimension": a.dimension, "axis": a.axis, "r": a.r, "low": a.low, "high": a.high, "p": a.p,
                "null_low": float(ends["low"][a.dimension]), "null_high": float(ends["high"][a.dimension]),
                "ceiling": ceiling, "n": len(a.values),
            }
            for a in found
        ]
    )  # fmt: skip


def _drawn(folder: MapFolder, placed: Placed, norm: float, ratings: Mapping[str, Mapping[str, float]]) -> None:
    train, test = placed.vectors()
    first, second = ((test - train.mean(0)) @ principal_axes(train, 2).T / norm).T
    said = {f"rated_{d}": [known.get(v, float("nan")) for v in placed.values] for d, known in ratings.items()}
    folder.places.write(pd.DataFrame({"emotion": list(placed.values), "first": first, "second": second, **said}))
    apart, names = distances(test), placed.values
    folder.distances.write(
        pd.DataFrame(
            [
                {"a": names[i], "b": names[j], "distance": float(apart[i, j])}
                for i in range(len(names))
                for j in range(i + 1, len(names))
            ]
        )
    )
