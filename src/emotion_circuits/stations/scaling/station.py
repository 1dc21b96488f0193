"""Compare models on what each run has measured, and on the sentences that all have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.directions.separating import Separation, differences, separations, trend
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.reading import read_finished
from emotion_circuits.record.station import Context
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.scaling.folder import ScalingFolder
from emotion_circuits.stations.scaling.settings import ScalingSettings
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.transfer.station import labelled
from emotion_circuits.statistics import About, Draft, corrected, draft, holding

__all__ = ["inputs", "run"]

_READ = (
    "set", "accuracy", "low", "high", "words_alone", "difference", "difference_low", "difference_high", "groups",
)  # fmt: skip


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the captures and the seed."""
    return {
        "scaling": context.config.of(ScalingSettings).model_dump(mode="json"),
        "captures": [CaptureFolder.of(run).store().manifest["hash"] for run in context.runs],
        "seed": context.config.seed,
    }


def run(context: Context, folder: ScalingFolder) -> None:
    """Separation anew on shared scenes; reading and steering from what the runs hold."""
    own, seed = context.config.of(ScalingSettings), context.config.seed
    about = [read_finished(run)["model"] for run in context.runs]
    names = [str(model["name"]) for model in about]
    if len(context.runs) < 2 or len(set(names)) < len(names):
        raise EmotionCircuitsError(f"scaling compares two or more models; these runs are of {', '.join(names)}")
    sizes = [float(model.get("parameters") or np.nan) for model in about]
    sets = [
        labelled(run, pooling=own.pooling, corpora=own.corpora, name=name)
        for run, name in zip(context.runs, names, strict=True)
    ]
    found = separations(sets, axes=own.axes, resamples=own.resamples, seed=seed)
    shared = set.intersection(*(set(s.ids[s.at("test")]) for s in sets))
    scenes = len({g for i, g in zip(sets[0].ids, sets[0].groups, strict=True) if i in shared})
    folder.models.write(
        pd.DataFrame(
            [
                {
                    "model": s.name, "parameters": size, "layer": s.layer, "depth": s.depth, "axes": s.axes,
                    "auroc": s.auroc, "low": s.interval[0], "high": s.interval[1], "gain": s.gain,
                    "gain_low": s.gain_interval[0], "gain_high": s.gain_interval[1], "d_prime": s.d_prime,
                    "ceiling": s.ceiling, "scenes": scenes,
                }
                for s, size in zip(found, sizes, strict=True)
            ]
        )
    )  # fmt: skip
    folder.by_depth.write(
        pd.concat(
            [
                pd.DataFrame({"model": s.name, "depth": np.linspace(0, 1, len(s.curve)), "auroc": s.curve})
                for s in found
            ],
            ignore_index=True,
        )
    )
    apart = differences(found, scenes)
    folder.differences.write(apart)
    folder.reading.write(
        pd.concat([_reading(r, n) for r, n in zip(context.runs, names, strict=True)], ignore_index=True)
    )
    steered = pd.concat(
        [_steered(r, n, own.ratio) for r, n in zip(context.runs, names, strict=True)], ignore_index=True
    )
    if len(steered):
        folder.steering.write(steered)
    drafts = [_difference(row, scenes) for row in apart.to_dict("records")]
    folder.write_claims(corrected([*drafts, *_trends(found, about, sizes, scenes)]))


def _reading(run: Path, name: str) -> pd.DataFrame:
    table = DirectionsFolder.of(run).reader.read()
    return table[table["split"] == "test"][list(_READ)].assign(model=name)


def _steered(run: Path, name: str, ratio: float) -> pd.DataFrame:
    """The largest effect that a perplexity ratio pays for, of all places and strengths that the run has tried."""
    folder = SteeringFolder.of(run)
    if not folder.grid.exists():
        return pd.DataFrame()
    grid = folder.grid.read()
    grid = grid[(grid["kind"] == "emotion") & (grid["units"] == "norm")]
    rows = []
    for value, part in grid.groupby("emotion", sort=False):
        within = part[(part["ratio"] <= ratio) & (part["n"] == part["n"].max())]
        best = within.loc[within["change"].idxmax()] if len(within) else None
        rows.append(
            {
                "model": name, "value": str(value), "ratio": ratio,
                "change": float("nan") if best is None else float(best["change"]),
                "at": "" if best is None else str(best["condition"]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _difference(row: dict[Any, Any], scenes: int) -> Draft:
    interval = holding(row["difference"], row["low"], row["high"])
    tested: dict[str, Any] = {"interval": interval, "p": row["p"]}
    if interval[0] == interval[1]:
        # Both models tell values best at their first layer: there is no gain of which anything could be said.
        tested = {}
    return draft(
        f"scaling.difference.{row['first']}.{row['second']}", "scaling.difference",
        About(model=str(row["second"]), arm=str(row["first"])), family="scaling.difference", estimate=row["difference"],
        n=scenes, **tested, side="different", smallest=0.02,
    )  # fmt: skip


def _trends(
    found: Sequence[Separation], about: Sequence[dict[str, Any]], sizes: Sequence[float], scenes: int
) -> list[Draft]:
    """Of families with at least four sizes; fewer show differences, no trend."""
    drafts = []
    for family in dict.fromkeys(_family(model) for model in about):
        at = [i for i, model in enumerate(about) if _family(model) == family and np.isfinite(sizes[i])]
        if len({sizes[i] for i in at}) < 4:
            continue
        slope = trend([found[i] for i in at], [sizes[i] for i in at], scenes)
        drafts.append(
            draft(
                f"scaling.trend.{family}", "scaling.trend", About(model=family), family="scaling.trend",
                estimate=slope["slope"],
                interval=holding(slope["slope"], slope["low"], slope["high"]), p=slope["p"], n=scenes,
                side="different", smallest=0.01,
            )
        )  # fmt: skip
    return drafts


def _family(model: dict[str, Any]) -> str:
    """A model's name without what says its size: sizes of one name are one family, trained alike."""
    import re

    plain = re.sub(r"(?i)[-_. ]?\d+(\.\d+)?[mb]\b", "", str(model["name"]).rpartition("/")[2])
    return plain or str(model["family"])
