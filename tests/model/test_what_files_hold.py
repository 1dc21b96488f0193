"""What is loaded is what the files hold: nothing random, nothing left out, nothing of another model."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import blueprint, load_model, weights_sha256
from families import CONFIGS, tiny_hf, tiny_tokenizer
from tiny_files import save_folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The bytes of a tiny Llama's folder."""
    folder = save_folder(tmp_path_factory.mktemp("saved") / "m")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def folder(tmp_path, saved):
    place = tmp_path / "m"
    place.mkdir()
    for name, data in saved.items():
        (place / name).write_bytes(data)
    return place


def change_config(folder, **fields):
    said = json.loads((folder / "config.json").read_text())
    said.update(fields)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in said.items() if v != "DELETED"}))


def change_tensors(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


# -- weights -------------------------------------------------------------------------------------------------------------

WRONG = {
    "no head": (
        lambda t: t.pop("lm_head.weight"),
        r"1 of its tensors is missing: lm_head\.weight; they would be random",
    ),
    "a layer missing": (
        lambda t: [t.pop(n) for n in list(t) if n.startswith("model.layers.1.")],
        r"9 of its tensors are missing: model\.layers\.1\.input_layernorm\.weight, .* and 6 more",
    ),
    "a layer too many": (
        lambda t: t.update({"model.layers.3.mlp.up_proj.weight": torch.zeros(48, 32)}),
        r"1 of its tensors is left over: model\.layers\.3\.mlp\.up_proj\.weight; .*no place",
    ),
    "a classifier": (
        lambda t: (t.pop("lm_head.weight"), t.update({"score.weight": torch.zeros(2, 32)})),
        r"missing: lm_head\.weight",
    ),
    "a value head": (
        lambda t: t.update({"v_head.summary.weight": torch.zeros(1, 32)}),
        r"left over: v_head\.summary\.weight",
    ),
    "a bias the family has no place for": (
        lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}),
        r"left over: model\.layers\.0\.self_attn\.q_proj\.bias",
    ),
    "another shape": (
        lambda t: t.update({"lm_head.weight": torch.zeros(90, 32)}),
        r"of another shape.*: lm_head\.weight \(config\.json: \[96, 32\], file: \[90, 32\]\)",
    ),
    "whole numbers": (
        lambda t: t.update({"lm_head.weight": torch.ones(96, 32, dtype=torch.int8)}),
        r"tensor lm_head\.weight holds whole numbers \(I8\)",
    ),
}


@pytest.mark.parametrize(("change", "said"), WRONG.values(), ids=WRONG)
def test_tensors_that_do_not_fit_are_refused_by_name(folder, change, said):
    change_tensors(folder, change)
    with pytest.raises(EmotionCircuitsError, match=said):
        load_model(folder)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_another_number_of_layers_than_the_weights_is_refused(folder, layers):
    change_config(folder, num_hidden_layers=layers)
    with pytest.raises(EmotionCircuitsError, match=rf"(left over|missing): model\.layers\.{min(layers, 3)}\."):
        load_model(folder)


def test_a_sequence_classifier_is_no_language_model(tmp_path):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    for name in ("llama", "gpt2"):  # the second one's head would be tied, and nothing missing
        fields = dict(CONFIGS[name])
        config = AutoConfig.for_model(fields.pop("model_type"), **fields)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
        with pytest.raises(EmotionCircuitsError, match=r"missing: lm_head\.weight|left over: score\.weight"):
            load_model(tmp_path / name)


def test_tied_heads_and_old_buffers_are_fine(tmp_path):
    folder = save_folder(tmp_path / "tied", "gpt2", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    expected = load_model(folder).logits(load_model(folder).tokenize(["hello"]))
    change_tensors(folder, lambda t: t.update({"transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}))
    change_tensors(folder, lambda t: t.update({"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8)}))
    model = load_model(folder)
    assert torch.equal(model.logits(model.tokenize(["hello"])), expected)


def test_two_loads_give_the_same(folder):
    one, two = load_model(folder), load_model(folder)
    batch = one.tokenize(["hello"])
    assert torch.equal(one.logits(batch), two.logits(batch))
    assert weights_sha256(one) == weights_sha256(two)


def sharded(folder):
    """The same weights in two files with an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = {"a.safetensors": names[:15], "b.safetensors": names[15:]}
    for file, part in parts.items():
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: f for f, part in parts.items() for n in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_an_index_is_kept_to_its_folder_and_its_files_to_one_place_each(folder, tmp_path):
    whole = load_model(folder)
    index = sharded(folder)
    batch = whole.tokenize(["hello"])
    assert torch.equal(load_model(folder).logits(batch), whole.logits(batch))
    (folder / "b.safetensors").rename(tmp_path / "b.safetensors")
    place = folder / "model.safetensors.index.json"
    for outside in ("../b.safetensors", str(tmp_path / "b.safetensors"), "..\\b.safetensors"):
        moved = {n: f.replace("b.safetensors", outside) for n, f in index["weight_map"].items()}
        place.write_text(json.dumps({**index, "weight_map": moved}))
        for look in (load_model, blueprint):
            with pytest.raises(EmotionCircuitsError, match=r"index\.json: points to .* outside the model's folder"):
                look(folder)
    place.write_text(json.dumps(index))
    with pytest.raises(EmotionCircuitsError, match=r"b\.safetensors: its weights cannot be read"):
        load_model(folder)
    place.write_text('{"weight_map": [1]}')
    with pytest.raises(EmotionCircuitsError, match="has no 'weight_map'"):
        load_model(folder)
    twice = load_file(folder / "a.safetensors")
    save_file({next(iter(twice)): next(iter(twice.values()))}, folder / "b.safetensors")
    place.write_text(json.dumps(index))
    with pytest.raises(EmotionCircuitsError, match=r"which another file of model\.safetensors\.index\.json holds too"):
        load_model(folder)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_configuration_names_no_code(folder, key):
    change_config(folder, **{key: "sdpa"})
    assert load_model(folder).n_layers == 3
    for asked in ("someone/kernel", "flash_attention_2", "kernels-community/flash-attn3@v1"):
        change_config(folder, **{key: asked})
        for look in (blueprint, load_model):
            with pytest.raises(
                EmotionCircuitsError, match=rf"attn_implementation is '{asked}', which names code to be run"
            ):
                look(folder)


def test_a_configuration_names_no_weights_elsewhere(folder, tmp_path):
    (folder / "model.safetensors").rename(tmp_path / "x.safetensors")
    change_config(folder, transformers_weights="../x.safetensors")
    with pytest.raises(
        EmotionCircuitsError, match=r"transformers_weights is '\.\./x\.safetensors', not the name of a file beside"
    ):
        load_model(folder)


# -- settings that nothing reads -------------------------------------------------------------------------------------------

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 1e4}
UNREAD = {
    "positions scaled where there are none": (
        "gpt2", dict(rope_scaling={"type": "linear", "factor": 4.0}), "rope_(scaling|parameters) is .* do not read"
    ),
    "a window": ("llama", dict(sliding_window=4), "sliding_window is 4, which changes what a model computes"),
    "windows by layer": ("llama", dict(layer_types=["sliding_attention"] * 3), "layer_types"),
    "a cap of the scores": ("gemma", dict(attn_logit_softcapping=1.0), "attn_logit_softcapping is 1.0"),
    "a cap of the logits": ("qwen2", dict(final_logit_softcapping=1.0), "final_logit_softcapping is 1.0"),
    "a scale of the embedding": ("llama", dict(embedding_multiplier=3.0), "embedding_multiplier is 3.0"),
    "a part of the head": ("llama", dict(partial_rotary_factor=0.5), "partial_rotary_factor is 0.5 among the rotary settings"),
    "slopes": ("opt", dict(alibi=True), "alibi is True"),
    "a factor of yarn by another name": (
        "qwen3", dict(rope_parameters={**YARN, "attn_factor": 0.5}), "attn_factor is 0.5 among .* 'yarn' does not read it"
    ),
    "a factor without a kind": (
        "llama", dict(rope_parameters={"rope_type": "default", "factor": 4.0, "rope_theta": 1e4}), "factor is 4.0 among"
    ),
    "two kinds": (
        "llama", dict(rope_scaling={"type": "linear", "rope_type": "default", "factor": 2.0}, rope_parameters=None),
        "rope_type is 'default', and type is 'linear'",
    ),
    "two scalings": (
        "llama", dict(rope_scaling={"type": "linear", "factor": 4.0}), "rope_scaling and rope_parameters say different things"
    ),
    "two parts of the head": ("gpt_neox", dict(partial_rotary_factor=0.5), "partial_rotary_factor is 0.5, and 0.25 in"),
}  # fmt: skip


@pytest.mark.parametrize(("family", "fields", "said"), UNREAD.values(), ids=UNREAD)
def test_a_setting_that_the_architecture_does_not_read_is_refused_by_name(tmp_path, family, fields, said):
    place = save_folder(tmp_path / "m", family)
    change_config(place, **fields)
    for look in (blueprint, load_model):
        with pytest.raises(EmotionCircuitsError, match=rf"config\.json.*{said}"):
            look(place)


def test_settings_that_change_nothing_are_accepted(folder):
    same = {"type": "linear", "factor": 2.0}
    change_config(folder, rope_scaling=same, rope_parameters={**same, "rope_type": "linear", "rope_theta": 1e4})
    change_config(folder, sliding_window=4096, logits_scaling=1.0, rope_interleaved=False, partial_rotary_factor=1.0)
    change_config(folder, layer_types=["full_attention"] * 3, attn_logit_softcapping=None, query_pre_attn_scalar=8)
    assert load_model(folder).config.rope_parameters["factor"] == 2.0


def test_a_text_is_read_alike_whatever_stands_beside_it(tmp_path):
    rope = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4, "rope_theta": 1e4}
    place = save_folder(tmp_path / "m", "phi3", rope_parameters=rope, original_max_position_embeddings=16)
    model = load_model(place)
    assert model.context == 16
    alone, beside = (
        model.logits(model.tokenize(texts, side="right")) for texts in (["hello"], ["hello", "hello you all"])
    )
    assert torch.allclose(alone[0], beside[0, :5], atol=1e-6)
    with pytest.raises(EmotionCircuitsError, match=r"37 tokens exceed .* context of 16"):
        model.tokenize(["hello", "hello there, you are here again today"])


@pytest.mark.parametrize(("value", "dtype"), [(float("inf"), None), (float("nan"), None), (1e6, "float16")])
def test_a_weight_that_is_no_number_is_found_wherever_it_is(folder, value, dtype):
    change_tensors(folder, lambda t: t["model.embed_tokens.weight"][90].fill_(value))  # of a word that no check reads
    with pytest.raises(
        EmotionCircuitsError, match=r"its tensor model\.embed_tokens\.weight holds NaN or infinity in float"
    ):
        load_model(folder, dtype=dtype)


# -- adapters and larger models ------------------------------------------------------------------------------------------


def test_an_adapter_is_refused_alone_and_beside_its_base(folder, tmp_path):
    alone = tmp_path / "adapter"
    alone.mkdir()
    for place in (alone, folder):
        (place / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "some/base"}')
        save_file({"base_model.model.lm_head.lora_A.weight": torch.zeros(2, 32)}, place / "adapter_model.safetensors")
        for look in (load_model, blueprint):
            with pytest.raises(EmotionCircuitsError, match=r"an adapter \(LoRA\) of some/base.*merge it into its base"):
                look(place)


@pytest.fixture(scope="session")
def seeing(tmp_path_factory):
    """A tiny Gemma 3 with a vision tower, and its folder."""
    fields = {k: v for k, v in CONFIGS["gemma3"].items() if k != "model_type"}
    vision = dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = Gemma3Config(
        text_config=fields,
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=90,
        boi_token_index=91,
        eoi_token_index=92,
    )
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.15)
    folder = tmp_path_factory.mktemp("seeing")
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return model, folder


def test_a_gemma_3_with_a_vision_tower_gives_the_whole_models_logits(seeing):
    whole, folder = seeing
    model, plan = load_model(folder), blueprint(folder)
    batch = model.tokenize(["Thank you so much", "Why?"], side="right")
    expected = whole(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.equal(model.logits(batch)[batch.real], expected[batch.real])
    assert type(plan.hf) is type(model.hf)
    assert (plan.n_layers, plan.d_model, plan.n_heads, plan.vocabulary) == (
        model.n_layers,
        model.d_model,
        model.n_heads,
        96,
    )
    assert weights_sha256(plan) == weights_sha256(model)


def test_a_larger_model_whose_text_tower_lacks_a_tensor_is_refused(seeing, tmp_path):
    _, folder = seeing
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    prefix = next(n for n in load_file(folder / "model.safetensors") if n.endswith("layers.1.mlp.up_proj.weight"))
    change_tensors(tmp_path, lambda t: t.pop(prefix))
    with pytest.raises(EmotionCircuitsError, match=r"missing: model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(tmp_path)


def test_other_larger_models_and_models_for_embeddings_are_refused_by_name(folder, tmp_path):
    change_config(folder, model_type="llava", text_config={**CONFIGS["llama"]}, vision_config={})
    for look in (load_model, blueprint):
        with pytest.raises(EmotionCircuitsError, match=r"'llava' holds a language model beside other towers.*gemma3"):
            look(folder)
    place = save_folder(tmp_path / "embedding", "gemma3")
    change_config(place, use_bidirectional_attention=True)
    with pytest.raises(EmotionCircuitsError, match="every token sees the later ones"):
        load_model(place)


# -- the key -------------------------------------------------------------------------------------------------------------


def other_words(folder):
    held = json.loads((folder / "tokenizer.json").read_text())
    words = held["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    (folder / "tokenizer.json").write_text(json.dumps(held))


OTHER = {
    "rms_norm_eps": lambda f: change_config(f, rms_norm_eps=1e-3),
    "rope_theta": lambda f: change_config(f, rope_parameters={"rope_theta": 500.0, "rope_type": "default"}),
    "hidden_act": lambda f: change_config(f, hidden_act="gelu"),
    "tokenizer": other_words,
    "chat template": lambda f: (f / "chat_template.jinja").write_text("{{ messages }}"),
    "another template": lambda f: (
        (f / "additional_chat_templates").mkdir(),
        (f / "additional_chat_templates" / "tools.jinja").write_text("x"),
    ),
    "end of texts": lambda f: (f / "generation_config.json").write_text('{"eos_token_id": 5}'),
    "one weight": lambda f: change_tensors(f, lambda t: t["lm_head.weight"][0].add_(1)),
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_everything_that_changes_the_figures_is_part_of_the_models_key(folder, change):
    before = {weights_sha256(look(folder)) for look in (load_model, blueprint)}
    assert len(before) == 1
    (folder / "README.md").write_text("nothing of it")
    assert weights_sha256(load_model(folder)) in before
    change(folder)
    after = {weights_sha256(look(folder)) for look in (load_model, blueprint)}
    assert len(after) == 1
    assert after != before


def test_the_files_of_an_index_are_part_of_the_key_wherever_they_lie(folder):
    index = sharded(folder)
    (folder / "parts").mkdir()
    (folder / "b.safetensors").rename(folder / "parts" / "b.safetensors")
    moved = {n: f.replace("b.safe", "parts/b.safe") for n, f in index["weight_map"].items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps({**index, "weight_map": moved}))
    before = weights_sha256(load_model(folder))
    tensors = load_file(folder / "parts" / "b.safetensors")
    next(iter(tensors.values()))[0] += 1
    save_file(tensors, folder / "parts" / "b.safetensors", metadata={"format": "pt"})
    assert weights_sha256(load_model(folder)) != before


def test_the_key_of_a_model_in_memory_holds_its_configuration_and_tokenizer():
    from emotion_circuits.model import LanguageModel
    from emotion_circuits.model.families import family_of

    def made(tokenizer=None, **changes):
        hf = tiny_hf("llama", **changes)
        return weights_sha256(LanguageModel(hf, tokenizer or tiny_tokenizer(), family_of(hf.config), "tiny"))

    with_template = tiny_tokenizer()
    with_template.chat_template = "{{ messages }}"
    keys = [made(), made(rms_norm_eps=1e-3), made(with_template)]
    assert len(set(keys)) == 3
    assert made() == keys[0]
    used = tiny_tokenizer()
    used(["a", "abc"], padding=True, truncation=True, max_length=2)
    assert made(used) == keys[0], "how it was used last is no part of it"


# -- configurations that cannot be ---------------------------------------------------------------------------------------

CANNOT = {
    "no heads": (dict(num_attention_heads=0), "num_attention_heads is 0; at least 1 is needed"),
    "no key heads": (dict(num_key_value_heads=0), "num_key_value_heads is 0"),
    "heads that do not divide": (
        dict(num_key_value_heads=3),
        "num_attention_heads is 4, not a multiple of num_key_value_heads 3",
    ),
    "no layers": (dict(num_hidden_layers=0), "num_hidden_layers is 0"),
    "layers below zero": (dict(num_hidden_layers=-1), "num_hidden_layers is -1"),
    "two million layers": (
        dict(num_hidden_layers=2_000_000),
        "num_hidden_layers is 2000000, and its files hold 30 tensors in all",
    ),
    "eps in words": (dict(rms_norm_eps="nan"), "'rms_norm_eps' expected float, got str"),
    "eps is no number": (dict(rms_norm_eps=float("nan")), "it holds NaN, which is no finite number"),
    "eps without end": (dict(rms_norm_eps=float("inf")), "it holds Infinity, which is no finite number"),
    "eps below zero": (dict(rms_norm_eps=-1.0), r"rms_norm_eps is -1\.0, below 0"),
    "no positions": (dict(max_position_embeddings=0), "max_position_embeddings is 0"),
    "no words": (dict(vocab_size=0), "vocab_size is 0"),
    "heads of no width": (dict(head_dim=0), "head_dim is 0"),
    "an unknown activation": (dict(hidden_act="nonsense"), "'nonsense'"),
    "an unknown quantisation": (
        dict(quantization_config={"quant_method": "zzz"}),
        "quantization_config that transformers does not",
    ),
    "an unknown rotation": (dict(rope_parameters={"rope_type": "what", "rope_theta": 1e4}), "'what'"),
    "two rotary bases": (dict(rope_theta=500.0), r"rope_theta is 500\.0, and 10000\.0 in rope_parameters"),
    "padding outside the words": (dict(pad_token_id=5000), "Padding_idx must be within num_embeddings"),
    "a list": (None, r"config\.json: is no JSON object"),
}


@pytest.mark.parametrize(("fields", "said"), CANNOT.values(), ids=CANNOT)
def test_a_configuration_that_cannot_be_is_one_line_in_both_looks(folder, fields, said):
    if fields is None:
        (folder / "config.json").write_text("[1]")
    else:
        change_config(folder, **fields)
    looks = [load_model] if "quantization_config" in (fields or {}) or "'what'" in said else [load_model, blueprint]
    for look in looks:
        with pytest.raises(EmotionCircuitsError, match=said) as caught:
            look(folder)
        assert "\n" not in str(caught.value)


# -- tokenizers ----------------------------------------------------------------------------------------------------------

WORDS = {
    "no model": (dict(model=None), "its tokenizer cannot be read: .*did not match"),
    "a pattern that is none": (
        dict(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+"}, "behavior": "Isolated", "invert": False}),
        "its tokenizer cannot be read: Oniguruma error",
    ),
    "a panic while it is read": (
        dict(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "its tokenizer cannot be read: Precompiled",
    ),
}


@pytest.mark.parametrize(("fields", "said"), WORDS.values(), ids=WORDS)
def test_a_tokenizer_that_cannot_be_read_is_one_line(folder, fields, said):
    held = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**held, **fields}))
    with pytest.raises(EmotionCircuitsError, match=said):
        load_model(folder)


def test_a_pattern_that_never_ends_is_one_line_where_it_meets_such_a_text(folder):
    held = json.loads((folder / "tokenizer.json").read_text())
    endless = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    (folder / "tokenizer.json").write_text(json.dumps({**held, "pre_tokenizer": endless}))
    model = load_model(folder)
    with pytest.raises(EmotionCircuitsError, match=r"its tokenizer cannot read text 1 .*retry-limit-in-match over"):
        model.tokenize(["a" * 60 + "b"])
