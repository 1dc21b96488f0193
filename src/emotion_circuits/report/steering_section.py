"""The report's steering section: what was tried, what was chosen, what it did on test openings, and the texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.report import figures as draw
from emotion_circuits.report import steering_figures as pictures
from emotion_circuits.report.page import Figure, Section, Table, Texts
from emotion_circuits.steering import REGIMES, dose_response, pareto

__all__ = ["steering_sections"]

_ARM_COLUMNS = (
    "condition", "kind", "emotion", "n", "share", "base_share", "words_share", "base_words_share", "change",
    "change_low", "change_high", "ratio", "ratio_low", "ratio_high", "repetition", "distinct_2", "regime",
)  # fmt: skip

_EVALUATORS = {
    "share": "emotion classifier: share",
    "words": "lexicon: share with a word of it",
    "vader": "VADER: mean score",
}


def steering_sections(run: Path, claims: list[dict[str, Any]], config: dict[str, Any]) -> tuple[Section, ...]:
    """One section; a run without any condition within the bound shows what was tried.

    Args:
        run: folder of a finished run.
        claims: all claims of the run.
        config: the study's configuration as the manifest holds it.
    """
    folder = run / "steering"
    grid = pd.read_parquet(folder / "grid.parquet")
    choice = json.loads((folder / "choice.json").read_text(encoding="utf-8"))
    evaluators = pd.DataFrame(json.loads((folder / "evaluators.json").read_text(encoding="utf-8")))
    bound = float(config["steering"]["max_perplexity_ratio"])
    parts: list[Figure | Table | Texts] = [*_tried(folder, grid, bound)]
    prose = [
        f"Chosen on {choice['openings']} openings that the figures below never saw: {choice['objective']}.",
        "Regimes: " + "; ".join(f"{name} – {rule}" for name, rule in REGIMES.items()) + ".",
    ]
    if choice["none_within_bound"]:
        prose.append(f"No condition was within the bound for: {', '.join(choice['none_within_bound'])}.")
    chosen = choice["chosen"]
    if chosen:
        prose.append(
            "Conditions: "
            + "; ".join(
                f"{e}: layer {' '.join(map(str, c['layers']))}, alpha {c['alpha']:g}" for e, c in chosen.items()
            )
            + "."
        )
    if (folder / "comparison.parquet").is_file():
        parts.append(_comparison(pd.read_parquet(folder / "comparison.parquet")))
    if chosen:
        parts += _found(folder, chosen)
    parts.append(
        Table(
            "How good the evaluators are on labelled held-out text",
            "Accuracy with 95 % interval; majority: always the most frequent label. 'other_feelings' holds joy, praise, "
            "sadness, complaint …: there, right means none of the emotions.",
            evaluators[["evaluator", "axis", "data", "split", "n", "accuracy", "interval", "majority"]],
        )
    )
    own = tuple(c for c in claims if c["id"].startswith("steering."))
    return (Section("steered", "Can it be steered?", tuple(prose), own, tuple(parts)),)


def _tried(folder: Path, grid: pd.DataFrame, bound: float) -> list[Figure]:
    steered = _placed(grid[grid["kind"] == "emotion"])
    raw = steered["how"].str.contains(" raw ")
    normed = steered[~raw]
    front = pd.concat([pareto(part) for _, part in normed.groupby("emotion", sort=False)])
    scored = pd.read_parquet(folder / "validation.parquet")
    found = [
        Figure(
            "steering-grid",
            "What each place and strength does, on the openings the choice was made on",
            "Share of continuations classed as the emotion, and perplexity ratio to unsteered text. alpha is a fraction of "
            "the layer's residual norm. Colour: regime.",
            pictures.regimes(normed),
        ),
        Figure(
            "steering-gain",
            "Gain in the emotion's probability",
            "Classifier probability of the target emotion, steered minus unsteered, by layer and alpha.",
            draw.steering_heatmaps(normed.rename(columns={"change": "effect"}), "effect", title="gain"),
        ),
        Figure(
            "steering-cost",
            "What it costs: perplexity ratio",
            "Perplexity of the continuation under the unsteered model, relative to unsteered text.",
            draw.steering_heatmaps(normed, "ratio", title="ratio", diverging=False),
        ),
        Figure(
            "pareto",
            "Effect against fluency",
            "One point per condition; the line joins those that no other beats in both. The choice had to lie left of the "
            "dotted line with one standard error to spare.",
            pictures.pareto_front(normed, front, bound=bound),
        ),
        Figure(
            "dose-response",
            "Dose and response",
            "Mean over openings with 95 % intervals; alpha counts beside the strength at the sink, so that alpha 0 is "
            "unsteered text only where no sink acts.",
            pictures.dose_response(_doses(scored[~scored["how"].str.contains(" raw ")])),
        ),
    ]
    if raw.any():
        found.append(
            Figure(
                "steering-grid-raw",
                "The same in raw units",
                "residual += alpha × direction as it was fitted, not normalised. Share classed as the emotion, and "
                "perplexity ratio. Colour: regime.",
                pictures.regimes(steered[raw]),
            )
        )
    return found


def _placed(table: pd.DataFrame) -> pd.DataFrame:
    """With ``layer``: the place as it is shown, the strength at the attention sink beside it."""
    sink = table["how"].str.extract(r" first ([0-9.]+)")[0]
    layers = "L" + table["layers"].astype(str).str.replace(" ", "+")
    return table.assign(layer=layers.where(sink.isna(), layers + ", sink " + sink.fillna("")))


def _doses(scored: pd.DataFrame) -> pd.DataFrame:
    emotions = [e for e in dict.fromkeys(scored["emotion"]) if e]
    metrics = {"probability of the emotion": "p_{}", "VADER": "vader", "nats per token": "nats"}
    found = [
        _placed(dose_response(scored, emotion, column.format(emotion))).assign(metric=metric, emotion=emotion)
        for metric, column in metrics.items()
        for emotion in emotions
    ]
    return pd.concat(found, ignore_index=True)


def _comparison(table: pd.DataFrame) -> Figure:
    return Figure(
        "direction-sets",
        "Direction sets at equal norm",
        f"Gain in the emotion's probability at the chosen place and strength on {int(table['n'].iloc[0])} openings of the "
        "choice, 95 % intervals. Pooling 'emotion' with mean_difference is the token-based direction.",
        pictures.comparison(table),
    )


def _found(folder: Path, chosen: dict[str, Any]) -> list[Figure | Table | Texts]:
    effects = pd.read_parquet(folder / "effects.parquet")
    scored = pd.read_parquet(folder / "test.parquet")
    arms = pd.read_parquet(folder / "arms.parquet")
    matrix = pd.read_parquet(folder / "matrix.parquet")
    return [
        Figure(
            "against-random",
            "On test openings, beside controls of the same norm and beside prompting",
            "Difference from unsteered continuations of the same openings with the same random draws.",
            pictures.against_controls(_against(effects, scored)),
        ),
        Figure(
            "matrix",
            "Emotions by emotions",
            "Change of the classifier's probability of each emotion (columns) under each direction (rows), on test "
            "openings. 'neutral' is none of the three.",
            draw.effect_matrix(
                matrix.rename(columns={"direction": "steered", "label": "measured", "change": "effect"})
            ),
        ),
        Table(
            "Arms on test openings",
            "share: classed as the emotion; words: with a word of its lexicon; ratio: perplexity relative to unsteered; "
            "'prompting' asks for the emotion in words instead.",
            arms[[c for c in _ARM_COLUMNS if c in arms]],
        ),
        Table(
            "Effects on test openings",
            "Paired by opening. null: range over random directions; beats: chosen minus the best random direction; the "
            "same for label-shuffled directions.",
            effects.drop(columns=[c for c in ("condition", "best_random", "best_shuffled") if c in effects]),
        ),
        _texts(scored, chosen),
    ]


def _against(effects: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for row in effects.to_dict("records"):
        if row["metric"] not in _EVALUATORS:
            continue
        emotion, name = row["emotion"], _EVALUATORS[row["metric"]]
        value = scored["vader"]
        if row["metric"] == "share":
            value = (scored["emotion_label"] == emotion).astype(float)
        elif row["metric"] == "words":
            value = (scored[f"n_{emotion}"] > 0).astype(float)
        means = scored.assign(value=value).groupby(["condition", "prompt_id"])["value"].mean()
        rows.append(
            {
                "emotion": emotion, "evaluator": name, "kind": "steered",
                "effect": row["change"], "low": row["low"], "high": row["high"],
            }
        )  # fmt: skip
        own = scored[scored["condition"] == row["condition"]].iloc[0]
        same = (scored["layers"] == own["layers"]) & (scored["alpha"] == own["alpha"]) & (scored["how"] == own["how"])
        control = scored["kind"].isin(["random", "shuffled"]) & same & scored["emotion"].isin([emotion, ""])
        control |= (scored["kind"] == "prompting") & (scored["emotion"] == emotion)
        for condition, kind in scored[control][["condition", "kind"]].drop_duplicates().itertuples(index=False):
            change = float((means[condition] - means["none"]).mean())
            rows.append({"emotion": emotion, "evaluator": name, "kind": kind, "effect": change})
    return pd.DataFrame(rows)


def _texts(scored: pd.DataFrame, chosen: dict[str, Any], count: int = 12) -> Texts:
    """The first openings of the test split, whatever was written; nothing is picked by hand."""
    columns = {"unsteered": "none", **{e: c["name"] for e, c in chosen.items()}}
    prompting = scored[scored["kind"] == "prompting"]["condition"].drop_duplicates().tolist()
    columns |= {name.replace(" | ", ": "): name for name in prompting if name.endswith("few_shot")}
    first = scored[scored["sample"] == 0]
    prompts = list(dict.fromkeys(first["prompt"]))[:count]
    by = first.set_index(["condition", "prompt"])["text"]
    rows = tuple((p, tuple(str(by.get((name, p), "")) for name in columns.values())) for p in prompts)
    return Texts(
        "Texts side by side",
        f"The first {len(prompts)} test openings and their first continuation, unselected; the same random draws in "
        "every column.",
        tuple(columns),
        rows,
    )
