"""A LoRA adapter is merged whole, or refused in a line; the model with it is another model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import load_model, weights_sha256, writing_model
from emotion_circuits.model.adapters import checked_adapter
from emotion_circuits.model.made_of import ModelMark
from emotion_circuits.model.source import ModelSource
from families import tiny_hf, tiny_tokenizer
from fuzz_cases import call_here

TEXTS = ["When the bus arrived, she"]
FAMILIES = ("llama", "gpt2", "qwen2", "gemma3", "phi3", "opt", "gpt_neox")


def write_adapter(folder, hf, seed=3, **options):
    """As peft saves one, with random weights that matter."""
    peft = pytest.importorskip("peft", reason="extra 'hybrid'")
    config = peft.LoraConfig(**{"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options})
    wrapped = peft.get_peft_model(hf, config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    wrapped.save_pretrained(folder)
    return wrapped.eval()


def base(folder, family="llama"):
    tiny_hf(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    base(root / "base")
    write_adapter(root / "adapter", tiny_hf("llama"))
    return root


@pytest.mark.parametrize("family", FAMILIES)
def test_the_merged_model_computes_what_peft_computes(family, tmp_path):
    base(tmp_path / "base", family)
    wrapped = write_adapter(tmp_path / "adapter", tiny_hf(family), lora_alpha=16)
    model, plain = (load_model(tmp_path / "base", adapter=a, check=False) for a in (tmp_path / "adapter", None))
    batch = model.tokenize(TEXTS)
    with torch.inference_mode():
        expected = wrapped(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    torch.testing.assert_close(model.logits(batch), expected, rtol=1e-4, atol=1e-4)
    assert float((plain.logits(batch) - expected).abs().max()) > 0.05, "the adapter matters"
    assert model.hf.state_dict().keys() == plain.hf.state_dict().keys()


@pytest.mark.parametrize("options", [{"use_rslora": True}, {"use_dora": True}, {"modules_to_save": ["norm"]}], ids=str)
def test_variants_of_lora_are_merged_whole(options, places, tmp_path):
    wrapped = write_adapter(tmp_path / "adapter", tiny_hf("llama"), **options)
    model = load_model(places / "base", adapter=tmp_path / "adapter", check=False)
    batch = model.tokenize(TEXTS)
    with torch.inference_mode():
        expected = wrapped(input_ids=batch.input_ids).logits
    torch.testing.assert_close(model.logits(batch), expected, rtol=1e-4, atol=1e-4)


HEAD = {"target_modules": ["lm_head", "q_proj"]}


@pytest.mark.parametrize(
    ("tied", "options", "right"),
    [
        (True, {}, True), (True, {"modules_to_save": ["lm_head"]}, True), (True, {"modules_to_save": ["embed_tokens"]}, True),
        (False, HEAD, True), (True, HEAD, False),
    ],
    ids=str,
)  # fmt: skip
def test_embeddings_are_merged_right_or_refused(tied, options, right, tmp_path):
    """A change of the unembedding alone would change the embedding too where both are one tensor."""
    tiny_hf("llama", tie_word_embeddings=tied).save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    wrapped = write_adapter(tmp_path / "adapter", tiny_hf("llama", tie_word_embeddings=tied), **options)
    if not right:
        with pytest.raises(EmotionCircuitsError, match="tied to the embedding"):
            load_model(tmp_path / "base", adapter=tmp_path / "adapter", check=False)
        return
    model = load_model(tmp_path / "base", adapter=tmp_path / "adapter")
    batch = model.tokenize(TEXTS)
    with torch.inference_mode():
        expected = wrapped(input_ids=batch.input_ids).logits
    torch.testing.assert_close(model.logits(batch), expected, rtol=1e-4, atol=1e-4)


def test_with_an_adapter_it_is_another_model(places, caplog):
    plain, model = (load_model(places / "base", adapter=a) for a in (None, places / "adapter"))
    assert weights_sha256(model) != weights_sha256(plain)
    assert ModelMark.of(plain).differs(model)
    assert not ModelMark.of(model).differs(load_model(places / "base", adapter=places / "adapter", check=False))
    assert str(places / "adapter") in model.name
    with pytest.raises(EmotionCircuitsError, match="without its adapter"):
        ModelSource.of(model)
    model.writes = torch.bfloat16
    copy = writing_model(model)
    assert copy.adapter == model.adapter
    assert torch.equal(
        copy.hf.model.layers[0].mlp.down_proj.weight, model.hf.model.layers[0].mlp.down_proj.weight.bfloat16()
    )


def changed(places, folder, change=None, tensors=None):
    shutil.copytree(places / "adapter", folder)
    if change is not None:
        said = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(said | change))
    if tensors is not None:
        found = tensors(load_file(folder / "adapter_model.safetensors"))
        save_file(found, folder / "adapter_model.safetensors")
    return folder


NAME = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"
BAD = {
    "another kind": ({"peft_type": "PREFIX_TUNING"}, None, "'LORA' are merged, others would be ignored"),
    "another task": ({"task_type": "SEQ_CLS"}, None, "'SEQ_CLS'"),
    "a changed base": ({"init_lora_weights": "pissa"}, None, "'pissa': it belongs to a base model"),
    "another place": (
        None, lambda t: {**t, NAME.replace("layers.0", "layers.9"): torch.ones(4, 48)}, "has no place for 1 tensors"
    ),
    "embeddings beside": (
        None, lambda t: {**t, "base_model.model.model.embed_tokens.weight": torch.ones(96, 32)}, "has no place for 1 tensors"
    ),
    "a lack": (None, lambda t: {k: v for k, v in t.items() if k != NAME}, "the adapter lacks, 1 tensors"),
    "another shape": (None, lambda t: {**t, NAME: torch.ones(4, 7)}, "size mismatch"),
    "no number": (None, lambda t: {**t, NAME: torch.full((4, 48), float("nan"))}, "NaN"),
    "another rank": ({"r": 5}, None, "size mismatch"),
    "no such module": ({"target_modules": ["nowhere"]}, None, "nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_merged_whole_is_refused(case, places, tmp_path):
    change, tensors, said = BAD[case]
    folder = changed(places, tmp_path / "bad", change, tensors)
    with pytest.raises(EmotionCircuitsError, match=said) as told:
        load_model(places / "base", adapter=folder, check=False)
    assert str(told.value).startswith(str(folder))
    assert "\n" not in str(told.value)


def test_folders_that_are_no_adapters(tmp_path):
    for content, said in (({}, "no adapter_config.json"), ({"adapter_config.json": "{}"}, "no weights"),
                          ({"adapter_config.json": "{}", "adapter_model.bin": "x"}, "unpickling can run code"),
                          ({"adapter_config.json": "[1]", "adapter_model.safetensors": ""}, "no JSON object"),
                          ({"adapter_config.json": "{", "adapter_model.safetensors": ""}, "is not JSON|is damaged")):  # fmt: skip
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        (tmp_path / "a").mkdir()
        for name, text in content.items():
            (tmp_path / "a" / name).write_text(text)
        with pytest.raises(EmotionCircuitsError, match=said):
            checked_adapter(tmp_path / "a")
    with pytest.raises(EmotionCircuitsError, match="is not the folder of an adapter"):
        checked_adapter(tmp_path / "nowhere")


def test_without_peft_the_extra_is_named(places, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(EmotionCircuitsError, match=r"emotion-circuits\[hybrid\]"):
        load_model(places / "base", adapter=places / "adapter", check=False)


def test_steer_takes_it_and_an_adapter_alone_is_no_model(places, tmp_path, monkeypatch):
    monkeypatch.setenv("EMOTION_CIRCUITS_CACHE", str(tmp_path))
    save_file({"layer.1": torch.ones(32)}, tmp_path / "v.safetensors")
    steer = [
        "--quiet",
        "steer",
        "It rains",
        "--vector",
        str(tmp_path / "v.safetensors"),
        "--json",
        "--max-new-tokens",
        "8",
    ]
    found = []
    for more in ([], ["--adapter", str(places / "adapter")]):
        outcome = call_here([*steer, "--model", str(places / "base"), *more])
        assert outcome.code == 0, outcome.text
        found.append(json.loads(outcome.text[outcome.text.index("{") :]))
    assert found[0]["rows"][0]["base"] != found[1]["rows"][0]["base"]
    assert str(places / "adapter") in found[1]["model"]
    outcome = call_here([*steer, "--model", str(places / "adapter")])
    assert outcome.code == 1
    assert "emotion-circuits steer --adapter" in outcome.text
