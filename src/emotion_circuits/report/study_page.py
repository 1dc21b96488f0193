"""From a run's folder to its report: the five questions of the study, each with claims, figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.report import figures as draw
from emotion_circuits.report.direction_sections import geometry_section, reading_section
from emotion_circuits.report.page import Figure, Page, Section, Table, Texts, write_page
from emotion_circuits.report.parts import claims_of, read_json
from emotion_circuits.report.trace_section import trace_section

__all__ = ["read_claims", "summary_table", "write_report"]

REPORT = "report.html"


def write_report(run: Path | str) -> Path:
    """Write ``report.html`` into a run's folder.

    Raises:
        EmotionCircuitsError: not the folder of a finished run.
    """
    run = Path(run)
    manifest = read_json(run / "manifest.json")
    path = run / REPORT
    write_page(_page(run, manifest), path)
    return path


def read_claims(run: Path | str) -> list[dict[str, Any]]:
    """All claims of a run, in the order of its stations."""
    found: list[dict[str, Any]] = []
    for stage in ("directions", "trace", "steering"):
        found += read_json(Path(run) / stage / "claims.json")
    return found


def summary_table(run: Path | str) -> list[dict[str, str]]:
    """One line per claim: finding, figure, unit, interval, reference (chance level or null interval), verdict."""
    rows = []
    for claim in read_claims(run):
        reference = "" if claim["chance"] is None else f"{claim['chance']:.3g}"
        if claim["null_interval"]:
            low, high = claim["null_interval"]
            reference = f"{low:+.3f} … {high:+.3f}"
        interval = claim["interval"]
        rows.append(
            {
                "finding": claim["id"],
                "figure": f"{claim['estimate']:+.3f}",
                "unit": claim["unit"],
                "interval": f"[{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else "–",
                "reference": reference,
                "verdict": claim["verdict"],
            }
        )
    return rows


def _page(run: Path, manifest: dict[str, Any]) -> Page:
    model, config = manifest["model"], manifest["config"]
    claims = read_claims(run)
    counts = {v: sum(c["verdict"] == v for c in claims) for v in ("supported", "not supported", "inconclusive")}
    emotions = ", ".join(config["emotions"])
    return Page(
        title=f"Emotion in {model['name']}",
        lead=f"Asked: where {emotions} show in the activations of {model['name']}, and whether adding their directions "
        f"changes what it writes. Of {len(claims)} claims, {counts['supported']} are supported, "
        f"{counts['not supported']} are not, {counts['inconclusive']} are inconclusive.",
        facts=(
            ("model", f"{model['name']} ({model['family']}, {model['n_layers']} layers, width {model['d_model']})"),
            ("weights", f"sha256 {model['weights_sha256'][:16]}…"),
            ("sentences", f"{manifest['data']['prompts']['rows']} from {', '.join(config['prompts'])}"),
            ("emotions", f"{emotions}; neutral is the reference"),
            ("splits", "fitted on train, chosen on validation, reported on test; groups are never divided"),
            ("seed", str(manifest["seed"])),
        ),
        sections=(
            reading_section(run, claims),
            geometry_section(run, claims),
            trace_section(run, claims),
            *_steering_sections(run, claims, config),
            _method_section(run),
        ),
        command=manifest["command"],
        manifest=manifest,
    )


def _layer_of(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(layer=table["layers"].astype(str))


def _steering_sections(run: Path, claims: list[dict[str, Any]], config: dict[str, Any]) -> tuple[Section, ...]:
    folder = run / "steering"
    grid = pd.read_parquet(folder / "grid.parquet")
    choice = read_json(folder / "choice.json")
    bound = float(config["steering"]["max_perplexity_ratio"])
    steered = _layer_of(grid[grid["kind"] == "emotion"])
    points = steered.rename(columns={"change": "effect", "ratio": "perplexity_ratio"})
    parts: list[Figure | Table | Texts] = [
        Figure(
            "steering-grid",
            "Gain in the emotion's probability on validation openings",
            "Classifier probability of the target emotion, steered minus unsteered, by layer and alpha (fraction of the "
            "layer's residual norm).",
            draw.steering_heatmaps(points, "effect", title="gain"),
        ),
        Figure(
            "steering-cost",
            "What it costs: perplexity ratio on validation openings",
            "Perplexity of the continuation under the unsteered model, relative to unsteered text.",
            draw.steering_heatmaps(points, "perplexity_ratio", title="ratio", diverging=False),
        ),
        Figure(
            "pareto",
            "Effect against fluency",
            "One point per condition on validation openings; the choice had to lie left of the dotted line.",
            draw.pareto(points, bound=bound),
        ),
    ]
    chosen = choice["chosen"]
    prose = [f"Objective of the choice: {choice['objective']}."]
    if choice["none_within_bound"]:
        prose.append(f"No condition was within the bound for: {', '.join(choice['none_within_bound'])}.")
    if chosen:
        effects = pd.read_parquet(folder / "effects.parquet")
        scored = pd.read_parquet(folder / "test.parquet")
        arms = pd.read_parquet(folder / "arms.parquet")
        matrix = pd.read_parquet(folder / "matrix.parquet")
        evaluators = pd.DataFrame(read_json(folder / "evaluators.json"))
        parts += [
            Figure(
                "against-random",
                "On test openings, beside random directions",
                "Difference from unsteered continuations of the same openings with the same random draws. Short lines: "
                "each random direction of the same norm.",
                draw.effect_against_random(_against_random(effects, scored)),
            ),
            Figure(
                "matrix",
                "Emotions by emotions",
                "Change of the classifier's probability of each emotion (columns) under each direction (rows), on test "
                "openings.",
                draw.effect_matrix(
                    matrix.rename(columns={"direction": "steered", "label": "measured", "change": "effect"})
                ),
            ),
            Table(
                "Arms on test openings",
                "share: classed as the emotion; ratio: perplexity relative to unsteered; 'prompting' asks for the emotion "
                "in words instead.",
                arms[[c for c in _ARM_COLUMNS if c in arms]],
            ),
            Table(
                "Effects on test openings",
                "Paired by opening. null: range over random directions; beats: chosen minus the best random direction.",
                effects.drop(columns=[c for c in ("condition", "best_random") if c in effects]),
            ),
            Table(
                "How good the evaluators are on labelled held-out text",
                "Accuracy with 95 % interval; majority: always the most frequent label.",
                evaluators[["evaluator", "axis", "data", "split", "n", "accuracy", "interval", "majority"]],
            ),
            _texts(scored, chosen),
        ]
        prose.append(
            "Conditions: "
            + "; ".join(
                f"{e}: layer {' '.join(map(str, c['layers']))}, alpha {c['alpha']:g}" for e, c in chosen.items()
            )
            + "."
        )
    return (Section("steered", "Can it be steered?", tuple(prose), claims_of(claims, "steering."), tuple(parts)),)


_ARM_COLUMNS = (
    "condition", "kind", "emotion", "n", "share", "base_share", "p", "change", "change_low", "change_high",
    "ratio", "repetition", "distinct_2", "regime",
)  # fmt: skip


def _against_random(effects: pd.DataFrame, scored: pd.DataFrame) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    names = {"probability": "emotion classifier (probability)", "vader": "VADER (sentiment)"}
    for row in effects.to_dict("records"):
        if row["metric"] not in names:
            continue
        evaluator = names[row["metric"]]
        column = f"p_{row['emotion']}" if row["metric"] == "probability" else "vader"
        rows.append(
            {
                "emotion": row["emotion"], "evaluator": evaluator, "kind": "steered",
                "effect": row["change"], "low": row["low"], "high": row["high"],
            }
        )  # fmt: skip
        base = scored[scored["kind"] == "none"].groupby("prompt_id")[column].mean()
        drawn = scored[(scored["kind"] == "random") & (scored["emotion"] == row["emotion"])]
        for _, part in drawn.groupby("condition"):
            change = float((part.groupby("prompt_id")[column].mean() - base).mean())
            rows.append({"emotion": row["emotion"], "evaluator": evaluator, "kind": "random", "effect": change})
    return pd.DataFrame(rows)


def _texts(scored: pd.DataFrame, chosen: dict[str, Any], count: int = 12) -> Texts:
    """The first openings of the test split, whatever was written; nothing is picked by hand."""
    columns = {"unsteered": "none", **{e: c["name"] for e, c in chosen.items()}}
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


def _method_section(run: Path) -> Section:
    store = pd.read_parquet(run / "capture" / "rows.parquet")
    excluded = int((~store["has_emotion"]).sum())
    return Section(
        "method",
        "What stands behind the figures",
        (
            "alpha is a fraction of the layer's residual norm. The first token, an attention sink, is left out of every "
            "mean and norm. Emotion words are located by character offsets; neutral sentences take a position-matched "
            f"token of their own group. {excluded} of {len(store)} sentences have no such token and are left out of the "
            "token-based directions, and only of those.",
            "Both arms of every comparison share openings, random draws and decoding. Only the continuation is scored, by "
            "evaluators that do not know the condition. p-values are from paired permutation tests, q-values from one "
            "declared family per table.",
        ),
    )
