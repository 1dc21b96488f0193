"""The choice of the next token, checked as a distribution and property by property."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Sampling, generate, generation
from emotion_circuits.model.generation import choose, row_seed
from model_cases import TEXTS, model_of

logits_rows = st.lists(st.lists(st.floats(-8, 8, width=32), min_size=6, max_size=6), min_size=1, max_size=4).map(
    torch.tensor
)
draws = st.floats(0, 1, exclude_max=True, width=32)


def nucleus(row: torch.Tensor, how: Sampling) -> set[int]:
    """The allowed tokens, worked out one by one in float64."""
    p = torch.softmax(row.double() / how.temperature, -1)
    order = sorted(range(len(p)), key=lambda i: (-float(p[i]), i))
    kept, mass = [], 0.0
    for token in order:
        if mass >= how.top_p - 1e-7 and kept:
            break
        kept.append(token)
        mass += float(p[token])
    return set(kept[: how.top_k] if how.top_k else kept)


@settings(deadline=None, max_examples=150)
@given(logits_rows, draws, st.floats(0.1, 3.0), st.floats(0.01, 1.0), st.integers(0, 6))
def test_a_sampled_token_is_inside_top_p_and_top_k(logits, draw, temperature, top_p, top_k):
    how = Sampling(temperature=temperature, top_p=top_p, top_k=top_k)
    chosen = choose(logits.clone(), how, torch.full((len(logits),), draw))
    for row, token in zip(logits, chosen.tolist(), strict=True):
        loose = Sampling(temperature=temperature, top_p=min(1.0, top_p + 1e-5), top_k=top_k)
        allowed = nucleus(row, loose)
        p = torch.softmax(row.double() / temperature, -1)
        # Equal probabilities may stand in either order.
        assert any(abs(float(p[token] - p[a])) < 1e-7 for a in allowed)


@settings(deadline=None, max_examples=100)
@given(logits_rows, draws)
def test_top_k_of_one_and_a_tiny_top_p_are_greedy(logits, draw):
    row_draws = torch.full((len(logits),), draw)
    best = logits.max(-1).values
    for how in (Sampling(temperature=1.0, top_k=1), Sampling(temperature=1.0, top_p=1e-6)):
        chosen = choose(logits.clone(), how, row_draws)
        assert torch.allclose(logits.gather(-1, chosen[:, None])[:, 0], best, atol=1e-5)
    assert torch.equal(choose(logits.clone(), Sampling(), None), logits.argmax(-1))


@settings(deadline=None, max_examples=100)
@given(logits_rows, draws, st.floats(0.2, 2.0))
def test_a_row_is_chosen_without_looking_at_the_others(logits, draw, temperature):
    how = Sampling(temperature=temperature, top_p=0.9)
    together = choose(logits.clone(), how, torch.full((len(logits),), draw))
    for index in range(len(logits)):
        assert choose(logits[index : index + 1].clone(), how, torch.tensor([draw])) == together[index]


@pytest.mark.parametrize(
    "how", [Sampling(temperature=1.0), Sampling(temperature=0.5, top_k=3), Sampling(temperature=1.0, top_p=0.7)]
)
def test_frequencies_are_the_renormalised_probabilities(how):
    row = torch.tensor([0.3, 2.0, -1.0, 1.2, 0.0, 1.9])
    n = 20_000
    draw = torch.rand(n, generator=torch.Generator().manual_seed(0))
    counts = torch.bincount(choose(row.repeat(n, 1), how, draw), minlength=6).double() / n
    expected = torch.softmax(row.double() / how.temperature, -1)
    for token in range(6):
        if token not in nucleus(row, how):
            expected[token] = 0
    expected /= expected.sum()
    assert torch.allclose(counts, expected, atol=4 * (0.25 / n) ** 0.5)
    assert not counts[expected == 0].any()


@pytest.mark.parametrize(
    "wrong",
    [
        dict(max_new_tokens=0),
        dict(temperature=-1.0),
        dict(temperature=float("nan")),
        dict(top_p=0.0),
        dict(top_p=1.5),
        dict(top_k=-1),
        dict(min_new_tokens=-1),
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(EmotionCircuitsError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_seeds_fix_the_text_and_differ_by_row_prompt_and_seed():
    model = model_of("gpt2")
    how = Sampling(max_new_tokens=12, min_new_tokens=12, temperature=1.5)
    first = generate(model, TEXTS, how, seeds=7)
    assert generate(model, TEXTS, how, seeds=7) == first
    assert generate(model, TEXTS, how, seeds=np.int64(7)) == first
    assert generate(model, TEXTS, how, seeds=8) != first
    same_prompt = generate(model, ["Hello"] * 4, how, seeds=7)
    assert len({g.text for g in same_prompt}) == 4
    shared = generate(model, ["Hello"] * 4, how, seeds=[3] * 4)
    assert len({g.text for g in shared}) == 1


def test_a_longer_text_begins_with_the_shorter_one():
    model = model_of("gpt2")
    texts = [
        generate(model, TEXTS, Sampling(max_new_tokens=n, min_new_tokens=n, temperature=1.0), seeds=5) for n in (3, 40)
    ]
    for short, long in zip(*texts, strict=True):
        assert long.token_ids[:3] == short.token_ids


def test_generation_leaves_the_global_random_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    generate(model_of("gpt2"), TEXTS, Sampling(max_new_tokens=4, temperature=1.0))
    assert torch.equal(torch.rand(3), expected)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**31), st.text(max_size=20), st.integers(0, 99))
def test_row_seeds_are_stable_and_tell_rows_apart(seed, prompt, sample):
    one = row_seed(seed, prompt, sample)
    assert one == row_seed(seed, prompt, sample)
    assert 0 <= one < 2**56
    assert len({one, row_seed(seed, prompt, sample + 1), row_seed(seed + 1, prompt, sample)}) == 3


@pytest.mark.parametrize(
    "filters", [{}, {"top_p": 0.9}, {"top_k": 50}, {"top_k": 700}, {"top_p": 0.99, "top_k": 600}, {"top_p": 0.3}]
)
@pytest.mark.parametrize("temperature", [0.1, 0.7, 2.0, 6.0])
def test_a_large_vocabulary_is_drawn_from_as_if_it_were_sorted_whole(filters, temperature, monkeypatch):
    """At high temperatures most draws fall behind the tokens that are sorted first."""
    generator = torch.Generator().manual_seed(4)
    logits = 3 * torch.randn(48, 5000, generator=generator)
    draw = torch.rand(48, generator=generator)
    how = Sampling(temperature=temperature, **filters)
    found = choose(logits.clone(), how, draw)
    monkeypatch.setattr(generation, "_WIDTHS", ())
    assert torch.equal(found, choose(logits.clone(), how, draw))
