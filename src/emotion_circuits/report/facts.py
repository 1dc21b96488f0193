"""From a run's artefacts to what its claims speak of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.report.claim_rules import Facts
from emotion_circuits.report.parts import read_json

__all__ = ["aligned_facts", "run_facts"]


def run_facts(run: Path, manifest: dict[str, Any]) -> Facts:
    """What the claims of a finished run speak of."""
    choice = read_json(run / "directions" / "choice.json")
    reading: dict[tuple[str, ...], Any] = {
        (kind, str(row["set"])): row
        for kind, name in (("reading", "reader"), ("single", "single"))
        for row in _rows(run / "directions" / f"{name}.parquet")
    }
    effects: dict[tuple[str, ...], Any] = {
        (str(r["emotion"]), str(r["metric"])): r for r in _rows(run / "steering" / "effects.parquet")
    }
    return Facts(
        model=str(manifest["model"]["name"]),
        single=str(choice["single"]),
        layers={"cosine": choice["steering_layer"], "trace": read_json(run / "trace" / "choice.json")["layer"]},
        reading=reading,
        effects=effects,
        circuit=_circuit(run / "circuits", manifest["config"]["circuits"]),
    )


def aligned_facts(folder: Path) -> Facts:
    """What the claims of a comparison of two models speak of."""
    table = pd.read_parquet(folder / "alignment.parquet")
    paired = table[table["control"] == "paired"]
    row = paired.iloc[int(paired["r2_validation"].to_numpy().argmax())]
    effects: dict[tuple[str, ...], Any] = {
        (str(r["arm"]), str(r["emotion"]), str(r["metric"])): r for r in _rows(folder / "steering.parquet")
    }
    return Facts(effects=effects, alignment={str(k): v for k, v in row.items()})


def _circuit(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    if not (folder / "circuit.json").exists():
        return {}
    heads = pd.read_parquet(folder / "heads.parquet")
    return {
        "size": len(read_json(folder / "circuit.json")["nodes"]),
        "total": len(heads),
        "samples": config["samples"],
        "heads": config["emotion_heads"],
        "exact": bool(heads[heads["kind"] == "head"]["effect"].notna().all()),
    }


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [{str(k): v for k, v in row.items()} for row in pd.read_parquet(path).to_dict("records")]
