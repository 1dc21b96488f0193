"""Logits that are used at once: the same figures as the model's own, without a block of memory for each."""

from __future__ import annotations

import pytest
import torch

from emotion_circuits.model import unembedding
from emotion_circuits.model.unembedding import passing_logits
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
