"""Every extractor beside every other: what each reaches on held-out sentences at the layer it chose on validation."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions.baseline import WordLabels, words_of
from emotion_circuits.directions.direction_set import DirectionSet
from emotion_circuits.directions.evaluating import choose_layer, held_out_report
from emotion_circuits.directions.geometry import norms_by_layer, split_half_stability
from emotion_circuits.paths import hash_json
from emotion_circuits.record.engines import Compute, Engine
from emotion_circuits.record.parts import Kept, Tables, results

__all__ = ["compare_extractors"]


def compare_extractors(
    store: ActivationStore,
    directions: Sequence[DirectionSet],
    table: pd.DataFrame,
    *,
    split: str = "test",
    null_draws: int = 20,
    seed: int = 0,
    folder: Path | None = None,
    engine: Engine | None = None,
    words: Sequence[WordLabels] | None = None,
) -> pd.DataFrame:
    """Held-out figures of every direction set at its own best layer, beside words, nulls and stability.

    Args:
        store: the capture they were fitted on.
        directions: fitted sets.
        table: from :func:`~.evaluating.evaluate_directions`, with validation rows; the layer is chosen on them.
        split: reported on.
        null_draws: label shuffles and random directions beside each.
        seed: of nulls and intervals.
        folder: where the rows of every set are kept, so that a comparison that was interrupted goes on; the caller removes it
            once the whole table is written. ``None``: nothing is kept.
        engine: where sets are measured; in this process by default.
        words: tuned baselines of words, :func:`~.baseline.words_of`; n-grams by default.

    Returns:
        The columns of :func:`~.evaluating.held_out_report` (one row per set and corpus), ``validation`` (mean accuracy over
        corpora at that layer), ``relative_norm`` (mean over emotions, in residual norms), ``stability`` (cosine between
        directions of two disjoint halves, mean over emotions and halvings) with its ``stability_chance`` (1/√d).

    Raises:
        EmotionCircuitsError: another process is working on this comparison in the folder.
    """
    work = {
        "format": 2,
        "capture": store.manifest["hash"],
        "directions": [d.sha256() for d in directions],
        "table": hashlib.sha256(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes()).hexdigest(),
        "split": split,
        "null_draws": null_draws,
        "seed": seed,
        "words": None if words is None else [hash_json([w.name, *w.labels.tolist()]) for w in words],
    }
    given = None if words is None else tuple(words)
    of = _Compared(store, tuple(directions), table, split, null_draws, seed, given)
    compute = Compute(_row, of, prepare=_with_words)
    kept = Kept("comparison of extractors", Tables())
    tasks = [[index, d.name] for index, d in enumerate(directions)]
    rows = results(folder, work, tasks, compute, kept, engine=engine, title="comparing extractors")
    return pd.concat(rows, ignore_index=True)


@dataclass(frozen=True, eq=False)
class _Compared:
    """What is compared, and how."""

    store: ActivationStore
    directions: tuple[DirectionSet, ...]
    table: pd.DataFrame
    split: str
    null_draws: int
    seed: int
    words: tuple[WordLabels, ...] | None


Words = dict[tuple[str, ...], tuple[WordLabels, ...]]
"""Baselines of words, per corpora and labels that they were fitted on."""


def _key(d: DirectionSet) -> tuple[str, ...]:
    return (*d.fit.get("sets", ()), *d.names)


def _with_words(_model: None, of: _Compared) -> tuple[_Compared, Words]:
    words: Words = {}
    for d in of.directions:
        if _key(d) not in words:
            words[_key(d)] = of.words or words_of(of.store, names=d.names, sets=d.fit.get("sets"))
    return of, words


def _row(_model: None, ground: tuple[_Compared, Words], task: tuple[int, str]) -> pd.DataFrame:
    """The rows of one set, one per corpus."""
    of, words = ground
    d, store, table = of.directions[task[0]], of.store, of.table
    layer = choose_layer(table, extractor=d.extractor, pooling=d.pooling, kind=d.kind)
    report = held_out_report(
        store, d, layer, split=of.split, null_draws=of.null_draws, seed=of.seed, words=words[_key(d)]
    )
    stable = split_half_stability(store, d, layers=[layer], splits=5, seed=of.seed)
    lengths = norms_by_layer(d).query("layer == @layer")
    own = table.query(
        "extractor == @d.extractor and pooling == @d.pooling and kind == @d.kind and layer == @layer "
        "and split == 'validation'"
    )
    return report.assign(
        kind=d.kind,
        validation=float(own["accuracy"].mean()),
        relative_norm=float(lengths["relative"].mean()),
        stability=float(stable["cosine"].mean()),
        stability_chance=float(stable["chance"].iloc[0]),
    )
