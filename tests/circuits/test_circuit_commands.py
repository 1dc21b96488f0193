from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from emotion_circuits.circuits import Search, find_circuit
from emotion_circuits.cli import bench, circuit, heads
from emotion_circuits.directions import DirectionSet
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import write_json
from emotion_circuits.planted import PlantedModel, PlantedSpec, plant


def save_planted(planted: PlantedModel, root: Path) -> tuple[Path, Path]:
    folder, pairs = root / "model", root / "pairs.jsonl"
    planted.model.hf.save_pretrained(folder)
    planted.model.tokenizer.save_pretrained(folder)
    pairs.write_text("\n".join(p.model_dump_json() for p in planted.pairs) + "\n")
    return folder, pairs


def test_bench_planted_prints_one_object() -> None:
    asked = ["--generators", "staged,superposed", "--seeds", "1", "--no-circuit", "1", "--n-pairs", "12", "--no-edges"]
    result = CliRunner().invoke(bench.app, ["planted", *asked, "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found["best"]) == {"head_auroc", "with_role", "false_claim_rate"}
    assert [record["name"] for record in found["generators"]] == ["staged", "superposed"]
    assert {"name", "scores", "median", "low", "high"} <= set(found["methods"][0])


def test_a_planted_folder_goes_through_the_commands(tmp_path: Path) -> None:
    planted = plant(PlantedSpec(seed=3, n_pairs=36))
    folder, pairs = save_planted(planted, tmp_path)
    out = tmp_path / "circuit.json"
    runner, common = CliRunner(), ["--pairs", str(pairs), "--json"]
    screen = runner.invoke(heads.app, ["screen", str(folder), *common])
    assert screen.exit_code == 0, screen.output
    assert json.loads(screen.stdout)["rows"][0]["node"] in {str(n) for n in planted.decoys}
    for command in (["ablate", "--mode", "mean"], ["patch", "--mode", "v_only", "--direction", "noising"]):
        result = runner.invoke(heads.app, [command[0], str(folder), *command[1:], "--nodes", "L0H0 M1", *common])
        assert result.exit_code == 0, result.output
        assert {r["nodes"] for r in json.loads(result.stdout)["rows"]} == {"L0H0", "M1"}
    found = runner.invoke(circuit.app, ["find", str(folder), "--out", str(out), "--exact", "6", *common])
    assert found.exit_code == 0, found.output
    shown = runner.invoke(circuit.app, ["show", str(out), "--figure", str(tmp_path / "c.html"), "--json"])
    kept, told = json.loads(out.read_text()), json.loads(shown.stdout)
    assert all(
        claim.items() <= said.items() for claim, said in zip(kept.pop("claims"), told.pop("claims"), strict=True)
    )
    assert told == kept
    assert "plotly" in (tmp_path / "c.html").read_text(encoding="utf-8")
    tested = runner.invoke(circuit.app, ["test", str(out), "--samples", "4", *common])
    assert tested.exit_code == 0, tested.output
    assert json.loads(tested.stdout)["faithfulness"] > 0.5


def test_tables_are_readable_without_json() -> None:
    planted = plant(PlantedSpec(seed=3, n_pairs=36))
    found = find_circuit(planted.model, planted.pairs, exact=5, steps=2, search=Search(n_random=2, roles=2))
    circuit._show(found, as_json=False)


def test_heads_lose_only_what_they_write_along_a_direction_of_a_run(tmp_path: Path) -> None:
    planted = plant(PlantedSpec(seed=3, n_pairs=36))
    folder, pairs = save_planted(planted, tmp_path)
    d, n = planted.model.d_model, planted.model.n_layers
    vectors = torch.randn(1, n, d, generator=torch.Generator().manual_seed(9))
    directions = DirectionSet(
        extractor="mean_difference", kind="resid_post", pooling="mean", labels=("anger",), layers=tuple(range(n)),
        vectors=vectors, thresholds=torch.zeros(1, n).double(), norms=torch.ones(n).double(), chosen_layer=0,
    )  # fmt: skip
    directions.save(tmp_path / "run" / "directions")
    write_json(
        tmp_path / "run" / "directions" / "choice.json",
        {
            "single": directions.name,
            "layer": 0,
            "steering": directions.name,
            "steering_layer": 0,
            "reader": [[directions.name, 0]],
        },
    )
    common = ["ablate", str(folder), "--nodes", "L0H0 M0", "--pairs", str(pairs), "--json"]
    run = ["--run", str(tmp_path / "run"), "--emotion", "anger"]
    part, whole = (
        {r["nodes"]: r for r in json.loads(done.stdout)["rows"]}
        for done in (
            CliRunner().invoke(heads.app, [*common, "--mode", mode, *run], catch_exceptions=False)
            for mode in ("directional", "zero")
        )
    )
    # Nothing stands between the MLP and that layer's end: what it loses along the direction is all the projection loses.
    assert part["M0"]["projection"] == pytest.approx(whole["M0"]["projection"], rel=1e-3)
    assert abs(part["M0"]["projection"]) > 0
    assert abs(part["M0"]["effect"]) != pytest.approx(abs(whole["M0"]["effect"]), rel=1e-3)
    with pytest.raises(EmotionCircuitsError, match="say whose direction"):
        CliRunner().invoke(heads.app, [*common, *run[:2]], catch_exceptions=False)
