"""What a GGUF file says beside its tensors is carried over, or the file is refused by name and nothing of it is kept."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import blueprint, load_model
from emotion_circuits.model.files import RECORD
from emotion_circuits.model.gguf_header import read_header
from emotion_circuits.model.gguf_settings import carry_over
from tiny_files import tiny_config, write_gguf, write_quantised_gguf


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))


def converted(tmp_path):
    return [p for p in (tmp_path / "cache" / "models" / "gguf").iterdir() if p.suffix != ".lock"]


def yarn(writer):
    from gguf import RopeScalingType

    writer.add_rope_scaling_type(RopeScalingType.YARN)
    writer.add_rope_scaling_factor(4.0)


REFUSED = {
    "yarn": (dict(more=yarn), r"llama\.rope\.scaling\.type is 'yarn', and the conversion would make 'none' of it"),
    "a factor alone": (
        dict(more=lambda w: w.add_rope_scaling_factor(4.0)),
        r"llama\.rope\.scaling\.factor is 4, .* make 1",
    ),
    "a factor of attention": (
        dict(more=lambda w: w.add_rope_scaling_attn_factors(1.2)),
        r"llama\.rope\.scaling\.attn_factor is 1\.2",
    ),
    "rotary factors as a tensor": (
        dict(tensors={"rope_freqs.weight": np.array([1, 1, 4, 8], np.float32)}),
        r"1 of its tensors have no place in the model \(rope_freqs\.weight\)",
    ),
    "a bias": (
        dict(tensors={"blk.0.attn_q.bias": np.ones(32, np.float32)}),
        r"no place in the model \(blk\.0\.attn_q\.bias\)",
    ),
    "split": (
        dict(more=lambda w: (w.add_uint16("split.no", 0), w.add_uint16("split.count", 2))),
        r"it is part 1 of a file split in 2; join them first",
    ),
    "an adapter": (dict(more=lambda w: w.add_type("adapter")), r"general\.type is 'adapter'"),
    "a scale of the logits": (
        dict(more=lambda w: w.add_logit_scale(0.5)),
        r"llama\.logit_scale is 0\.5, which may change",
    ),
    "experts": (dict(more=lambda w: w.add_expert_count(8)), r"llama\.expert_count is 8"),
    "both sides": (dict(more=lambda w: w.add_causal_attention(False)), r"llama\.attention\.causal is False"),
    "a cap": (dict(more=lambda w: w.add_final_logit_softcapping(30.0)), r"llama\.final_logit_softcapping is 30"),
    "a window": (dict(more=lambda w: w.add_sliding_window(16)), r"llama\.attention\.sliding_window is 16"),
    "unknown cutting": (dict(pre="deepseek-llm"), r"tokenizer\.ggml\.pre is 'deepseek-llm'"),
    "cutting unsaid": (dict(pre=None), r"tokenizer\.ggml\.pre is None"),
}


@pytest.mark.parametrize(("how", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_carried_over_is_refused_by_name_and_nothing_is_kept(tmp_path, how, said):
    file = write_gguf(tmp_path / "tiny.gguf", **how)
    for look in (load_model, blueprint):
        with pytest.raises(EmotionCircuitsError, match=rf"tiny\.gguf: cannot be loaded as a GGUF model: .*{said}"):
            look(file)
    assert converted(tmp_path) == []


def test_what_changes_nothing_is_accepted(tmp_path):
    from gguf import RopeScalingType

    def more(writer):
        writer.add_rope_scaling_type(RopeScalingType.NONE)
        writer.add_rope_scaling_orig_ctx_len(64)
        writer.add_key_length(8)
        writer.add_causal_attention(True)

    plain = load_model(write_gguf(tmp_path / "plain.gguf"))
    other = load_model(
        write_gguf(tmp_path / "o.gguf", more=more, tensors={"rope_freqs.weight": np.ones(4, np.float32)})
    )
    batch = plain.tokenize(["the man"])
    assert torch.equal(plain.logits(batch), other.logits(batch))


def test_linear_scaling_of_positions_is_applied(tmp_path):
    from gguf import RopeScalingType

    def more(writer):
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(4.0)

    plain, model = load_model(write_gguf(tmp_path / "p.gguf")), load_model(write_gguf(tmp_path / "l.gguf", more=more))
    batch = plain.tokenize(["the man in the moon"])
    with torch.no_grad():  # a quarter of every position is what it means
        positions = torch.arange(batch.input_ids.shape[1])[None] / 4
        expected = plain.hf(input_ids=batch.input_ids, position_ids=positions).logits
    assert torch.allclose(model.logits(batch), expected, atol=1e-5)
    assert not torch.allclose(model.logits(batch), plain.logits(batch), atol=1e-2)


def test_caps_windows_and_bases_of_the_file_are_those_of_the_model(tmp_path):
    file = write_quantised_gguf(tmp_path / "tiny.gguf", "gemma3", ["F32"])
    model = load_model(file)
    assert model.config.sliding_window == 16
    assert model.config.rope_parameters["full_attention"]["rope_theta"] == 10_000.0
    config = tiny_config("gemma3")
    carry_over(
        config, {"general.architecture": "gemma3", "gemma3.final_logit_softcapping": 30.0, "gemma3.block_count": 62}
    )
    assert (config.final_logit_softcapping, config.query_pre_attn_scalar) == (30.0, 64)


def test_digits_are_tokens_of_their_own_where_the_file_says_so(tmp_path):
    model = load_model(write_gguf(tmp_path / "tiny.gguf"))
    cut = model.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("in 2024")
    assert [piece for piece, _ in cut] == ["in", "Ġ", "2", "0", "2", "4"]


def test_a_text_begins_as_the_file_says(tmp_path):
    def more(writer):
        writer.add_add_bos_token(True)

    model = load_model(write_gguf(tmp_path / "tiny.gguf", more=more))
    assert model.tokenizer("the").input_ids[0] == model.tokenizer.bos_token_id
    ended = load_model(write_gguf(tmp_path / "e.gguf", more=lambda w: w.add_add_eos_token(True)))
    assert ended.tokenizer("the").input_ids[-1] == ended.tokenizer.eos_token_id
    llama3 = load_model(write_gguf(tmp_path / "l3.gguf", pre="llama-bpe"))
    assert llama3.tokenizer("the").input_ids[0] == llama3.tokenizer.bos_token_id, "unsaid, these texts begin with one"
    assert llama3.tokenizer.backend_tokenizer.model.ignore_merges


def test_a_text_ends_with_every_token_that_the_file_says(tmp_path):
    def more(writer):
        writer.add_eot_token_id(257)
        writer.add_uint32("tokenizer.ggml.eom_token_id", 258)

    assert load_model(write_gguf(tmp_path / "tiny.gguf", more=more)).eos_ids == (0, 257, 258)
    file = write_gguf(tmp_path / "none.gguf", more=lambda w: w.add_eot_token_id(999))
    with pytest.raises(EmotionCircuitsError, match="a text would end with token 999, and it has 260"):
        load_model(file)


def test_three_million_blocks_are_refused_before_one_is_made(tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf")
    data = file.read_bytes()
    place = data.index(b"llama.block_count") + len(b"llama.block_count") + 4
    file.write_bytes(data[:place] + (3_000_000).to_bytes(4, "little") + data[place + 4 :])
    with pytest.raises(EmotionCircuitsError, match="its block_count is 3000000, and it holds 21 tensors in all"):
        load_model(file)


def test_a_tensor_of_the_same_name_twice_is_refused(tmp_path):
    file = write_gguf(tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.0.ffn_up.weight"))
    with pytest.raises(ValueError, match="two tensors of one name"):
        read_header(file)


def test_the_extension_may_be_written_in_capitals(tmp_path):
    write_gguf(tmp_path / "tiny.gguf").rename(tmp_path / "TINY.GGUF")
    assert load_model(tmp_path / "TINY.GGUF").n_layers == 2
    with pytest.raises(EmotionCircuitsError, match=r"NONE\.Gguf: no such GGUF file"):
        load_model(tmp_path / "NONE.Gguf")


# -- the converted cache -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", RECORD]
)
@pytest.mark.parametrize("how", ["flipped", "cut short", "gone"])
def test_damage_to_a_converted_file_is_not_blamed_on_the_healthy_source(tmp_path, name, how):
    source = write_gguf(tmp_path / "tiny.gguf")
    healthy = load_model(source)
    batch = healthy.tokenize(["the man"])
    expected = healthy.logits(batch)
    (folder,) = converted(tmp_path)
    file = folder / name
    data = bytearray(file.read_bytes())
    if how == "flipped":
        data[-2] ^= 1
        file.write_bytes(data)
    elif how == "cut short":
        file.write_bytes(data[: len(data) // 2])
    else:
        file.unlink()
    if name == RECORD and how == "gone":  # nothing says what it was made of: it is made again
        assert torch.equal(load_model(source).logits(batch), expected)
        return
    with pytest.raises(EmotionCircuitsError) as caught:
        load_model(source)
    said = str(caught.value)
    assert said.startswith(str(file))
    assert f"delete the folder {folder}" in said
    assert "\n" not in said
    shutil.rmtree(folder)
    found = load_model(source).logits(batch)
    assert torch.equal(found, expected)


def test_a_file_put_into_a_converted_folder_is_found(tmp_path):
    source = write_gguf(tmp_path / "tiny.gguf")
    (folder,) = [load_model(source).source]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    for look in (load_model, blueprint):
        with pytest.raises(EmotionCircuitsError, match=r"chat_template\.jinja: was put there"):
            look(source)


def test_the_record_names_every_file_and_its_sum(tmp_path):
    from emotion_circuits.paths import file_sha256

    folder = load_model(write_gguf(tmp_path / "tiny.gguf")).source
    noted = json.loads((folder / RECORD).read_text())
    assert noted["files"] == {p.name: file_sha256(p) for p in folder.iterdir() if p.name != RECORD}
    assert noted["gguf_sha256"] == file_sha256(tmp_path / "tiny.gguf")
    assert AutoModelForCausalLM.from_pretrained(folder) is not None
