"""Logits that are used at once: the same figures as the model's own, without a block of memory for each."""

from __future__ import annotations

import pytest
import torch

from emotion_circuits.model import unembedding
from emotion_circuits.model.unembedding import logits_of, passing_logits
from families import tiny_model
from model_cases import FAMILY_NAMES, TEXTS, model_of


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("columns", [7, 1024])
def test_logits_are_the_models_own(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unembedding, "_COLUMNS", columns)
    model = model_of(name)
    batch = model.tokenize(TEXTS)
    with torch.inference_mode():
        own = model.logits(batch)
        with passing_logits(model):
            assert torch.allclose(model.logits(batch), own, atol=1e-5)
            assert torch.allclose(model.logits(batch, last_only=True), own[:, -1], atol=1e-5)
        assert torch.equal(model.logits(batch), own)
    assert "forward" not in vars(model.unembedding)


def test_the_next_pass_writes_over_the_last_and_blocks_fit_any_batch() -> None:
    model = tiny_model("llama")
    states = torch.randn(5, model.d_model)
    with torch.inference_mode(), passing_logits(model):
        first = model.unembedding(states)
        kept = first.clone()
        assert torch.allclose(model.unembedding(states[:2]), kept[:2], atol=1e-6)
        assert model.unembedding(-states).data_ptr() == first.data_ptr()
        assert not torch.equal(first, kept)
        assert torch.allclose(model.unembedding(torch.cat([states] * 3))[5:10], kept, atol=1e-6)


def test_whoever_hooks_the_unembedding_keeps_what_they_saw() -> None:
    model = tiny_model("gpt2")
    seen: list[torch.Tensor] = []
    handle = model.unembedding.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.inference_mode(), passing_logits(model):
        for text in TEXTS:
            model.logits(model.tokenize([text]))
    handle.remove()
    assert len({o.data_ptr() for o in seen}) == len(TEXTS)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_logits_of_some_tokens_are_the_models_own_and_so_are_their_gradients(name: str) -> None:
    model = model_of(name)
    batch = model.tokenize(TEXTS)
    tokens = torch.arange(2 * len(TEXTS)).reshape(len(TEXTS), 2) % 7
    found = []
    for few in (False, True):
        embedded = model.hf.get_input_embeddings()
        kept: list[torch.Tensor] = []

        def begin(_module: object, _inputs: object, out: torch.Tensor, kept: list[torch.Tensor] = kept) -> torch.Tensor:
            kept.append(out.detach().requires_grad_())
            return kept[0]

        handle = embedded.register_forward_hook(begin)
        try:
            if few:
                with logits_of(model, tokens) as held:
                    assert held
                    logits = model.forward(batch, last_only=True).logits[:, -1]
                    assert logits.shape == tokens.shape
            else:
                logits = model.logits(batch, last_only=True, finite=False).gather(-1, tokens)
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(logits.float().sum(), kept)
        found.append((logits.detach(), gradient))
    (own, gradient), (logits, again) = found
    assert torch.allclose(logits, own, atol=1e-5, equal_nan=True)
    assert torch.allclose(again, gradient, atol=1e-5, rtol=1e-4, equal_nan=True)
    assert gradient.nan_to_num().abs().max() > 0
    assert "forward" not in vars(model.unembedding)


def test_where_somebody_sees_the_logits_the_whole_vocabulary_stays() -> None:
    model = tiny_model("llama")
    seen: list[torch.Size] = []
    handle = model.unembedding.register_forward_hook(lambda _module, _inputs, out: seen.append(out.shape))
    try:
        with logits_of(model, torch.zeros(1, 1, dtype=torch.long)) as held, torch.no_grad():
            model.logits(model.tokenize(["a text"]), last_only=True)
    finally:
        handle.remove()
    assert not held
    assert seen[0][-1] == model.config.vocab_size


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_the_last_position_reaches_the_unembedding_in_one_piece(name: str) -> None:
    model = model_of(name)
    seen: list[torch.Tensor] = []
    handle = model.unembedding.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            model.logits(model.tokenize(TEXTS), last_only=True, finite=False)
    finally:
        handle.remove()
    assert seen[0].shape[1] == 1
    assert seen[0].is_contiguous()
