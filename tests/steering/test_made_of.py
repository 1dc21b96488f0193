"""Directions remember the model they were made of; another one of the same shape is named, not taken silently."""

import logging
import re

import pytest
import torch

from emotion_circuits.activations import capture
from emotion_circuits.directions import Reader, fit_directions, trace
from emotion_circuits.directions.reading import save_reader
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import load_model
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.prompts import load_prompts
from emotion_circuits.steering import NONE, Condition, SteeringVectors, sweep, vectors_from_store
from families import tiny_model

SAID = r"made of {a} \(weights \w{{12}}\), not of {b} \(weights \w{{12}}\)"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two models of one shape, loaded from files, and directions of the first."""
    root = tmp_path_factory.mktemp("made")
    models = []
    for name in "ab":
        model = tiny_model("llama", max_position_embeddings=512)
        if name == "b":
            with torch.no_grad():
                model.hf.model.layers[0].mlp.down_proj.weight.mul_(1.5)
        model.hf.save_pretrained(root / name)
        model.tokenizer.save_pretrained(root / name)
        models.append(load_model(str(root / name), check=False))
    rows = load_prompts("core", split="train")[:48]
    store = capture(models[0], rows, root / "states", kinds=("resid_post",), pooling=("mean",))
    return root, models, store, fit_directions(store, pooling="mean").with_layer(1)


def test_vectors_carry_their_model_through_every_step_and_the_file(made):
    root, (a, _), store, directions = made
    mark = ModelMark.of(a)
    for vectors in (vectors_from_store(store, pooling="mean"), SteeringVectors.from_directions(directions)):
        dressed = vectors.with_neutral(vectors.unit["anger"]).with_first(vectors.unit["anger"] + 1).clear_of_first()
        dressed.save(root / "vectors.safetensors")
        read = SteeringVectors.load(root / "vectors.safetensors")
        assert vectors.made_of == dressed.made_of == read.made_of == mark
        assert read.sha256() == dressed.sha256()
    assert directions.made_of == mark


def test_a_reader_of_another_model_is_refused(made):
    root, (a, b), _, directions = made
    save_reader(root / "reader", [(directions, 1)])
    assert Reader.load(a, root / "reader").read(["I thank you so much"])["label"].notna().all()
    with pytest.raises(EmotionCircuitsError, match=SAID.format(a=a.name, b=b.name)):
        Reader.load(b, root / "reader")


def test_sweeps_and_traces_of_another_model_say_so(made, caplog):
    _, (a, b), store, directions = made
    vectors = vectors_from_store(store, pooling="mean")
    prompts = load_prompts("core", labels=["neutral"])[:1]
    arms = [NONE, Condition(name="x", emotion="anger", layers=(1,), alpha=0.1)]
    for model, words in ((a, 0), (b, 1)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            sweep(model, prompts, arms, vectors, folder=made[0] / f"sweep-{words}")
            trace(model, "I thank you", directions)
        assert len(caplog.records) == 2 * words
    assert re.search(SAID.format(a=a.name, b=b.name), caplog.text)


def test_the_same_weights_in_memory_and_in_files_are_the_same_model(made):
    root, (a, b), _, _ = made
    memory = tiny_model("llama", max_position_embeddings=512)
    memory.name = a.name
    assert not ModelMark.of(a).differs(memory)
    assert not ModelMark.of(memory).differs(load_model(str(root / "a"), check=False, dtype="float32"))
    assert ModelMark.of(memory).differs(b)
    memory.name = "another"
    assert ModelMark.of(b).differs(memory)


def test_another_shape_is_refused(made):
    _, _, store, directions = made
    vectors = vectors_from_store(store, pooling="mean")
    wide = tiny_model("gpt2")
    wide_vectors = SteeringVectors.from_raw({"a": torch.ones(3, wide.d_model + 1)}, torch.ones(3))
    with pytest.raises(EmotionCircuitsError, match=f"width {wide.d_model + 1}, .* has {wide.d_model}"):
        wide_vectors.check_fits(wide)
    deep = SteeringVectors.from_raw({"a": torch.ones(9, wide.d_model)}, torch.ones(9))
    with pytest.raises(EmotionCircuitsError, match="9 layers"):
        deep.check_fits(wide)
    assert vectors.made_of == directions.made_of
