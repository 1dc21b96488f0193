"""Scores of the continuations, and one row of figures per condition."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Evaluator, Fluency, distinct
from emotion_circuits.statistics import bootstrap_mean_interval, bootstrap_mean_intervals

_log = logging.getLogger(__name__)

__all__ = [
    "BUDGET",
    "REGIMES",
    "REPEATS",
    "Regime",
    "aligned",
    "condition_table",
    "per_prompt",
    "regime",
    "score_sweep",
]

BUDGET = 1.5
"""Largest perplexity ratio, steered over unsteered, that counts as fluent."""

REPEATS = 0.1
"""Rise in repetition, steered minus unsteered, from which a text counts as repetitive and no longer as fluent."""

Regime = Literal["no effect", "clean", "costly", "repetitive", "collapsed"]
REGIMES: dict[Regime, str] = {
    "collapsed": "perplexity ratio above 3, or repetition at least 0.5 above the unsteered text's",
    "repetitive": "repetition at least 0.1 above the unsteered text's",
    "no effect": "the interval of the target probability's change includes 0",
    "costly": f"an effect, at a perplexity ratio above {BUDGET}",
    "clean": f"an effect, at a perplexity ratio of at most {BUDGET}",
}


def score_sweep(table: pd.DataFrame, evaluators: Sequence[Evaluator], fluency: Fluency | None = None) -> pd.DataFrame:
    """The sweep's table with every evaluator's columns beside it; only the continuation is judged.

    Labels of an evaluator go to ``<evaluator>_label``, probabilities of the first that gives some to ``p_<label>`` and of others
    to ``<evaluator>_p_<label>``. Perplexity is that of the continuation after the *plain* opening under the unsteered model,
    for prompting conditions too, so that all arms are read alike; in chat (column ``asked``) that of a reply to the plain
    request. It is that of the tokens that were written (column ``ids``);
    texts of a table without them are tokenized, which is said.

    Args:
        table: of :func:`sweep`, or any with its columns ``prompt`` and ``text``.
        evaluators: blind: they get the texts, in one call each.
        fluency: adds ``nats perplexity repetition distinct_1 distinct_2``.

    Raises:
        EmotionCircuitsError: two evaluators that name a column alike.
    """
    scored = table.reset_index(drop=True).copy()
    texts = [t.strip() for t in scored["text"]]
    for evaluator in evaluators:
        found = evaluator.score(texts)
        found = found.drop(columns=[c for c in ("label",) if c in found]).assign(
            **{f"{evaluator.name}_label": evaluator.decide(found)}
        )
        if any(str(c).startswith("p_") for c in scored):
            # The first judge decides; others' probabilities of the same labels stand under their names.
            found = found.rename(columns={c: f"{evaluator.name}_{c}" for c in found if str(c).startswith("p_")})
        doubled = sorted(set(found.columns) & set(scored.columns))
        if doubled:
            raise EmotionCircuitsError(
                f"evaluator {evaluator.name!r} gives the column {doubled[0]!r}, which is there already"
            )
        scored = pd.concat([scored, found], axis=1)
    if fluency is not None:
        chat = "asked" in scored
        before = scored["asked" if chat else "prompt"].tolist()
        costs = fluency.score(before, scored["text"].tolist(), ids=_ids(scored), add_special_tokens=not chat)
        costs = costs.drop(columns="n_tokens")
        scored = pd.concat([scored, costs], axis=1)
    return scored


def _ids(table: pd.DataFrame) -> list[list[int]] | None:
    """The token ids that were written, where the table keeps them."""
    if "ids" not in table:
        _log.warning(
            "the texts are scored as this model tokenizes them: their table has no column 'ids' with the tokens that were "
            "written, and a text cut otherwise has another perplexity"
        )
        return None
    return [[int(i) for i in row.split()] for row in table["ids"]]


def per_prompt(scored: pd.DataFrame, condition: str, column: str) -> pd.Series:
    """Mean of a column by prompt, for one condition; prompts without any finite value are left out.

    Raises:
        EmotionCircuitsError: no such condition or column.
    """
    chosen = (scored["condition"] == condition).to_numpy()
    if not chosen.any():
        raise EmotionCircuitsError(f"the sweep holds no condition named {condition!r}")
    if column not in scored:
        raise EmotionCircuitsError(f"the sweep was not scored for {column!r}; columns: {', '.join(scored.columns)}")
    names, values = scored["prompt_id"].to_numpy()[chosen], scored[column].to_numpy(float)[chosen]
    known = ~np.isnan(values)
    # Asked for every condition and metric of a sweep; grouping a data frame costs a hundred times as much.
    prompts, place = np.unique(names[known].astype(str), return_inverse=True)
    means = np.bincount(place, values[known]) / np.bincount(place)
    return pd.Series(means, index=pd.Index(prompts, name="prompt_id", dtype=object), name=column)


def aligned(scored: pd.DataFrame, condition: str, base: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Means of a column by prompt under two conditions, on the prompts that have both."""
    a, b = per_prompt(scored, condition, column), per_prompt(scored, base, column)
    both = a.index.intersection(b.index)
    return a.loc[both].to_numpy(float), b.loc[both].to_numpy(float)


def regime(*, ratio: float, repetition_gain: float, change: tuple[float, float]) -> Regime:
    """Which regime a condition is in, by the rules in :data:`REGIMES`, the first that holds.

    Args:
        ratio: perplexity, steered over unsteered.
        repetition_gain: repetition, steered minus unsteered.
        change: interval of the target probability's change.
    """
    if ratio > 3 or repetition_gain >= 0.5:
        return "collapsed"
    if repetition_gain >= REPEATS:
        return "repetitive"
    if change[0] <= 0 <= change[1]:
        return "no effect"
    return "costly" if ratio > BUDGET else "clean"


def condition_table(
    scored: pd.DataFrame, *, judge: str = "emotion", base: str = "none", resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """One row per condition: effect on its own emotion, cost, regime.

    Columns: the condition's fields; ``n`` prompts; ``share`` (classed as the emotion) and ``base_share``;
    ``words_share`` (with a word of the emotion's lexicon, where keywords were scored) and ``base_words_share``;
    ``p`` (mean probability of the emotion) with its standard error ``p_se``, ``change`` with ``change_low change_high``
    (paired by prompt against the base); ``vader`` and ``vader_change`` where scored; ``perplexity`` (exponential of the
    mean nats), ``ratio`` with its 95 % interval ``ratio_low ratio_high``;
    ``repetition``, ``distinct_2`` (over all its texts); ``empty`` (share of continuations without a token); ``regime``.

    Args:
        scored: by :func:`score_sweep` with the judge and :class:`Fluency`.
        judge: the evaluator whose labels and probabilities decide.
        base: the unsteered condition.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    rows = []
    unsteered = scored[scored["condition"] == base]
    for name, part in scored.groupby("condition", sort=False):
        first = part.iloc[0]
        both = part if name == base else pd.concat([part, unsteered], ignore_index=True)
        emotion = str(first["emotion"])
        fields = ("condition", "kind", "emotion", "alpha", "layers", "how", "units", "first")
        row: dict[str, object] = {k: first[k] for k in fields if k in part}
        row["n"] = part["prompt_id"].nunique()
        if f"p_{emotion}" in part and f"{judge}_label" in part:
            hit = both.assign(hit=(both[f"{judge}_label"] == emotion).astype(float))
            a, b = aligned(hit, str(name), base, "hit")
            row["share"], row["base_share"] = float(a.mean()), float(b.mean())
            a, b = aligned(both, str(name), base, f"p_{emotion}")
            e = bootstrap_mean_interval(a - b, resamples=resamples, seed=seed)
            row |= {
                "p": float(a.mean()),
                "p_se": float(a.std(ddof=1) / np.sqrt(len(a))),
                "change": e.estimate,
                "change_low": e.low,
                "change_high": e.high,
            }
        if f"n_{emotion}" in part:
            worded = both.assign(worded=(both[f"n_{emotion}"] > 0).astype(float))
            a, b = aligned(worded, str(name), base, "worded")
            row["words_share"], row["base_words_share"] = float(a.mean()), float(b.mean())
        if "vader" in part:
            a, b = aligned(both, str(name), base, "vader")
            row |= {"vader": float(a.mean()), "vader_change": float((a - b).mean())}
        if "nats" in part:
            a, b = aligned(both, str(name), base, "nats")
            (r,) = bootstrap_mean_intervals(a - b, resamples=resamples, seed=seed)
            row |= {
                "perplexity": float(np.exp(a.mean())),
                "ratio": float(np.exp(r.estimate)),
                "ratio_low": float(np.exp(r.low)),
                "ratio_high": float(np.exp(r.high)),
            }
            a, b = aligned(both, str(name), base, "repetition")
            row |= {"repetition": float(a.mean()), "repetition_gain": float((a - b).mean())}
            row["distinct_2"] = distinct(part["text"].tolist(), 2)
        row["empty"] = float((part["n_tokens"] == 0).mean())
        if "change" in row and "ratio" in row:
            row["regime"] = regime(
                ratio=float(row["ratio"]),  # type: ignore[arg-type]
                repetition_gain=float(row["repetition_gain"]),  # type: ignore[arg-type]
                change=(float(row["change_low"]), float(row["change_high"])),  # type: ignore[arg-type]
            )
        rows.append(row)
    return pd.DataFrame(rows)
