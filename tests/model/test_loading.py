"""Loading: folders, GGUF files, options, hashes, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Sampling, Site, blueprint, generate, load_model, observe, weights_sha256
from families import tiny_hf, tiny_model, tiny_tokenizer
from model_cases import FAMILY_NAMES, TEXTS
from tiny_files import save_folder, write_gguf


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_local_folder_of_any_family_loads_and_gives_the_same_logits(name, tmp_path):
    folder = save_folder(tmp_path / name, name)
    model, expected = load_model(folder), tiny_model(name)
    batch = expected.tokenize(TEXTS)
    if name != "qwen2":  # for this family transformers puts its own byte-level splitting over a folder's tokenizer
        assert torch.equal(batch.input_ids, model.tokenize(TEXTS).input_ids)
    assert torch.equal(model.logits(batch), expected.logits(batch))
    assert not model.hf.training
    assert not any(p.requires_grad for p in model.hf.parameters())
    assert model.source == folder
    assert model.family == expected.family
    assert model.refused == {}


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, torch.float32),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
        (torch.float64, torch.float64),
    ],
)
def test_dtype(dtype, expected, tmp_path):
    model = load_model(save_folder(tmp_path / "m"), dtype=dtype, device="cpu")
    assert model.dtype == expected
    assert {p.dtype for p in model.hf.parameters()} == {expected}


def test_device_auto_spreads_through_accelerate_and_still_works(tmp_path):
    folder = save_folder(tmp_path / "m")
    model = load_model(folder, device="auto", dtype="float32")
    plain = load_model(folder, device="cpu")
    how = Sampling(max_new_tokens=4, min_new_tokens=4)
    if model.device.type == "cpu":
        assert generate(model, TEXTS, how) == generate(plain, TEXTS, how)
    with observe(model, [Site("resid_post", 1)]) as record:
        model.logits(model.tokenize(TEXTS))
    assert record[Site("resid_post", 1)].shape == (3, 17, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(dtype="float8"), "dtype must be one of auto, float32, bfloat16, float16, float64, got 'float8'"),
        (dict(device="banana"), "device 'banana' cannot be used here"),
        (dict(device="cuda:99"), "device 'cuda:99' cannot be used here"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message, tmp_path):
    with pytest.raises(EmotionCircuitsError, match=message):
        load_model(save_folder(tmp_path / "m"), **options)


def pickled_folder(folder):
    model = tiny_hf("llama")
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_pickled_weights_are_refused_and_the_flag_is_named(tmp_path):
    folder = pickled_folder(tmp_path / "m")
    with pytest.raises(EmotionCircuitsError, match=r"only pickled weights.*allow_pickle=True.*--allow-pickle"):
        load_model(folder)


def test_pickled_weights_load_when_asked_for(tmp_path):
    model = load_model(pickled_folder(tmp_path / "m"), allow_pickle=True)
    batch = model.tokenize(TEXTS)
    assert torch.equal(model.logits(batch), tiny_model("llama").logits(batch))


def test_safetensors_are_taken_where_there_are_both(tmp_path):
    folder = save_folder(pickled_folder(tmp_path / "m"))
    (folder / "pytorch_model.bin").write_bytes(b"not a pickle")
    assert load_model(folder).n_layers == 3


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_missing_folder_is_named(name):
    with pytest.raises(EmotionCircuitsError, match=f"{name}: no such folder or file"):
        load_model(name)


def test_a_file_that_is_no_model_is_named(tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    with pytest.raises(EmotionCircuitsError, match=r"neither a model folder nor a \.gguf file"):
        load_model(file)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(EmotionCircuitsError, match=f"{tmp_path}: could not be loaded"):
        load_model(tmp_path)


def test_damaged_weights_are_a_clear_error(tmp_path):
    folder = save_folder(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(
        EmotionCircuitsError, match=r"model\.safetensors: its weights cannot be read .* cut short or damaged"
    ):
        load_model(folder)


def test_an_unsupported_family_is_refused_before_its_weights_are_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bloom", "architectures": ["BloomForCausalLM"]}')
    with pytest.raises(EmotionCircuitsError, match="no family row for architecture 'bloom'"):
        load_model(tmp_path)


def test_remote_code_is_never_run(tmp_path):
    folder = save_folder(tmp_path / "m")
    (folder / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}'
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(EmotionCircuitsError):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_no_numbers_are_an_error_at_load(tmp_path):
    hf = tiny_hf("llama")
    with torch.no_grad():
        hf.model.norm.weight[0] = float("nan")
    hf.save_pretrained(tmp_path / "m")
    tiny_tokenizer().save_pretrained(tmp_path / "m")
    with pytest.raises(EmotionCircuitsError, match=r"its tensor model\.norm\.weight holds NaN or infinity in float32"):
        load_model(tmp_path / "m")
    assert load_model(tmp_path / "m", check=False).n_layers == 3


def test_an_unknown_hub_id_without_a_connection_names_the_alternatives():
    """In a process of its own: the hub's offline switch is read when it is imported."""
    code = (
        "from emotion_circuits.model import load_model\n"
        "from emotion_circuits.errors import EmotionCircuitsError\n"
        "try:\n    load_model('someone/no-such-model')\n"
        "except EmotionCircuitsError as error:\n    print(error)\n"
    )
    env = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=True
    )
    for part in ("someone/no-such-model", "local folder", ".gguf", "smollm2-135m", "gemma3-270m"):
        assert part in done.stdout


def test_without_a_connection_a_hub_id_is_told_at_once_and_once(monkeypatch, capfd, caplog):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    for look in (load_model, blueprint):
        before = time.monotonic()
        with pytest.raises(
            EmotionCircuitsError, match=r"no connection, and it was not downloaded before.*smollm2-135m"
        ):
            look("someone/no-such-model")
        assert time.monotonic() - before < 6
    assert "Retry" not in "".join(capfd.readouterr()) + caplog.text


# -- GGUF --------------------------------------------------------------------------------------------------------


def test_a_gguf_file_is_converted_once_and_found_again(tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf")
    model = load_model(file)
    assert (model.n_layers, model.n_heads, model.n_kv_heads, model.d_model) == (2, 4, 2, 32)
    assert isinstance(model.tokenizer, PreTrainedTokenizerFast)
    assert model.source is not None
    assert (model.source / "model.safetensors").is_file()
    made = (model.source / "model.safetensors").stat().st_mtime_ns
    again = load_model(file)
    assert again.source == model.source
    assert (model.source / "model.safetensors").stat().st_mtime_ns == made
    out = generate(model, ["the man"], Sampling(max_new_tokens=5, min_new_tokens=5))
    assert len(out[0].token_ids) == 5
    assert generate(again, ["the man"], Sampling(max_new_tokens=5, min_new_tokens=5)) == out


def test_a_gguf_file_gives_the_weights_written_into_it(tmp_path):
    import gguf
    import numpy as np

    file = write_gguf(tmp_path / "tiny.gguf")
    model = load_model(file)
    written = {t.name: np.array(t.data) for t in gguf.GGUFReader(str(file)).tensors}
    embedding = model.hf.get_input_embeddings().weight.numpy()
    assert np.array_equal(embedding, written["token_embd.weight"])
    assert np.array_equal(model.hf.model.layers[1].mlp.down_proj.weight.numpy(), written["blk.1.ffn_down.weight"])


def test_another_gguf_file_is_another_model(tmp_path):
    one, two = (load_model(write_gguf(tmp_path / f"{seed}.gguf", seed=seed)) for seed in (0, 1))
    assert one.source != two.source
    assert weights_sha256(one) != weights_sha256(two)


def test_gguf_errors_name_the_file(tmp_path):
    with pytest.raises(EmotionCircuitsError, match=r"missing\.gguf: no such GGUF file"):
        load_model(tmp_path / "missing.gguf")
    bad = tmp_path / "bad.gguf"
    for content in (b"", b"hello, I am no model", write_gguf(tmp_path / "whole.gguf").read_bytes()[:3000]):
        bad.write_bytes(content)
        with pytest.raises(EmotionCircuitsError, match=r"bad\.gguf: cannot be loaded as a GGUF model"):
            load_model(bad)
    assert list((tmp_path / "cache" / "models" / "gguf").glob(".gguf-*")) == []


def test_a_gguf_of_an_unknown_architecture_is_refused(tmp_path):
    with pytest.raises(EmotionCircuitsError, match=r"tiny\.gguf: cannot be loaded as a GGUF model"):
        load_model(write_gguf(tmp_path / "tiny.gguf", architecture="imaginary"))


# -- hashes ------------------------------------------------------------------------------------------------------


def test_the_weights_hash_is_stable_and_changes_with_the_weights(tmp_path):
    one = load_model(save_folder(tmp_path / "one"))
    same = load_model(save_folder(tmp_path / "same"))
    other = load_model(save_folder(tmp_path / "other", seed=1))
    assert weights_sha256(one) == weights_sha256(one) == weights_sha256(same)
    assert weights_sha256(one) != weights_sha256(other)
    assert len(weights_sha256(one)) == 64
    before = weights_sha256(one)
    save_folder(tmp_path / "one", seed=2)  # the remembered sum must not outlive the file
    assert weights_sha256(load_model(tmp_path / "one")) != before


def test_the_weights_hash_of_a_model_without_files():
    one, same, other = tiny_model("gpt2"), tiny_model("gpt2"), tiny_model("gpt2", seed=1)
    assert weights_sha256(one) == weights_sha256(same) != weights_sha256(other)
    one.hf.register_buffer("scalar", torch.tensor(3.0))
    assert weights_sha256(one) != weights_sha256(same)
