"""repeng and steering-vectors themselves read our files, steer as we do, and write files that we read.

Both ask for older packages than this program runs with (repeng 0.4 for numpy 1, steering-vectors 0.12 for transformers 4), so
that they are in no extra: ``pip install --no-deps repeng steering-vectors``.
"""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emotion_circuits.exchange import read_vector, write_vector
from emotion_circuits.model import intervene
from exchange_cases import vector_of
from families import tiny_model

pytestmark = pytest.mark.oracle
REASON = "asks for older packages than this program: pip install --no-deps {}"


def steered(model, vector, batch):
    with intervene(model, vector.everywhere().interventions()):
        return model.logits(batch)


@pytest.fixture
def batch_of():
    return lambda model: model.tokenize(["When the bus arrived, she"])


def test_repeng(tmp_path, monkeypatch, batch_of):
    monkeypatch.setattr(np, "float_", np.float64, raising=False)  # a name that numpy 2 has dropped
    repeng = pytest.importorskip("repeng", reason=REASON.format("repeng"))
    model = tiny_model("llama")
    vector, batch = vector_of(model), batch_of(model)
    write_vector(vector, "repeng", tmp_path / "a.gguf")
    theirs = repeng.ControlVector.import_gguf(tmp_path / "a.gguf")
    assert theirs.model_type == model.config.model_type
    assert {n: row.tolist() for n, row in theirs.directions.items()} == {n: r.tolist() for n, r in vector.rows.items()}
    expected = steered(model, vector, batch)
    control = repeng.ControlModel(model.hf, list(vector.layers))
    control.set_control(theirs)
    with torch.inference_mode():
        found = control(input_ids=batch.input_ids).logits
    control.unwrap()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    (theirs * 2.0).export_gguf(tmp_path / "b.gguf")
    back = read_vector(tmp_path / "b.gguf")
    assert back.hint == "llama"
    assert all(torch.equal(back.rows[n], vector.rows[n] * 2) for n in vector.rows)


def test_steering_vectors(tmp_path, batch_of):
    package = pytest.importorskip("steering_vectors", reason=REASON.format("steering-vectors"))
    model = tiny_model("gpt2")
    vector, batch = vector_of(model), batch_of(model)
    write_vector(vector, "steering-vectors", tmp_path / "a.safetensors")
    rows = {int(name.split(".")[1]): row for name, row in load_file(tmp_path / "a.safetensors").items()}
    theirs = package.SteeringVector(rows, "decoder_block")
    expected = steered(model, vector, batch)
    with theirs.apply(model.hf), torch.no_grad():
        found = model.hf(input_ids=batch.input_ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    made = {f"layer.{n}": row.contiguous() for n, row in theirs.layer_activations.items()}
    save_file(made, tmp_path / "b.safetensors")
    back = read_vector(tmp_path / "b.safetensors")
    assert all(torch.equal(back.rows[n], theirs.layer_activations[n]) for n in vector.rows)
