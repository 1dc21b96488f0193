"""From the station's tables to its claims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.stations.tuning.settings import standing
from emotion_circuits.statistics import About, Claim, Draft, draft

__all__ = ["SMALLEST", "tuning_claims"]

SMALLEST = 0.1
"""Of a change of the judge's probability, as in steering; of answers to harmful requests, nats per token."""


def tuning_claims(folder: TuningFolder, *, value: str, model: str, layer: int, trusted: Claim | None) -> list[Draft]:
    """What each method does at strength 1, at equal cost, together, inside, and to harmful requests.

    Args:
        folder: with its tables.
        value: that is compared.
        model: its name.
        layer: at which the run steers.
        trusted: the claim that the judge is to be trusted, on which what it finds rests.
    """
    shared = {"value": value, "model": model}
    found = [*_effects(folder, shared, trusted), *_equal(folder, shared, trusted), *_added(folder, shared)]
    if folder.shift.exists():
        found += _inside(folder, shared, layer)
    if folder.less.exists():
        found += _less(folder, shared, trusted)
    return [*found, *_harm(folder, shared)]


def _less(folder: TuningFolder, shared: Mapping[str, Any], trusted: Claim | None) -> Iterator[Draft]:
    for row in folder.less.read().to_dict("records"):
        beside = {key: float(row[key]) for key in ("asked", "plain", "ratio", "kl", "astray_change")}
        known = ("gone", "harm", "harm_random_low", "harm_random_high")
        beside |= {key: float(row[key]) for key in known if np.isfinite(row[key])}
        pushes = bool(np.isfinite(row["p_random"]))
        beside |= _ranked(row, sign=-1) if pushes else {}
        yield draft(
            f"tuning.less.{row['method']}", "tuning.less", About(**shared, method=row["method"], metric="probability"),
            family="tuning.less", estimate=row["change"], interval=(row["low"], row["high"]), chance=0.0, p=row["p"],
            null=_less_null(row) if pushes else None, n=int(row["n"]), side="less", smallest=SMALLEST, given=trusted,
            beside=beside,
        )  # fmt: skip


def _less_null(row: Mapping[Any, Any]) -> tuple[float, float]:
    """As :func:`_null`; what is taken away stands in the table as what is meant."""
    low, high = _null(row)
    return -high, -low


def _ranked(row: Mapping[Any, Any], *, sign: int = 1) -> dict[str, float]:
    """What is ranked among directions of nothing: a change on the openings that those wrote on, and how many they are."""
    return {"ranked": sign * float(row["change_ranked"]), "ranked_n": float(row["n_ranked"])}


def _effects(folder: TuningFolder, shared: Mapping[str, Any], trusted: Claim | None) -> Iterator[Draft]:
    table = folder.arms.read()
    given = table.groupby("method")["strength"].agg(list)
    for row in table.to_dict("records"):
        if row["strength"] != standing(row["method"], given[row["method"]]):
            continue
        yield draft(
            f"tuning.effect.{row['method']}", "tuning.effect",
            About(**shared, method=row["method"], metric="probability", condition=row["condition"]), family="tuning.effect",
            estimate=row["change"], interval=(row["low"], row["high"]), chance=0.0, p=row["p_change"], n=int(row["n"]),
            side="greater", smallest=SMALLEST, given=trusted,
            beside={key: float(row[key]) for key in ("ratio", "kl", "astray_change", "share", "base_share")},
        )  # fmt: skip


def _equal(folder: TuningFolder, shared: Mapping[str, Any], trusted: Claim | None) -> Iterator[Draft]:
    table = folder.equal.read()
    steering = table[table["method"] == "steering"]
    for row in table.to_dict("records"):
        if np.isfinite(row["difference"]):
            yield draft(
                f"tuning.equal.{row['method']}", "tuning.equal", About(**shared, method=row["method"], metric="probability"),
                family="tuning.equal", estimate=row["difference"], interval=(row["difference_low"], row["difference_high"]),
                chance=0.0, p=row["p"], n=int(row["n"]), side="different", smallest=SMALLEST, given=trusted,
                beside={
                    "ratio": float(row["ratio"]), "effect": float(row["effect"]), "steering": float(steering["effect"].iloc[0]),
                    "reached": float(row["reached_share"]), "steering_reached": float(steering["reached_share"].iloc[0]),
                },
            )  # fmt: skip


def _added(folder: TuningFolder, shared: Mapping[str, Any]) -> Iterator[Draft]:
    for row in folder.additive.read().to_dict("records"):
        yield draft(
            f"tuning.additive.{row['method'].replace('+', '.')}", "tuning.additive",
            About(**shared, method=row["method"], metric="probability"), family="tuning.additive", estimate=row["difference"],
            interval=(row["low"], row["high"]), chance=0.0, p=row["p"], n=int(row["n"]), side="different", smallest=SMALLEST,
            beside={key: float(row[key]) for key in ("together", "first", "second")},
        )  # fmt: skip


def _inside(folder: TuningFolder, shared: Mapping[str, Any], layer: int) -> Iterator[Draft]:
    own = folder.shift.read()
    at = own[own["layer"] == layer]
    row = at[at["value"] == shared["value"]].iloc[0].to_dict()
    others = at[at["value"] != shared["value"]]["share"]
    effect = f"tuning.effect.{row['method']}"
    yield draft(
        f"tuning.along.{row['method']}", "tuning.along", About(**shared, method=row["method"], layer=layer),
        family="tuning.inside", estimate=row["share"], interval=(row["low"], row["high"]), chance=row["chance"],
        null=_null(row), p=row["p"], n=int(row["n"]), side="greater",
        beside={
            "cosine": float(row["cosine"]), "length": float(row["length"]),
            **({"other": float(others.max())} if len(others) else {}),
        },
    )  # fmt: skip
    for row in folder.inside.read().to_dict("records"):
        beside = {"ratio": float(row["ratio"]), **_ranked(row)}
        if np.isfinite(row["share"]):
            beside["share"] = float(row["share"])
        yield draft(
            f"tuning.{row['what']}.{row['method']}", f"tuning.{row['what']}",
            About(**shared, method=row["method"], metric="probability"), family="tuning.inside", estimate=row["change"],
            interval=(row["low"], row["high"]), chance=0.0, null=_null(row), p=row["p"], n=int(row["n"]), side="greater",
            smallest=SMALLEST, given=effect if row["what"] == "removal" else None, beside=beside,
        )  # fmt: skip


def _null(row: Mapping[Any, Any]) -> tuple[float, float]:
    """Where directions of nothing lie, of both kinds."""
    return min(row["random_low"], row["shuffled_low"]), max(row["random_high"], row["shuffled_high"])


def _harm(folder: TuningFolder, shared: Mapping[str, Any]) -> Iterator[Draft]:
    for row in folder.harm.read().to_dict("records"):
        told = [key for key in ("margin", "base", "random_low", "random_high") if np.isfinite(row.get(key, np.nan))]
        yield draft(
            f"tuning.harm.{row['method'].replace('+', '.').replace(' ', '.')}", "tuning.harm",
            About(**shared, method=row["method"]), family="tuning.harm", estimate=row["change"],
            interval=(row["low"], row["high"]), chance=0.0, p=row["p"], n=int(row["n"]), side="greater", smallest=SMALLEST,
            beside={key: float(row[key]) for key in told},
        )  # fmt: skip
