"""Every extractor beside every other: what each reaches on held-out sentences at the layer it chose on validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions.baseline import bag_of_words_by_set
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.evaluating import choose_layer, held_out_report
from emotion_circuits.directions.fitting import rows_of
from emotion_circuits.directions.geometry import norms_by_layer, split_half_stability
from emotion_circuits.progress import progress_bar

__all__ = ["compare_extractors"]


def compare_extractors(
    store: ActivationStore,
    directions: Sequence[DirectionSet],
    table: pd.DataFrame,
    *,
    split: str = "test",
    null_draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Held-out figures of every direction set at its own best layer, beside words, nulls and stability.

    Args:
        store: the capture they were fitted on.
        directions: fitted sets.
        table: from :func:`~.evaluating.evaluate_directions`, with validation rows; the layer is chosen on them.
        split: reported on.
        null_draws: label shuffles and random directions beside each.
        seed: of nulls and intervals.

    Returns:
        The columns of :func:`~.evaluating.held_out_report` (one row per set and corpus), ``validation`` (mean accuracy over
        corpora at that layer), ``relative_norm`` (mean over emotions, in residual norms), ``stability`` (cosine between
        directions of two disjoint halves, mean over emotions and halvings) with its ``stability_chance`` (1/√d).
    """
    parts = []
    words: dict[tuple[str, ...], np.ndarray] = {}
    with progress_bar("comparing extractors", len(directions)) as bar:
        for d in directions:
            layer = choose_layer(table, extractor=d.extractor, pooling=d.pooling, kind=d.kind)
            key = (*d.fit.get("sets", ()), *d.names)
            if key not in words:
                train = rows_of(store, "train", d.fit.get("sets"), d.names).to_numpy()
                words[key] = bag_of_words_by_set(store.rows, train)
            report = held_out_report(store, d, layer, split=split, null_draws=null_draws, seed=seed, words=words[key])
            stable = split_half_stability(store, d, layers=[layer], splits=5, seed=seed)
            lengths = norms_by_layer(d).query("layer == @layer")
            own = table.query(
                "extractor == @d.extractor and pooling == @d.pooling and kind == @d.kind and layer == @layer "
                "and split == 'validation'"
            )
            parts.append(
                report.assign(
                    kind=d.kind,
                    validation=float(own["accuracy"].mean()),
                    relative_norm=float(lengths["relative"].mean()),
                    stability=float(stable["cosine"].mean()),
                    stability_chance=float(stable["chance"].iloc[0]),
                )
            )
            bar.advance()
    return pd.concat(parts, ignore_index=True)
