"""The report on test prompts: effects paired by prompt, against no steering and among directions of nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel, intervene
from emotion_circuits.statistics import bootstrap_mean_intervals, fdr, paired_difference, rank_p
from emotion_circuits.steering.conditions import Condition
from emotion_circuits.steering.injecting import layer_interventions
from emotion_circuits.steering.scoring import aligned, per_prompt
from emotion_circuits.steering.vectors import SteeringVectors

__all__ = [
    "Effects",
    "Sides",
    "beside_controls",
    "dose_response",
    "effect_matrix",
    "effects",
    "marked_for",
    "metrics_of",
    "plain_loss",
]

Sides = Mapping[str, Mapping[str, int]]
"""Metric → emotion → which way the metric should move: 1 up, −1 down."""


@dataclass(frozen=True, eq=False)
class Effects:
    """What steering did on the test prompts.

    Attributes:
        table: one row per emotion and metric: ``treated control change low high p dz wrong_way n``; for the random directions
            ``n_random``, ``null_n`` (prompts they were written on), ``null_low null_high`` (range of their changes),
            ``p_random`` (rank of the chosen condition's change on those prompts among theirs), ``best_random`` (the largest in
            the intended direction) and its change, ``beats beats_low beats_high p_beats`` (chosen minus best random, paired);
            the same for label-shuffled directions with ``shuffled`` in the names; ``ratio ratio_low ratio_high``. ``p_claim``
            is the largest of ``p p_random p_shuffled``, since all have to hold, and 1 where the change is not on the intended
            side; ``q`` corrects it.
        family: the declared family of the correction.
    """

    table: pd.DataFrame
    family: str


def metrics_of(scored: pd.DataFrame, emotion: str, sides: Sides, judge: str) -> list[tuple[str, str, int]]:
    """Metric, column and side of everything that was scored and has a side for the emotion."""
    columns = {"share": "hit", "probability": f"p_{emotion}"} if f"{judge}_label" in scored else {}
    columns |= {name: name for name in sides if name not in _OF_ALL and name in scored}
    columns |= {"words": "worded"} if f"n_{emotion}" in scored else {}
    found = []
    for metric, column in columns.items():
        side = sides.get(metric, {}).get(emotion, 1 if metric in _OF_ALL else None)
        if side is not None:
            found.append((metric, column, side))
    return found


_OF_ALL = ("share", "probability", "words")
"""Metrics that go up with an emotion unless something else is said."""


def marked_for(scored: pd.DataFrame, emotion: str, judge: str) -> pd.DataFrame:
    """With ``hit`` (classed as the emotion) and ``worded`` (has a word of its lexicon), each 0 or 1."""
    if f"{judge}_label" in scored:
        scored = scored.assign(hit=(scored[f"{judge}_label"] == emotion).astype(float))
    if f"n_{emotion}" in scored:
        scored = scored.assign(worded=(scored[f"n_{emotion}"] > 0).astype(float))
    return scored


def _matched(marked: pd.DataFrame, own: pd.Series, kind: str) -> list[str]:
    """Controls of a kind at the same place, strength and manner; without an emotion they are shared by all."""
    rows = marked[
        (marked["kind"] == kind)
        & marked["emotion"].isin([own["emotion"], ""])
        & (marked["layers"] == own["layers"])
        & (marked["alpha"] == own["alpha"])
    ]
    if "how" in rows:
        rows = rows[rows["how"] == own["how"]]
    return [str(name) for name in rows["condition"].drop_duplicates()]


def effects(
    scored: pd.DataFrame,
    chosen: Mapping[str, str],
    *,
    sides: Sides,
    judge: str = "emotion",
    base: str = "none",
    split: str = "test",
    resamples: int = 10_000,
    seed: int = 0,
) -> Effects:
    """Each chosen condition against the base and among its random (and label-shuffled) directions.

    Random and label-shuffled directions may have been written on some of the prompts only. The chosen condition is then ranked
    among them by its change on those same prompts, so that under the null all are drawn alike; its change against the base,
    with interval and p, is that of all prompts.

    Args:
        scored: a scored sweep that holds the base, the chosen conditions and their :func:`shared_controls`.
        chosen: emotion → name of the condition chosen on validation.
        sides: metric → emotion → which way it should move, for metrics that have no side for all emotions (``vader``); an
            attribute's ``metrics``.
        judge: the evaluator whose labels and probabilities decide.
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
        marked = marked_for(scored, emotion, judge)
        if not (marked["condition"] == name).any():
            raise EmotionCircuitsError(f"the sweep holds no condition named {name!r}")
        own = marked[marked["condition"] == name].iloc[0].copy()
        own["emotion"] = emotion
        ratio: dict[str, float] = {}
        if "nats" in marked:
            a, b = aligned(marked, name, base, "nats")
            (r,) = bootstrap_mean_intervals(a - b, resamples=resamples, seed=seed)
            ratio = {"ratio": np.exp(r.estimate), "ratio_low": np.exp(r.low), "ratio_high": np.exp(r.high)}
        for metric, column, side in metrics_of(marked, emotion, sides, judge):
            a, b = aligned(marked, name, base, column)
            d = paired_difference(a, b, direction=side, resamples=resamples, seed=seed)
            row: dict[str, Any] = {
                "emotion": emotion, "condition": name, "metric": metric, "side": side,
                "treated": d.treated, "control": d.control, "change": d.estimate, "low": d.low, "high": d.high,
                "p": d.p, "dz": d.dz, "wrong_way": d.wrong_way, "n": d.n, **ratio,
            }  # fmt: skip
            for kind in ("random", "shuffled"):
                names = [x for x in _matched(marked, own, kind) if x != name]
                if names:
                    row |= _among(marked, name, names, base, column, side, kind, resamples, seed)
            rows.append(row | {"p_claim": _claimed_p(row)})
    table = pd.DataFrame(rows)
    family = (
        f"steering on {split}: {len(chosen)} emotions x {table['metric'].nunique()} metrics, each against no steering, among "
        "random directions and among label-shuffled ones (the largest p)"
    )
    corrected = fdr([float(p) for p in table["p_claim"]], family=family).q
    table["q"] = list(corrected.values())
    return Effects(table, family)


def _claimed_p(row: Mapping[str, Any]) -> float:
    if row["side"] * row["change"] <= 0:
        return 1.0
    return max(float(row[key]) for key in ("p", "p_random", "p_shuffled") if key in row)


def _among(
    marked: pd.DataFrame,
    name: str,
    controls: list[str],
    base: str,
    column: str,
    side: int,
    kind: str,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """A chosen condition among its controls of a kind, and against the one that moves the metric furthest its way.

    Its rank among them is what decides. The best of them is shown beside it: picked on the very prompts it is judged on.
    """
    rows = marked[marked["condition"].isin([name, base, *controls])]
    means = rows.groupby(["prompt_id", "condition"])[column].mean().unstack().dropna()
    if not len(means):
        raise EmotionCircuitsError(f"condition {name!r}: its {kind} directions were not all written on a common prompt")
    changes = means[controls].sub(means[base], axis=0).mean()
    own = float((means[name] - means[base]).mean())
    best = str((side * changes).idxmax())
    beats = paired_difference(means[name], means[best], direction=side, resamples=resamples, seed=seed)
    mark = "" if kind == "random" else f"{kind}_"
    return {
        f"n_{kind}": len(changes), f"{mark}null_n": len(means),
        f"{mark}null_low": float(changes.min()), f"{mark}null_high": float(changes.max()),
        f"p_{kind}": rank_p(own, changes.to_numpy(), side="greater" if side > 0 else "less"),
        f"best_{kind}": best, f"best_{kind}_change": float(changes[best]), f"{mark}beats": beats.estimate,
        f"{mark}beats_low": beats.low, f"{mark}beats_high": beats.high, f"{mark}p_beats": beats.p,
    }  # fmt: skip


def beside_controls(
    effects: pd.DataFrame, scored: pd.DataFrame, *, sides: Sides, judge: str = "emotion", base: str = "none"
) -> pd.DataFrame:
    """Every chosen condition's change beside that of each of its controls, one by one.

    One row per emotion, metric and arm: ``emotion metric kind condition effect``, of the chosen condition (``steered``) with
    ``low high``, of its random and label-shuffled directions (on the prompts they were written on) and of the two ways of
    prompting.

    Args:
        effects: the table of :func:`effects`.
        scored: the sweep it was made from.
        sides: as for :func:`effects`.
        judge: as for :func:`effects`.
        base: the unsteered condition.
    """
    rows: list[dict[str, Any]] = []
    for row in effects[effects["metric"] != "probability"].to_dict("records"):
        emotion, metric = str(row["emotion"]), str(row["metric"])
        marked = marked_for(scored, emotion, judge)
        column = next(column for name, column, _ in metrics_of(marked, emotion, sides, judge) if name == metric)
        means = marked.groupby(["condition", "prompt_id"])[column].mean()
        own = marked[marked["condition"] == row["condition"]].iloc[0].copy()
        own["emotion"] = emotion
        shared = {"emotion": emotion, "metric": metric}
        steered = {"effect": row["change"], "low": row["low"], "high": row["high"]}
        rows.append({**shared, "kind": "steered", "condition": row["condition"], **steered})
        control = marked["condition"].isin([*_matched(marked, own, "random"), *_matched(marked, own, "shuffled")])
        control |= (marked["kind"] == "prompting") & (marked["emotion"] == emotion)
        for condition, kind in marked[control][["condition", "kind"]].drop_duplicates().itertuples(index=False):
            change = float((means[condition] - means[base]).dropna().mean())
            rows.append({**shared, "kind": kind, "condition": condition, "effect": change})
    return pd.DataFrame(rows)


def effect_matrix(
    scored: pd.DataFrame,
    chosen: Mapping[str, str],
    labels: Sequence[str],
    *,
    base: str = "none",
    resamples: int = 5000,
    seed: int = 0,
) -> pd.DataFrame:
    """Emotions × emotions: what each direction does to the probability of every label.

    One row per (direction, label): ``direction label probability base change low high``.

    Args:
        scored: a scored sweep.
        chosen: emotion → condition.
        labels: every label that the judge gives a probability of.
        base: the unsteered condition.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    rows = []
    for emotion, name in chosen.items():
        for label in labels:
            a, b = aligned(scored, name, base, f"p_{label}")
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
    """Mean of a column by place, manner and α, with intervals.

    The unsteered mean stands at α = 0, but where only the first token is pushed there: then that is what α = 0 means.

    Args:
        scored: a scored sweep.
        emotion: whose conditions.
        column: e.g. ``p_<emotion>``, ``vader``, ``nats``.
        layers: only these (as in the table's ``layers`` column).
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    rows = scored[(scored["kind"] == "emotion") & (scored["emotion"] == emotion)]
    if layers is not None:
        rows = rows[rows["layers"] == layers]
    if "how" not in rows:
        rows = rows.assign(how="")
    found = []
    none = scored[scored["kind"] == "none"]
    for (place, how), part in rows.groupby(["layers", "how"], sort=False):
        sink = float(part["first"].iloc[0]) if "first" in part else 0.0
        arms = [("none", 0.0)] if len(none) and not (part["alpha"] == 0).any() else []
        arms += part[["condition", "alpha"]].drop_duplicates().itertuples(index=False, name=None)
        for name, alpha in sorted(arms, key=lambda arm: arm[1]):
            values = per_prompt(scored, name, column).to_numpy(float)
            (e,) = bootstrap_mean_intervals(values, resamples=resamples, seed=seed)
            found.append(
                {
                    "layers": place, "how": how, "first": sink, "alpha": alpha,
                    "mean": e.estimate, "low": e.low, "high": e.high, "n": e.n,
                }
            )  # fmt: skip
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
