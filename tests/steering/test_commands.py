"""The commands ``steer``, ``evaluate`` and ``plan``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from emotion_circuits.cli import evaluate
from emotion_circuits.cli.plan import plan
from emotion_circuits.cli.steer import steer
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_attribute
from emotion_circuits.statistics import required_n
from families import tiny_model

app = typer.Typer()
app.command()(steer)
app.command()(plan)
app.add_typer(evaluate.app, name="evaluate")


def called(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def tiny_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    model = tiny_model("llama")
    model.hf.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_plan() -> None:
    found = json.loads(called("plan", "-d", "0.5", "-d", "0.8", "--json"))
    assert [r["test_alone"] for r in found["rows"]] == [required_n(0.5), required_n(0.8)]
    for row in found["rows"]:
        assert row["test_alone"] <= row["prompts"] <= row["test_alone"] + 5
        assert row["power_low"] <= row["power"] <= row["power_high"]
    many = ("plan", "-d", "0.5", "--tests", "12", "--true", "3", "--draws", "199")
    assert json.loads(called(*many, "--json"))["rows"][0]["prompts"] > 50
    assert "the test alone would need 34" in called(*many)
    assert json.loads(called("plan", "--n", "36", "--json"))["rows"][0]["effect"] == pytest.approx(0.5, abs=0.03)


def test_steer_prints_both_texts(tiny_folder: str) -> None:
    found = json.loads(
        called("steer", "--model", tiny_folder, "--emotion", "anger", "--alpha", "3", "--json", "One two", "Hi")
    )
    assert [r["prompt"] for r in found["rows"]] == ["One two", "Hi"]
    assert any(r["base"] != r["steered"] for r in found["rows"])
    assert found["condition"]["alpha"] == 3
    assert found["condition"]["layers"] == [1]
    off = json.loads(called("steer", "--model", tiny_folder, "--emotion", "anger", "--alpha", "0", "--json", "One two"))
    assert off["rows"][0]["base"] == off["rows"][0]["steered"]
    text = called("steer", "--model", tiny_folder, "--emotion", "anger", "--layer", "2", "One two")
    assert "steered" in text
    assert "perplexity" in text
    with pytest.raises(EmotionCircuitsError, match="there are: gratitude, anger, apology"):
        called("steer", "--model", tiny_folder, "--emotion", "joy", "Hi")
    with pytest.raises(EmotionCircuitsError, match="--model"):
        called("steer", "--emotion", "anger", "Hi")


def test_steer_uses_a_runs_directions_and_choice(tiny_folder: str, tmp_path: Path) -> None:
    from emotion_circuits.directions import DirectionSet
    from emotion_circuits.steering import Condition

    run = tmp_path / "run"
    directions = DirectionSet(
        extractor="mean_difference", kind="resid_post", pooling="last", labels=("anger",), layers=(0, 1, 2),
        vectors=torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(3)),
        thresholds=torch.zeros(1, 3), norms=torch.full((3,), 4.0),
    )  # fmt: skip
    directions.save(run / "directions")
    name = directions.name
    choice = {"single": name, "layer": 1, "steering": name, "steering_layer": 1, "reader": [[name, 1]]}
    (run / "directions" / "choice.json").write_text(json.dumps(choice))
    (run / "study.json").write_text(json.dumps({"model": tiny_folder}))
    (run / "steering").mkdir()
    chosen = Condition(name="c", emotion="anger", layers=(2,), alpha=2.0)
    steered = {"objective": "p", "openings": 8, "chosen": {"anger": chosen.to_json()}, "none_within_bound": []}
    (run / "steering" / "choice.json").write_text(json.dumps(steered))
    found = json.loads(called("steer", "--run", str(run), "--emotion", "anger", "--json", "One two"))
    assert found["condition"]["layers"] == [2]
    assert found["condition"]["alpha"] == 2.0
    assert found["model"] == tiny_folder
    with pytest.raises(EmotionCircuitsError, match="not the folder of a run"):
        called("steer", "--run", str(tmp_path), "--emotion", "anger", "Hi")


def test_evaluate_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path))
    found = json.loads(called("evaluate", "validate", "keywords", "--json"))["validations"]
    assert [v["data"] for v in found] == list(load_attribute("emotion-en").validation["emotion"].sets)
    assert "true \\ judged" in called("evaluate", "validate", "vader")
    assert "emotion" in json.loads(called("evaluate", "list", "--json"))
    own = tmp_path / "own.jsonl"
    rows = [("good", "I love it", "a"), ("bad", "I hate it", "b")]
    own.write_text(
        "\n".join(
            json.dumps(dict(id=i, text=t, label=i, group=g, split="test", language="en", set="own")) for i, t, g in rows
        )
    )
    arguments = ["--data", str(own), "--label", "good=positive", "--label", "bad=negative"]
    found = json.loads(called("evaluate", "validate", "vader", *arguments, "--json"))["validations"]
    assert found[0]["accuracy"] == 1.0
    with pytest.raises(EmotionCircuitsError, match="TEXT_LABEL"):
        called("evaluate", "validate", "vader", "--data", str(own), "--label", "good")
