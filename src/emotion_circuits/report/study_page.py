"""From a run's folder to its report: the five questions of the study, each with claims, figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.report.circuit_section import circuit_sections
from emotion_circuits.report.direction_sections import geometry_section, reading_section
from emotion_circuits.report.page import Page, Section, write_page
from emotion_circuits.report.parts import read_json
from emotion_circuits.report.steering_section import steering_sections
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
    for stage in ("directions", "trace", "steering", "circuits"):
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
            *steering_sections(run, claims, config),
            *circuit_sections(run, claims),
            _method_section(run),
        ),
        command=manifest["command"],
        manifest=manifest,
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
