"""The report on test prompts: effects paired by prompt, against no steering and against 20 random directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, intervene
from emotion_circuits.statistics import Claim, bootstrap_mean_intervals, fdr, judge, paired_difference
from emotion_circuits.steering.conditions import Condition
from emotion_circuits.steering.injecting import layer_interventions
from emotion_circuits.steering.scoring import _aligned, per_prompt
from emotion_circuits.steering.vectors import SteeringVectors

__all__ = ["VADER_SIDE", "Effects", "dose_response", "effect_matrix", "effects", "plain_loss", "steering_claims"]

VADER_SIDE = {"gratitude": 1, "anger": -1, "apology": -1}
"""Which way each emotion should move VADER; its lexicon holds the words of apology as negative ones."""

_LABELS = ("gratitude", "anger", "apology", "neutral")


@dataclass(frozen=True, eq=False)
class Effects:
    """What steering did on the test prompts.

    Attributes:
        table: one row per emotion and metric: ``treated control change low high p q dz wrong_way n``; ``null_low
            null_high`` (range of the random directions' changes), ``best_random`` (the largest in the intended
            direction) and its change, ``beats_low beats_high`` (interval of chosen minus best random), ``p_beats``;
            ``ratio ratio_low ratio_high``.
        family: the declared family of the correction.
    """

    table: pd.DataFrame
    family: str


def _metrics(scored: pd.DataFrame, emotion: str) -> list[tuple[str, str, int]]:
    found = []
    if "emotion_label" in scored:
        found += [("share", "hit", 1), ("probability", f"p_{emotion}", 1)]
    if "vader" in scored and emotion in VADER_SIDE:
        found.append(("vader", "vader", VADER_SIDE[emotion]))
    if f"n_{emotion}" in scored:
        found.append(("keywords", f"n_{emotion}", 1))
    return found


def effects(
    scored: pd.DataFrame,
    chosen: Mapping[str, str],
    *,
    base: str = "none",
    split: str = "test",
    resamples: int = 10_000,
    seed: int = 0,
) -> Effects:
    """Each chosen condition against the base and against its random directions.

    Args:
        scored: a scored sweep that holds the base, the chosen conditions and their :func:`controls`.
        chosen: emotion → name of the condition chosen on validation.
        base: the unsteered condition.
        split: the only split the sweep may hold.
        resamples: of bootstrap and permutation.
        seed: of bootstrap and permutation.

    Raises:
        EmotionCircuitsError: rows of another split, or a missing condition.
    """
    other = sorted(set(scored["split"]) - {split})
    if other:
        raise EmotionCircuitsError(
            f"effects are reported on the {split} split; the sweep holds rows of {', '.join(other)}"
        )
    rows: list[dict[str, Any]] = []
    for emotion, name in chosen.items():
        marked = (
            scored.assign(hit=(scored["emotion_label"] == emotion).astype(float))
            if "emotion_label" in scored
            else scored
        )
        own = marked[marked["condition"] == name]
        if own.empty:
            raise EmotionCircuitsError(f"the sweep holds no condition named {name!r}")
        # Random directions at the same layers and strength; those without an emotion are shared by all that match.
        matched = marked[
            (marked["kind"] == "random")
            & marked["emotion"].isin([emotion, ""])
            & (marked["layers"] == own["layers"].iloc[0])
            & (marked["alpha"] == own["alpha"].iloc[0])
        ]
        randoms = matched["condition"].drop_duplicates()
        ratio: dict[str, float] = {}
        if "nats" in marked:
            a, b = _aligned(marked, name, base, "nats")
            (r,) = bootstrap_mean_intervals(a - b, resamples=resamples, seed=seed)
            ratio = {"ratio": np.exp(r.estimate), "ratio_low": np.exp(r.low), "ratio_high": np.exp(r.high)}
        for metric, column, side in _metrics(marked, emotion):
            a, b = _aligned(marked, name, base, column)
            d = paired_difference(a, b, direction=side, resamples=resamples, seed=seed)
            row: dict[str, Any] = {
                "emotion": emotion, "condition": name, "metric": metric, "side": side,
                "treated": d.treated, "control": d.control, "change": d.estimate, "low": d.low, "high": d.high,
                "p": d.p, "dz": d.dz, "wrong_way": d.wrong_way, "n": d.n, **ratio,
            }  # fmt: skip
            if len(randoms):
                changes = {}
                for random in randoms:
                    x, y = _aligned(marked, random, base, column)
                    changes[random] = float((x - y).mean())
                best = max(changes, key=lambda k: side * changes[k])
                x, y = _aligned(marked, name, best, column)
                beats = paired_difference(x, y, direction=side, resamples=resamples, seed=seed)
                row |= {
                    "n_random": len(changes), "null_low": min(changes.values()), "null_high": max(changes.values()),
                    "best_random": best, "best_random_change": changes[best], "beats": beats.estimate,
                    "beats_low": beats.low, "beats_high": beats.high, "p_beats": beats.p,
                }  # fmt: skip
            rows.append(row)
    table = pd.DataFrame(rows)
    tests = {f"{r['emotion']}.{r['metric']}": float(r["p"]) for r in rows}
    family = f"steering on {split}: {len(chosen)} emotions x {table['metric'].nunique()} metrics, against no steering"
    corrected = fdr(tests, family=family).q
    table["q"] = [corrected[f"{r['emotion']}.{r['metric']}"] for r in rows]
    return Effects(table, family)


def steering_claims(found: Effects) -> list[Claim]:
    """One claim per emotion and metric: the chosen direction moves the metric more than random directions do."""
    claims = []
    for row in found.table.to_dict("records"):
        side = int(row["side"])
        has_null = "null_low" in row and np.isfinite(row.get("null_low", np.nan))
        beats = (
            f" Against the best of {row['n_random']:.0f} random directions: {row['beats']:+.3f} "
            f"[{row['beats_low']:+.3f}, {row['beats_high']:+.3f}]."
            if has_null
            else ""
        )
        cost = ""
        if "ratio" in row:
            cost = f" Perplexity ratio {row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]."
        claims.append(
            judge(
                id=f"steering.{row['emotion']}.{row['metric']}",
                station="steering",
                statement=f"Adding the {row['emotion']} direction ({row['condition']}) changes the continuation's "
                f"{row['metric']} {'upwards' if side > 0 else 'downwards'}, beyond random directions of the same norm.",
                estimate=float(row["change"]),
                interval=(float(row["low"]), float(row["high"])),
                unit=f"change of mean {row['metric']}",
                chance=0.0,
                null=f"{row['n_random']:.0f} random directions of the same norm (range of their changes)"
                if has_null
                else None,
                null_interval=(float(row["null_low"]), float(row["null_high"])) if has_null else None,
                p=float(row["p"]),
                q=float(row["q"]),
                n=int(row["n"]),
                direction="greater" if side > 0 else "less",
                notes=f"{row['treated']:.3f} steered, {row['control']:.3f} unsteered; {row['wrong_way']:.0%} of "
                f"prompts move the wrong way.{beats}{cost} Family: {found.family}.",
            )
        )
    return claims


def effect_matrix(
    scored: pd.DataFrame, chosen: Mapping[str, str], *, base: str = "none", resamples: int = 5000, seed: int = 0
) -> pd.DataFrame:
    """Emotions × emotions: what each direction does to the probability of every label.

    One row per (direction, label): ``direction label probability base change low high``.

    Args:
        scored: a scored sweep.
        chosen: emotion → condition.
        base: the unsteered condition.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    rows = []
    for emotion, name in chosen.items():
        for label in _LABELS:
            a, b = _aligned(scored, name, base, f"p_{label}")
            (e,) = bootstrap_mean_intervals(a - b, resamples=resamples, seed=seed)
            rows.append(
                {
                    "direction": emotion, "label": label, "probability": float(a.mean()), "base": float(b.mean()),
                    "change": e.estimate, "low": e.low, "high": e.high,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def dose_response(
    scored: pd.DataFrame, emotion: str, column: str, *, layers: str | None = None, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Mean of a column by layer and α, with intervals; the unsteered mean stands at α = 0.

    Args:
        scored: a scored sweep.
        emotion: whose conditions.
        column: e.g. ``p_gratitude``, ``vader``, ``nats``.
        layers: only these (as in the table's ``layers`` column).
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    rows = scored[(scored["kind"] == "emotion") & (scored["emotion"] == emotion)]
    if layers is not None:
        rows = rows[rows["layers"] == layers]
    found = []
    none = scored[scored["kind"] == "none"]
    for place in rows["layers"].drop_duplicates():
        arms = [("none", 0.0)] if len(none) else []
        arms += (
            rows[rows["layers"] == place][["condition", "alpha"]].drop_duplicates().itertuples(index=False, name=None)
        )
        for name, alpha in sorted(arms, key=lambda arm: arm[1]):
            values = per_prompt(scored, name, column).to_numpy(float)
            (e,) = bootstrap_mean_intervals(values, resamples=resamples, seed=seed)
            found.append({"layers": place, "alpha": alpha, "mean": e.estimate, "low": e.low, "high": e.high, "n": e.n})
    return pd.DataFrame(found)


@torch.inference_mode()
def plain_loss(
    model: LanguageModel,
    texts: Sequence[str],
    conditions: Sequence[Condition],
    vectors: SteeringVectors,
    *,
    base: Condition | None = None,
    resamples: int = 5000,
    seed: int = 0,
    batch_rows: int = 32,
) -> pd.DataFrame:
    """Next-token loss of given plain text while a condition is on: what steering costs where nothing is written.

    One row per condition: ``condition loss base_loss change low high`` in nats per token (the first token has none).

    Args:
        model: the model.
        texts: neutral texts, at least two tokens each.
        conditions: what to switch on.
        vectors: directions and norms.
        base: what to compare with; nothing by default.
        resamples: of the bootstrap over texts.
        seed: of the bootstrap.
        batch_rows: texts per batch.
    """

    def losses(condition: Condition | None) -> np.ndarray:
        edits = [] if condition is None else layer_interventions(condition, vectors)
        found = []
        for start in range(0, len(texts), batch_rows):
            batch = model.tokenize(texts[start : start + batch_rows], side="right")
            with intervene(model, edits):
                logits = model.logits(batch)[:, :-1]
            chance = torch.log_softmax(logits.float(), -1)
            nats = -chance.gather(-1, batch.input_ids[:, 1:, None])[..., 0]
            inside = batch.attention_mask[:, 1:].float()
            found.append((nats * inside).sum(1) / inside.sum(1))
        return torch.cat(found).cpu().numpy().astype(float)

    plain = losses(base)
    rows = []
    for condition in conditions:
        steered = losses(condition)
        (e,) = bootstrap_mean_intervals(steered - plain, resamples=resamples, seed=seed)
        rows.append(
            {
                "condition": condition.name, "loss": float(steered.mean()), "base_loss": float(plain.mean()),
                "change": e.estimate, "low": e.low, "high": e.high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
