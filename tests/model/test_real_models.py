"""The bundled real models, end to end."""

from __future__ import annotations

import time

import pytest
import torch

from emotion_circuits.model import (
    Ablate,
    Add,
    LanguageModel,
    Sampling,
    Site,
    generate,
    install,
    installed,
    intervene,
    load_model,
    observe,
    self_check,
)


@pytest.fixture(scope="module")
def smol() -> LanguageModel:
    return load_model("smollm2-135m")


@pytest.fixture(scope="module")
def gemma() -> LanguageModel:
    return load_model("gemma3-270m")


def load_seconds(name: str, *, check: bool) -> float:
    """Processor time of a load on one core, which other programs on the machine disturb least."""
    install(name)
    load_model(name, check=False)  # the files are read once before
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        load_model(name, check=check)
        return time.process_time() - start
    finally:
        torch.set_num_threads(threads)


def chat(model: LanguageModel, request: str) -> str:
    return model.tokenizer.apply_chat_template(
        [{"role": "user", "content": request}], tokenize=False, add_generation_prompt=True
    )


def test_smollm2_is_what_its_card_says(smol):
    assert (smol.n_layers, smol.n_heads, smol.n_kv_heads, smol.d_model, smol.d_head) == (30, 9, 3, 576, 64)
    assert smol.family.name == "Llama"
    assert smol.source == installed("smollm2-135m")
    assert 134e6 < sum(p.numel() for p in smol.hf.parameters()) < 135e6


def test_smollm2_loads_within_five_seconds_with_its_self_check():
    assert load_seconds("smollm2-135m", check=True) <= 5.0


def test_smollm2_passes_its_self_check(smol):
    results = self_check(smol)
    assert all(r.passed for r in results), [r for r in results if not r.passed]


def test_smollm2_knows_that_paris_is_in_france(smol):
    out = generate(
        smol,
        [chat(smol, "What is the capital of France?"), chat(smol, "Say hello.")],
        Sampling(max_new_tokens=16),
        add_special_tokens=False,
    )
    assert "Paris" in out[0].text
    assert "hello" in out[1].text.lower()


def test_smollm2_reads_english_better_than_word_salad(smol):
    good, bad = "The cat sat on the mat and looked at the dog.", "Mat the dog at looked on cat the and the sat."

    def loss(text: str) -> float:
        batch = smol.tokenize([text])
        logits = smol.logits(batch)[0, :-1]
        return float(torch.nn.functional.cross_entropy(logits, batch.input_ids[0, 1:]))

    assert loss(good) < loss(bad) - 1


def test_smollm2_is_observed_changed_and_restored(smol):
    texts = ["I want to thank you for", "The weather"]
    batch = smol.tokenize(texts)
    plain = smol.logits(batch)
    with observe(smol, smol.sites("resid_post", "z", "pattern")) as record:
        assert torch.equal(smol.logits(batch), plain)
    assert record[Site("z", 3)].shape == (2, batch.input_ids.shape[1], 9, 64)
    pattern = record[Site("pattern", 10)]
    assert torch.allclose(pattern.sum(-1)[batch.real[:, None].expand(-1, 9, -1)], torch.tensor(1.0), atol=1e-4)
    with intervene(smol, [Ablate(site=Site("z", 5, 2), rows=(0,))]):
        changed = smol.logits(batch)
    assert torch.equal(changed[1][batch.real[1]], plain[1][batch.real[1]])
    assert not torch.equal(changed[0], plain[0])
    assert torch.equal(smol.logits(batch), plain)


def test_smollm2_steers_one_row_of_a_batch_and_alpha_zero_is_nothing(smol):
    texts = ["I think that", "I think that", "Yesterday we went to the"]
    direction = torch.randn(576, generator=torch.Generator().manual_seed(0))
    direction *= 40 / direction.norm()
    how = Sampling(max_new_tokens=12, min_new_tokens=12)
    plain = generate(smol, texts, how)
    edit = Add(site=Site("resid_post", 12), vector=direction, rows=(1,))
    steered = generate(smol, texts, how, interventions=[edit])
    assert steered[0] == plain[0]
    assert steered[2] == plain[2]
    assert steered[1].text != plain[1].text
    assert generate(smol, texts, how, interventions=[Add(site=edit.site, vector=direction, alpha=0.0)]) == plain
    assert generate(smol, texts, how, interventions=[edit], use_cache=False) == steered


@pytest.mark.slow
def test_gemma3_is_what_its_card_says_and_passes_its_self_check(gemma):
    assert (gemma.n_layers, gemma.n_heads, gemma.n_kv_heads, gemma.d_model) == (18, 4, 1, 640)
    assert gemma.family.name == "Gemma 3"
    assert (gemma.source / "GEMMA_TERMS.html").is_file()
    results = self_check(gemma)
    assert all(r.passed for r in results), [r for r in results if not r.passed]


@pytest.mark.slow
def test_gemma3_loads_within_five_seconds():
    """Without the self-check, whose passes through an unembedding of 262,144 tokens cost as much again."""
    assert load_seconds("gemma3-270m", check=False) <= 5.0


@pytest.mark.slow
def test_gemma3_continues_english_and_japanese(gemma):
    prompts = ["Paris is the capital city of", "One, two, three, four,", "ありがとうございます。本当に"]
    france, counting, thanks = (g.text for g in generate(gemma, prompts, Sampling(max_new_tokens=10)))
    assert "France" in france
    assert "five, six, seven" in counting
    assert sum("\u3040" <= c <= "\u30ff" for c in thanks) > len(thanks) / 2
