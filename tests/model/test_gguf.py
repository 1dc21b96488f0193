"""Dequantising a GGUF file tensor by tensor gives what transformers gives by holding the whole of it in memory."""

from __future__ import annotations

import subprocess
import sys

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import BUNDLED, load_model, weights_sha256
from emotion_circuits.model import gguf as converting
from emotion_circuits.model.gguf import convert_gguf
from emotion_circuits.model.gguf_header import read_header
from tiny_files import ARCHITECTURES, tiny_config, write_gguf, write_quantised_gguf

KINDS = {
    "as Q4_K_M has them": ["Q4_K", "Q6_K", "Q5_0", "Q8_0", "Q5_K"],
    "older": ["Q4_0", "Q4_1", "Q5_1", "F16", "F32"],
}


def by_transformers(file, dtype):
    return AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=dtype)


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_weights_are_those_of_transformers(tmp_path, monkeypatch, architecture, kinds):
    file = write_quantised_gguf(tmp_path / "tiny.gguf", architecture, kinds)
    monkeypatch.setattr(converting, "_BLOCK", 7 * 256)  # the embeddings come in 38 blocks of rows
    sums = convert_gguf(file, tmp_path / "ours", dtype=torch.float32)
    theirs = by_transformers(file, torch.float32)
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    expected, found = theirs.state_dict(), ours.state_dict()
    assert list(expected) == list(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert len({float(t.abs().sum()) for t in found.values()}) > 8, "tensors differ from one another"
    aside = {"_name_or_path", "architectures", "quantization_config"}  # a file that holds values has no quantisation
    settings = [{k: v for k, v in m.config.to_dict().items() if k not in aside} for m in (ours, theirs)]
    assert settings[0] == settings[1]
    assert ours.generation_config.to_dict() == theirs.generation_config.to_dict()
    assert sums == {"model.safetensors": converting.file_sha256(tmp_path / "ours" / "model.safetensors")}
    assert AutoTokenizer.from_pretrained(tmp_path / "ours")("the man").input_ids


def test_bfloat16_on_disk_is_the_rounded_value(tmp_path):
    file = write_quantised_gguf(tmp_path / "tiny.gguf", "qwen2", KINDS["as Q4_K_M has them"])
    convert_gguf(file, tmp_path / "ours", dtype=torch.bfloat16)
    found = load_file(tmp_path / "ours" / "model.safetensors")
    assert AutoConfig.from_pretrained(tmp_path / "ours").dtype == torch.bfloat16
    for name, exact in by_transformers(file, torch.float32).state_dict().items():
        assert found[name].dtype == torch.bfloat16
        assert torch.equal(found[name], exact.to(torch.bfloat16)), name
        assert torch.all((found[name].float() - exact).abs() <= exact.abs() / 256), name


def test_small_models_stay_float32_and_large_ones_become_bfloat16(tmp_path, monkeypatch):
    file = write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr(converting, "LARGE", 33_000)
    convert_gguf(file, tmp_path / "small")
    monkeypatch.setattr(converting, "LARGE", 32_000)
    convert_gguf(file, tmp_path / "large")
    kept = {n: {t.dtype for t in load_file(tmp_path / n / "model.safetensors").values()} for n in ("small", "large")}
    assert sum(t.numel() for t in load_file(tmp_path / "large" / "model.safetensors").values()) == 32_160
    assert kept == {"small": {torch.float32}, "large": {torch.bfloat16}}


def test_the_header_is_read_as_the_gguf_package_reads_it(tmp_path):
    file = write_quantised_gguf(tmp_path / "tiny.gguf", "qwen2", KINDS["as Q4_K_M has them"])
    architecture, tensors, said = read_header(file)
    theirs = gguf.GGUFReader(str(file)).tensors
    assert architecture == said["general.architecture"] == "qwen2"
    assert said["qwen2.block_count"] == 2
    assert said["tokenizer.ggml.eos_token_id"] == 0
    assert "tokenizer.ggml.tokens" not in said
    assert [(t.name, t.kind, t.offset) for t in tensors] == [(t.name, t.tensor_type, t.data_offset) for t in theirs]
    for ours, their in zip(tensors, theirs, strict=True):
        exact = gguf.dequantize(np.array(their.data), their.tensor_type)
        assert ours.shape == exact.shape
        half = ours.shape[0] // 2
        joined = np.concatenate([ours.rows(file, 0, half), ours.rows(file, half, ours.shape[0])])
        assert np.array_equal(joined, exact)


def test_a_file_that_is_cut_short_is_refused_wherever_it_ends(tmp_path):
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in (3, 20, 400, 5_000, len(whole) // 2, len(whole) - 40):
        cut.write_bytes(whole[:length])
        with pytest.raises(EmotionCircuitsError, match=r"cut\.gguf: cannot be loaded as a GGUF model"):
            convert_gguf(cut, tmp_path / str(length))


def test_missing_tensors_are_named(tmp_path):
    file = tmp_path / "part.gguf"
    data = write_gguf(file).read_bytes()
    file.write_bytes(data.replace(b"blk.1.ffn_down.weight", b"blk.1.ffn_frog.weight"))
    with pytest.raises(
        EmotionCircuitsError, match=r"1 tensors are missing, among them model\.layers\.1\.mlp\.down_proj"
    ):
        convert_gguf(file, tmp_path / "out")


def test_the_sum_is_known_without_reading_the_weights_again(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))
    model = load_model(write_gguf(tmp_path / "tiny.gguf"))
    notes = list((tmp_path / "cache" / "sha256").iterdir())
    assert len(notes) == 1
    weights_sha256(model)
    assert list((tmp_path / "cache" / "sha256").iterdir()) == notes


def test_the_tiny_configurations_are_of_the_families_they_stand_for():
    assert {a: tiny_config(a).model_type.split("_")[0] for a in ARCHITECTURES} == {a: a for a in ARCHITECTURES}


@pytest.mark.slow
def test_installing_a_real_model_takes_at_most_twice_its_file_in_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path))
    name = "qwen2.5-coder-0.5b"
    code = (
        "import resource, sys\n"
        "from emotion_circuits.model import install\n"
        "install(sys.argv[1])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = int(done.stdout.split()[-1]) * unit
    assert peak <= 2 * BUNDLED[name].size, f"{peak / 1e6:.0f} MB"
    model = load_model(name)
    assert (model.n_layers, model.n_heads, model.n_kv_heads, model.d_model) == (24, 14, 2, 896)
