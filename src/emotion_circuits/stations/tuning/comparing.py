"""From scored texts and costs to the station's tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emotion_circuits.prompts import load_prompts
from emotion_circuits.record.notes import read_note
from emotion_circuits.stations.tuning.inside import among_nothing
from emotion_circuits.stations.tuning.plan import (
    ASKED,
    Arm,
    named,
)
from emotion_circuits.stations.tuning.tables import HARM, LESS
from emotion_circuits.stations.tuning.work import Work
from emotion_circuits.statistics import Estimate, mean_intervals, paired_difference
from emotion_circuits.steering import (
    NONE,
)
from emotion_circuits.steering.scoring import per_prompt
from emotion_circuits.tuning.frontier import added, arm_rows, at_cost, compared_at_cost
from emotion_circuits.tuning.trained import Trained

__all__ = ["write_comparison", "write_methods", "write_taken"]


def _figures(costs: pd.DataFrame, name: str, what: str) -> np.ndarray:
    rows = costs[(costs["condition"] == name) & (costs["what"] == what)].sort_values("row")
    return rows["figure"].to_numpy(float)


def write_comparison(
    work: Work, arms: Sequence[Arm], scored: pd.DataFrame, costs: pd.DataFrame, null_costs: pd.DataFrame
) -> None:
    """The tables of effects and costs; the latter beside those of directions of nothing."""
    own, folder, value = work.own, work.folder, work.value
    beside: dict[str, dict[str, Any]] = {
        arm.condition.name: {"method": arm.method, "strength": arm.strength} for arm in arms
    }
    studied = work.run.about
    table = arm_rows(scored, beside, value, judge=studied.judge, reference=studied.reference)
    base = _figures(costs, NONE.name, "loss")
    for what, of in (("kl", lambda f: f), ("loss", lambda f: f - base)):
        found = [mean_intervals(of(_figures(costs, str(name), what)))[0] for name in table["condition"]]
        table[what] = [e.estimate for e in found]
        table[f"{what}_low"], table[f"{what}_high"] = [e.low for e in found], [e.high for e in found]
    folder.arms.write(table)
    names = {str(m): [a.condition.name for a in arms if a.method == m] for m in own.methods}
    methods = {m: arms_ for m, arms_ in names.items() if arms_}
    levels = at_cost(scored, methods, value, ratio=own.at_ratio, seed=work.seed)
    rows = []
    n = scored["prompt_id"].nunique()
    for method, (at, _) in levels.items():
        apart = (np.nan,) * 4
        if method != "steering" and "steering" in levels:
            apart = compared_at_cost(levels, method, "steering", n)
        rows.append(
            {
                "method": method, "ratio": own.at_ratio, "effect": at.effect, "low": at.low, "high": at.high,
                "reached": at.reached, "reached_share": at.reached_share, "n": n,
                **dict(zip(("difference", "difference_low", "difference_high", "p"), apart, strict=True)),
            }
        )  # fmt: skip
    folder.equal.write(pd.DataFrame(rows))
    written = set(table["condition"])
    sums = []
    for name, first, second in own.combined():
        alone = named(first, own.shown if first == "prompting" else 1), named(second, 1)
        if {named(name, 1), *alone} <= written:
            sums.append({"method": name, **added(scored, named(name, 1), *alone, value)})
    folder.additive.write(pd.DataFrame(sums))
    folder.harm.write(pd.DataFrame(list(_harm(beside, costs, null_costs))))
    about = {NONE.name: {"method": "none", "strength": 0.0}, **beside}
    kept = scored[scored["condition"].isin(list(about))]
    texts = _texts(work, kept)
    texts.insert(0, "method", [about[c]["method"] for c in kept["condition"]])
    texts.insert(1, "strength", [float(about[c]["strength"]) for c in kept["condition"]])
    folder.texts.write(texts)


def _texts(work: Work, scored: pd.DataFrame) -> pd.DataFrame:
    """What was written, and what the judge makes of it."""
    return pd.DataFrame(
        {
            "prompt": scored["prompt"].to_list(), "text": scored["text"].to_list(),
            "label": scored[f"{work.run.about.judge}_label"].to_list(),
            "probability": scored[f"p_{work.value}"].to_numpy(float), "nats": scored["nats"].to_numpy(float),
        }
    )  # fmt: skip


def write_taken(
    work: Work,
    arms: Sequence[Arm],
    scored: pd.DataFrame,
    costs: pd.DataFrame,
    null: pd.DataFrame,
    null_costs: pd.DataFrame,
) -> None:
    """The tables of what is taken away from texts that were asked for the value, beside what directions of nothing take."""
    value = work.value
    beside = {a.condition.name: {"method": a.method} for a in arms if a.condition.name != ASKED}
    studied = work.run.about
    table = arm_rows(scored, beside, value, judge=studied.judge, base=ASKED, reference=studied.reference)
    column = f"p_{value}"
    asked, plain = (float(per_prompt(scored, name, column).mean()) for name in (ASKED, NONE.name))
    table = table.assign(asked=asked, plain=plain)
    table["gone"] = -table["change"] / (asked - plain) if asked > plain else np.nan
    # Nothing is done to the model by some: exact zeros, not a share of 0, whose interval is wide.
    kl = [_figures(costs, str(name), "kl") for name in table["condition"]]
    ends = [mean_intervals(own)[0] if own.any() else Estimate(0.0, 0.0, 0.0, len(own)) for own in kl]
    table["kl"], table["kl_low"], table["kl_high"] = zip(*((e.estimate, e.low, e.high) for e in ends), strict=True)
    harm = list(_harm({name: {"method": name} for name in beside}, costs, null_costs))
    told = pd.DataFrame(harm, columns=[c.name for c in HARM.columns]).set_index("method").reindex(table["condition"])
    for key, of in (("", "change"), *((f"_{end}", end) for end in ("low", "high", "random_low", "random_high"))):
        table[f"harm{key}"] = told[of].to_numpy(float)
    before = per_prompt(scored, ASKED, column)
    rows: list[dict[str, Any]] = []
    for about, arm in zip(table.to_dict("records"), (a for a in arms if a.condition.name != ASKED), strict=True):
        name = arm.condition.name
        row = {str(k): v for k, v in about.items()} | {"p": about["p_change"] if about["change"] < 0 else 1.0}
        if arm.condition.layers:
            row |= among_nothing(null, name, before, per_prompt(scored, name, column), column, sign=-1)
            row["p"] = max(row["p"], row["p_random"], row["p_shuffled"])
        rows.append(row)
    work.folder.less.write(pd.DataFrame(rows).reindex(columns=[c.name for c in LESS.columns]))
    work.folder.harm.write(pd.concat([work.folder.harm.read(), pd.DataFrame(harm)], ignore_index=True))
    ways = {arm.condition.name: arm.method for arm in arms}
    read = scored[scored["condition"].isin(list(ways))]
    texts = _texts(work, read)
    texts.insert(0, "method", [ways[name] for name in read["condition"]])
    work.folder.less_texts.write(texts)


def _harm_of_nothing(costs: pd.DataFrame, name: str, base: np.ndarray) -> dict[str, float]:
    """The least and the largest change of complying over declining under directions of nothing."""
    mine = costs[costs["condition"].str.startswith(f"{name} | ")]
    changes = mine.groupby("condition")["figure"].mean() - base.mean() if len(mine) else pd.Series(dtype=float)
    return {"random_low": float(changes.min()), "random_high": float(changes.max())} if len(changes) else {}


def _harm(
    beside: Mapping[str, Mapping[str, Any]], costs: pd.DataFrame, null_costs: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    base = _figures(costs, NONE.name, "harm")
    for name, about in beside.items():
        own = _figures(costs, name, "harm")
        if len(own) and len(base):
            d = paired_difference(own, base, direction=1)
            yield {
                "method": about["method"], "margin": d.treated, "base": d.control, "change": d.estimate, "low": d.low,
                "high": d.high, "p": d.p, "n": d.n, **_harm_of_nothing(null_costs, name, base),
            }  # fmt: skip


def write_methods(work: Work, trained: Mapping[str, Trained]) -> None:
    """Parameters, seconds and data of every method."""
    own, run_, model = work.own, work.run, work.model
    steered = len(work.chosen.layers) * model.d_model
    sentences = len(load_prompts(run_.about.fit, split="train"))
    # What directions need before one can be added: states of sentences, and their fit.
    made = sum(
        float((read_note(run_.path / name) or {}).get("timing", {}).get("seconds", 0.0))
        for name in ("capture", "directions")
    )
    fixed: dict[str, Callable[[], tuple[int, float, int]]] = {
        "prompting": lambda: (0, 0.0, own.shown),
        "steering": lambda: (steered, made, sentences),
        "baked": lambda: (steered, made, sentences),
    }
    rows = []
    for method in own.methods:
        t = trained.get(method)
        parameters, seconds, examples = fixed[method]() if t is None else (t.parameters, t.seconds, t.examples)
        rows.append({"method": method, "parameters": parameters, "seconds": seconds, "examples": examples})
    work.folder.methods.write(pd.DataFrame(rows))
