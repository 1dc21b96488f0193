"""In which dtype a model computes and writes: what ``auto`` means, and that a writer is the model loaded in that dtype."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Sampling, Site, blueprint, generate, load_model, observe, writing_model
from emotion_circuits.model.precision import chosen_dtypes, native_bfloat16, resolve_dtype
from emotion_circuits.model.replicas import replica
from emotion_circuits.model.source import ModelSource
from families import CONFIGS
from tiny_files import save_folder

F32, BF16 = torch.float32, torch.bfloat16


@pytest.mark.parametrize(
    ("parameters", "device", "native", "expected"),
    [
        (1_000_000, "cpu", True, (F32, F32)),
        (135_000_000, "cpu", True, (F32, BF16)),
        (630_000_000, "cpu", True, (BF16, BF16)),
        (135_000_000, "cpu", False, (F32, F32)),
        (630_000_000, "cpu", False, (F32, F32)),
        (1_000_000, "cuda", False, (BF16, BF16)),
        (630_000_000, "mps", True, (F32, F32)),
    ],
)
def test_what_auto_means(parameters, device, native, expected):
    assert chosen_dtypes(parameters, device, native=native) == expected


def test_native_products_are_those_the_kernel_lists():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split()}
    listed = bool(flags & {"avx512_bf16", "amx_bf16", "bf16", "svebf16"})
    if lines:
        assert native_bfloat16() == (listed and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    assert not native_bfloat16() or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def test_names_of_dtypes():
    assert resolve_dtype("auto") is resolve_dtype(None) is None
    assert resolve_dtype("float16") is resolve_dtype(torch.float16) is torch.float16
    with pytest.raises(
        EmotionCircuitsError, match="dtype must be one of auto, float32, bfloat16, float16, float64, got 'int8'"
    ):
        resolve_dtype("int8")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, (F32, F32)),
        ({"dtype": "auto", "writing_dtype": "auto"}, (F32, F32)),
        ({"dtype": "bfloat16"}, (BF16, BF16)),
        ({"writing_dtype": "bfloat16"}, (F32, BF16)),
        ({"dtype": "bfloat16", "writing_dtype": "float32"}, (BF16, F32)),
    ],
)
def test_a_small_model_is_float32_unless_another_dtype_is_asked_for(tmp_path, asked, expected):
    folder = save_folder(tmp_path)
    for model in (load_model(folder, device="cpu", check=False, **asked), blueprint(folder, device="cpu", **asked)):
        assert (model.dtype, model.writes) == expected


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_the_writer_is_the_model_loaded_in_that_dtype(tmp_path, family):
    folder = save_folder(tmp_path, family)
    model = load_model(folder, writing_dtype="bfloat16", check=False)
    before = {name: tensor.clone() for name, tensor in model.hf.state_dict().items()}
    writer, loaded = writing_model(model), load_model(folder, dtype="bfloat16", check=False)
    batch = model.tokenize(["the man", "another one"])
    assert torch.equal(writer.logits(batch), loaded.logits(batch))
    assert writer.dtype == BF16
    assert writing_model(model) is writer
    assert writing_model(writer) is writer
    how = Sampling(max_new_tokens=6, temperature=1.0)
    assert generate(writer, ["the man"], how) == generate(loaded, ["the man"], how)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.hf.state_dict().items())
    assert model.dtype == model.logits(batch).dtype == F32


def test_a_writer_in_the_models_own_dtype_is_the_model(tmp_path):
    model = load_model(save_folder(tmp_path), check=False)
    assert writing_model(model) is model


def test_what_is_watched_writes_itself(tmp_path):
    model = load_model(save_folder(tmp_path), writing_dtype="bfloat16", check=False)
    with observe(model, [Site("resid_post", 0)]):
        assert writing_model(model) is model
    assert writing_model(model) is not model


def test_another_process_loads_the_very_writer(tmp_path):
    model = load_model(save_folder(tmp_path), writing_dtype="bfloat16", check=False)
    again = ModelSource.of(writing_model(model)).load()  # compares the weights bit by bit
    assert again.dtype == BF16


def test_tied_weights_stay_tied_in_another_dtype(tmp_path):
    model = load_model(save_folder(tmp_path, "gemma3"), check=False)
    made = replica(model, BF16)
    tied = model.unembedding.weight.data_ptr() == model.hf.get_input_embeddings().weight.data_ptr()
    assert tied
    assert made.unembedding.weight.data_ptr() == made.hf.get_input_embeddings().weight.data_ptr()
