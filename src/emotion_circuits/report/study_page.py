"""From a run's folder to its report: the five questions of the study, each with claims, figures and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.report import figures as draw
from emotion_circuits.report.circuit_section import circuit_sections
from emotion_circuits.report.page import Figure, Page, Section, Table, Texts, write_page

__all__ = ["read_claims", "summary_table", "write_report"]

REPORT = "report.html"


def write_report(run: Path | str) -> Path:
    """Write ``report.html`` into a run's folder.

    Raises:
        EmotionCircuitsError: not the folder of a finished run.
    """
    run = Path(run)
    manifest = _json(run / "manifest.json")
    path = run / REPORT
    write_page(_page(run, manifest), path)
    return path


def read_claims(run: Path | str) -> list[dict[str, Any]]:
    """All claims of a run, in the order of its stations."""
    found: list[dict[str, Any]] = []
    for stage in ("directions", "steering", "circuits"):
        found += _json(Path(run) / stage / "claims.json")
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


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EmotionCircuitsError(
            f"{path}: is missing; finish the run first (emotion-circuits run --out {path.parent})"
        ) from error
    except ValueError as error:
        raise EmotionCircuitsError(f"{path}: is damaged: {error}") from error


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
            _reading_section(run, claims),
            _geometry_section(run, claims),
            *_steering_sections(run, claims, config),
            *circuit_sections(run, claims),
            _method_section(run),
        ),
        command=manifest["command"],
        manifest=manifest,
    )


def _of(claims: list[dict[str, Any]], prefix: str) -> tuple[dict[str, Any], ...]:
    return tuple(c for c in claims if c["id"].startswith(prefix))


def _reading_section(run: Path, claims: list[dict[str, Any]]) -> Section:
    folder = run / "directions"
    table = pd.read_parquet(folder / "evaluation.parquet")
    single = pd.read_parquet(folder / "single.parquet")
    reader = pd.read_parquet(folder / "reader.parquet")
    candidates = pd.read_parquet(folder / "candidates.parquet")
    choice = _json(folder / "choice.json")
    extractor, pooling = str(single["extractor"].iloc[0]), str(single["pooling"].iloc[0])
    part = table[(table["extractor"] == extractor) & (table["pooling"] == pooling) & (table["split"] == "test")]
    curves = part.rename(columns={"set": "series"})
    implicit = reader[reader["set"] == "implicit"]
    words = ""
    if len(implicit):
        row = implicit.iloc[0]
        words = (
            f" On sentences without any emotion word the reader is right on {row['accuracy']:.0%}, "
            f"bag of words on {row['bag_of_words']:.0%}."
        )
    return Section(
        "taken-in",
        "Where does emotion show in the activations?",
        (
            "A direction is a vector per emotion and layer, fitted on training sentences. Beside each figure stands what "
            "a bag of words reaches after training on the same sentences, and chance. The corpus 'core' names the "
            f"emotion outright; 'implicit' never does; 'scenarios' tells one event in four ways.{words}",
        ),
        _of(claims, "directions.reading"),
        (
            Figure(
                "accuracy-by-layer",
                f"Test accuracy by layer ({extractor}, {pooling})",
                "Share of held-out sentences labelled right among all labels. Dashed: bag of words. Dotted: chance.",
                draw.accuracy_by_layer(curves),
                f"The layer chosen on validation is {choice['layer']}.",
            ),
            Table(
                "The reader on held-out test sentences",
                "Chosen on validation. Intervals: 95 % cluster bootstrap over groups. 'difference' is paired, states "
                "minus bag of words.",
                reader,
            ),
            Table(
                "The best single direction set, beside its nulls",
                "'shuffled': the same procedure on labels permuted within groups. 'random': random directions of the same "
                "length. Ranges hold 95 % of the draws.",
                single,
            ),
            Table("Candidates for the reader, on validation sentences", "Accuracy by corpus and mean.", candidates),
        ),
    )


def _geometry_section(run: Path, claims: list[dict[str, Any]]) -> Section:
    folder = run / "directions"
    cosines = pd.read_parquet(folder / "cosines.parquet")
    norms = pd.read_parquet(folder / "norms.parquet").rename(columns={"label": "emotion", "relative": "relative_norm"})
    return Section(
        "geometry",
        "How do the directions lie to one another?",
        (
            "Directions of several emotions share the neutral mean they are measured from; that alone makes their "
            "cosines positive. The null is therefore the cosine under shuffled labels, not 0.",
        ),
        _of(claims, "directions.cosine"),
        (
            Figure(
                "cosines",
                "Cosine between emotions, by layer",
                "Bands: 95 % bootstrap over groups. Dotted: labels shuffled within groups. Grey: where 95 % of unrelated "
                "random directions lie.",
                draw.cosines_by_layer(cosines),
            ),
            Figure(
                "norms",
                "Length of the directions, by layer",
                "L2 norm as a fraction of the residual norm (root mean square over neutral token states without the first).",
                draw.norms_by_layer(norms),
            ),
        ),
    )


def _layer_of(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(layer=table["layers"].astype(str))


def _steering_sections(run: Path, claims: list[dict[str, Any]], config: dict[str, Any]) -> tuple[Section, ...]:
    folder = run / "steering"
    grid = pd.read_parquet(folder / "grid.parquet")
    choice = _json(folder / "choice.json")
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
        evaluators = pd.DataFrame(_json(folder / "evaluators.json"))
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
    return (Section("steered", "Can it be steered?", tuple(prose), _of(claims, "steering."), tuple(parts)),)


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
