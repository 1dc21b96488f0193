"""``emotion-circuits export`` and ``steer --vector``, on a run of a tiny model."""

import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from emotion_circuits.exchange import KINDS, read_vector
from emotion_circuits.model import generate, intervene, load_model
from emotion_circuits.model.generation import Sampling
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.paths import write_json
from emotion_circuits.stations.steering.exporting import portable_of
from emotion_circuits.stations.steering.folder import Choice, SteeringFolder
from emotion_circuits.steering import interventions_for
from exchange_cases import condition_of, vectors_of
from families import tiny_model
from fuzz_cases import call_here


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two tiny models of one shape in folders, and a run of the first that has steered."""
    root = tmp_path_factory.mktemp("world")
    for seed, name in enumerate("ab"):
        model = tiny_model("llama", seed=seed)
        model.hf.save_pretrained(root / name)
        model.tokenizer.save_pretrained(root / name)
    model = load_model(root / "a", check=False)
    run = root / "run"
    write_json(run / "study.json", {"model": str(root / "a"), "attribute": "emotion-en", "prefix": "none"})
    folder = SteeringFolder.of(run)
    vectors = replace(vectors_of(model), made_of=ModelMark.of(model))
    folder.save_vectors(vectors)
    chosen = {"anger": condition_of().to_json()}
    folder.choice.write(Choice(objective="p", openings=8, chosen=chosen, none_within_bound=("apology",)))
    return root, run, model, vectors


def effects_of(folder, change=0.3):
    """A table of effects with the columns that are read, through the table's own declaration."""
    row = {column.name: 0.0 for column in folder.effects.table.columns if not column.optional}
    row |= {
        "emotion": "anger", "condition": "c", "metric": "share", "side": 1, "treated": 0.5, "control": 0.5 - change,
        "change": change, "low": 0.1, "high": 0.4, "n": 36, "ratio": 1.2, "ratio_low": 1.1, "ratio_high": 1.3,
        "best_random": "r", "n_random": 9, "null_n": 9,
    }  # fmt: skip
    return pd.DataFrame([row])


def told(*arguments, code=0):
    outcome = call_here(["--quiet", *map(str, arguments)])
    assert outcome.code == code, outcome.text
    assert "Traceback" not in outcome.text
    return outcome.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_exported_in_every_kind(kind, world, tmp_path):
    _, run, model, vectors = world
    place = tmp_path / f"v{KINDS[kind].suffix}"
    text = told("export", run, "--emotion", "anger", "--to", kind, "--out", place, "--json")
    found = json.loads(text)
    assert found["layers"] == [1, 2]
    assert found["card"]["model"]["weights_sha256"] == vectors.made_of.weights_sha256
    read = read_vector(place)
    read.check_fits(model)
    batch = model.tokenize(["When the bus arrived, she"])
    condition = condition_of() if KINDS[kind].whole else condition_of(positions="all", first=0.0)
    with intervene(model, interventions_for([condition], vectors)):
        steered = model.logits(batch)
    with intervene(model, read.interventions()):
        torch.testing.assert_close(model.logits(batch), steered, rtol=1e-5, atol=1e-5)


def test_effects_and_costs_stand_in_the_card(world, tmp_path, monkeypatch):
    _, run, _, _ = world
    folder = SteeringFolder.of(run)
    folder.effects.write(effects_of(folder))
    card = portable_of(run, "anger").card
    (run / "steering" / "effects.parquet").unlink()
    assert [(e.metric, e.pushed, e.value, e.low, e.high, e.n) for e in card.effects] == [
        ("share", "all that the run pushes", 0.3, 0.1, 0.4, 36),
        ("perplexity ratio", "all that the run pushes", 1.2, 1.1, 1.3, 36),
    ]
    assert card.effects[0].without == pytest.approx(0.2)
    assert "| perplexity ratio | all that the run pushes | 1.200 | 1.100 to 1.300 |  | 36 |" in card.markdown("x")
    assert card.openings == "continuations-fresh"


def test_what_a_run_has_not_chosen_is_said(world, tmp_path):
    _, run, _, _ = world
    for arguments, said in (
        (("--emotion", "apology"), "no condition for 'apology' was within the bound"),
        (("--emotion", "joy"), "has chosen nothing for 'joy'; there are: anger"),
        ((), "--emotion: which value"),
        (("--emotion", "anger", "--push", "me/x"), "--push: goes with --to hub only"),
        (("--emotion", "anger", "--model", "x"), "--model: goes with --to weights only"),
        (("--emotion", "anger", "--other-model"), "--other-model: goes with --to weights only"),
    ):
        assert said in told("export", run, "--to", "repeng", "--out", tmp_path / "v.gguf", *arguments, code=1)
    empty = tmp_path / "run"
    write_json(empty / "study.json", {"model": "x"})
    assert "steering has not finished" in told(
        "export", empty, "--emotion", "anger", "--to", "hub", "--out", tmp_path / "h", code=1
    )
    assert not (tmp_path / "h").exists()


def test_weights_are_baked_for_plain_transformers(world, tmp_path):
    root, run, model, vectors = world
    text = told("export", run, "--emotion", "anger", "--to", "weights", "--out", tmp_path / "baked")
    assert "saved as llama" in text
    assert "not in it: the strength of 3 residual norms at the first token" in text
    hf = AutoModelForCausalLM.from_pretrained(tmp_path / "baked")
    batch = model.tokenize(["When the bus arrived, she"])
    with intervene(model, interventions_for([condition_of(positions="all", first=0.0)], vectors)):
        with torch.inference_mode():
            baked = hf(input_ids=batch.input_ids).logits
        torch.testing.assert_close(baked, model.logits(batch), rtol=1e-4, atol=1e-4)
    assert "weights, configuration, tokenizer" in (tmp_path / "baked" / "README.md").read_text()
    other = ("export", run, "--emotion", "anger", "--to", "weights", "--model", root / "b", "--out", tmp_path / "other")
    assert "--other-model" in told(*other, code=1)
    assert not (tmp_path / "other").exists()
    told(*other, "--other-model")
    assert (tmp_path / "other" / "model.safetensors").is_file()


def test_steering_with_a_file_is_steering_with_the_run(world, tmp_path):
    root, run, model, _ = world
    told("export", run, "--emotion", "anger", "--to", "safetensors", "--out", tmp_path / "v.safetensors")
    openings = ("When the bus arrived, she", "It rains")
    by_file = json.loads(told("steer", *openings, "--vector", tmp_path / "v.safetensors", "--json"))
    by_run = json.loads(told("steer", *openings, "--run", run, "--emotion", "anger", "--json"))
    assert by_file["rows"] == by_run["rows"]
    assert by_file["model"] == str(root / "a"), "the model that the card names"
    assert any(row["base"] != row["steered"] for row in by_file["rows"])
    none = json.loads(told("steer", *openings, "--vector", tmp_path / "v.safetensors", "--scale", "0", "--json"))
    assert all(row["base"] == row["steered"] for row in none["rows"])
    vector = read_vector(tmp_path / "v.safetensors")
    written = generate(
        model, [openings[0]], Sampling(max_new_tokens=4, temperature=0.0), interventions=vector.interventions()
    )
    assert written[0].text


def test_a_vector_of_another_model_is_refused_or_meant(world, tmp_path):
    root, run, _, _ = world
    told("export", run, "--emotion", "anger", "--to", "llama.cpp", "--out", tmp_path / "v.gguf")
    steer = ("steer", "It rains", "--vector", tmp_path / "v.gguf", "--model", root / "b")
    text = told(*steer, code=1)
    assert "the vector was made of" in text
    assert "--other-model" in text
    assert "transfer from one model to another" in told(*steer, "--other-model")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--vector", "v.gguf", "--emotion", "anger"), "leave --emotion"),
        (("--vector", "v.gguf", "--alpha", "1"), "leave --emotion"),
        (("--vector", "v.gguf", "--layer", "1"), "leave --emotion"),
        (("--vector", "v.gguf", "--scale", "nan"), "--scale"),
        (("--emotion", "anger", "--scale", "2"), "go with --vector only"),
        (("--emotion", "anger", "--other-model"), "go with --vector only"),
        ((), "--emotion"),
        (("--vector", "none.gguf"), "no such file"),
    ],
)
def test_what_steer_cannot_do_is_said(arguments, said):
    assert said in told("steer", "Hi", *arguments, code=1)


def test_a_vector_is_written_in_another_kind(world, tmp_path):
    _, run, _, _ = world
    told("export", run, "--emotion", "anger", "--to", "hub", "--out", tmp_path / "hub")
    told("export", tmp_path / "hub", "--to", "llama.cpp", "--out", tmp_path / "v.gguf")
    assert read_vector(tmp_path / "v.gguf").card.value == "anger"
    assert "its value is anger" in told(
        "export", tmp_path / "v.gguf", "--emotion", "joy", "--to", "repeng", "--out", tmp_path / "r.gguf", code=1
    )
