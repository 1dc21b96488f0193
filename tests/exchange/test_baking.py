"""A model with a vector baked in, loaded by plain transformers, is the steered model; where there is no place, that is said."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange import bake, cannot_bake
from emotion_circuits.model import intervene, load_model
from exchange_cases import OPENINGS, vector_of
from families import CONFIGS, tiny_model
from model_cases import model_of

NOWHERE = {
    "mistral": "sliding windows", "qwen3": "no bias there", "gemma": "no bias there", "phi3": "no bias there",
    "stablelm": "no bias there", "stablelm_parallel": "no bias there", "gemma2": "a norm between", "gemma3": "a norm between",
    "olmo2": "a norm between",
}  # fmt: skip
SOMEWHERE = [*(name for name in CONFIGS if name not in NOWHERE), "mistral_full"]


def baked_model(name):
    if name == "mistral_full":
        return tiny_model("mistral", sliding_window=None)
    return model_of(name)


def steered_logits(model, vector):
    """One by one, so that no padding is compared."""
    found = []
    with intervene(model, vector.interventions()):
        for text in OPENINGS:
            found.append(model.logits(model.tokenize([text]))[0])
    return found


@pytest.mark.parametrize("name", SOMEWHERE)
def test_the_baked_model_is_the_steered_one(name, tmp_path):
    model = baked_model(name)
    before = {key: value.clone() for key, value in model.hf.state_dict().items()}
    vector = vector_of(model, layers=(0, 2)).everywhere()
    told = bake(model, vector, tmp_path / "baked")
    hf, tokenizer = AutoModelForCausalLM.from_pretrained(told.folder), AutoTokenizer.from_pretrained(told.folder)
    assert hf.config.model_type == told.architecture
    assert told.architecture == ("llama" if name in ("qwen2", "mistral_full") else model.config.model_type)
    for text, steered in zip(OPENINGS, steered_logits(model, vector), strict=True):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            torch.testing.assert_close(hf(input_ids=ids).logits[0], steered, rtol=1e-4, atol=1e-4)
        plain = model.logits(model.tokenize([text]))[0]
        assert float((plain - steered).abs().max()) > 0.05, "the vector moves the model"
    assert told.divergence < 1e-6 < told.moved
    after = model.hf.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before), "the model itself stays as it was"
    assert [f.name for f in tmp_path.iterdir()] == ["baked"]


def test_the_folder_loads_here_too(tmp_path):
    vector = vector_of(model_of("llama")).everywhere()
    bake(model_of("llama"), vector, tmp_path / "baked")
    loaded = load_model(tmp_path / "baked")
    steered = steered_logits(model_of("llama"), vector)
    for text, row in zip(OPENINGS, steered, strict=True):
        torch.testing.assert_close(loaded.logits(loaded.tokenize([text]))[0], row, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NOWHERE)
def test_where_there_is_no_place_it_is_said(name, tmp_path):
    assert NOWHERE[name] in cannot_bake(model_of(name).config)
    with pytest.raises(EmotionCircuitsError, match=NOWHERE[name]):
        bake(model_of(name), vector_of(model_of(name)).everywhere(), tmp_path / "baked")
    assert list(tmp_path.iterdir()) == []


def test_tied_embeddings_existing_biases_and_bfloat16(tmp_path):
    tied = tiny_model("llama", tie_word_embeddings=True)
    assert bake(tied, vector_of(tied).everywhere(), tmp_path / "a").divergence < 1e-6
    biased = tiny_model("llama", mlp_bias=True, attention_bias=True)
    assert bake(biased, vector_of(biased).everywhere(), tmp_path / "b").divergence < 1e-6
    short = tiny_model("qwen2")
    short.hf.to(torch.bfloat16)
    told = bake(short, vector_of(short).everywhere(), tmp_path / "c")
    assert told.divergence < 0.05 * told.moved
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "c").dtype == torch.bfloat16


def test_a_folder_in_use_and_a_push_at_the_first_token_are_refused(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "letter.txt").write_text("mine")
    model = model_of("llama")
    with pytest.raises(EmotionCircuitsError, match="exists; name a new folder"):
        bake(model, vector_of(model).everywhere(), tmp_path / "used")
    with pytest.raises(EmotionCircuitsError, match="at every token"):
        bake(model, vector_of(model), tmp_path / "new")
    (tmp_path / "empty").mkdir()
    bake(model, vector_of(model).everywhere(), tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_what_would_differ_is_not_kept(tmp_path, monkeypatch):
    """A wrong row of the table of families is found out by comparing, before anything is kept."""
    from emotion_circuits.exchange import baking

    model = tiny_model("llama")
    monkeypatch.setattr(
        baking, "_bias_names", lambda family, n: [f"model.layers.{i}.mlp.up_proj.bias" for i in range(n)]
    )
    longer = vector_of(model).everywhere()
    fitting = type(longer)({layer: torch.ones(48) for layer in longer.rows})
    with pytest.raises(EmotionCircuitsError):
        bake(model, fitting, tmp_path / "baked")
    assert list(tmp_path.iterdir()) == []
