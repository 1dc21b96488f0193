"""Batches beside one another: the same results as one after the other, and an end when one fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from emotion_circuits.model import Add, LanguageModel, Sampling, Site, generate, intervene
from emotion_circuits.model.replicas import in_parallel, replica
from model_cases import FAMILY_NAMES, TEXTS, model_of

HOW = Sampling(max_new_tokens=6, min_new_tokens=6, temperature=1.0)


@pytest.fixture(params=[2, 3, 5])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def steered(model: LanguageModel, seed: int) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(model.d_model, generator=generator)
    edits = [Add(site=Site("resid_post", seed % model.n_layers), vector=vector, alpha=3.0)]
    return [g.text for g in generate(model, TEXTS, HOW, interventions=edits, seeds=seed)]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_replica_shares_weights_but_not_hooks(name: str) -> None:
    model = model_of(name)
    other = replica(model)
    ours = {n: p.data_ptr() for n, p in model.hf.named_parameters()}
    assert {n: p.data_ptr() for n, p in other.hf.named_parameters()} == ours
    plain = generate(model, TEXTS, HOW, seeds=1)
    vector = torch.linspace(-1, 1, model.d_model)
    with intervene(other, [Add(site=Site("attn_out", 0), vector=vector, alpha=9.0)]):
        assert generate(model, TEXTS, HOW, seeds=1) == plain
        assert generate(other, TEXTS, HOW, seeds=1) != plain
    assert generate(other, TEXTS, HOW, seeds=1) == plain


def test_work_beside_one_another_gives_what_it_gives_alone(threads: int) -> None:
    model = model_of("llama")
    seeds = list(range(12))
    alone = [steered(model, seed) for seed in seeds]
    names = set()

    def work(mine: LanguageModel, seed: int) -> list[str]:
        names.add((threading.get_ident(), torch.get_num_threads()))
        return steered(mine, seed)

    found = dict(in_parallel(model, work, seeds))
    assert [found[i] for i in range(len(seeds))] == alone
    assert len({thread for thread, _ in names}) == min(threads, 4)
    assert {count for _, count in names} == {threads // min(threads, 4)}
    assert torch.get_num_threads() == threads


def test_an_error_ends_all_and_is_the_one_that_is_raised(threads: int) -> None:
    begun = []

    def work(mine: LanguageModel, item: int) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError("item 1")
        for _ in range(2000):  # far longer than the test may take, unless it is stopped
            mine.hidden(mine.tokenize(TEXTS))
            time.sleep(0.01)

    started = time.monotonic()
    with pytest.raises(ValueError, match="item 1"):
        list(in_parallel(model_of("gpt2"), work, range(20)))
    assert time.monotonic() - started < 10
    assert len(begun) < 20
    assert torch.get_num_threads() == threads


def test_whoever_watches_the_model_sees_all_work(threads: int) -> None:
    model = model_of("gpt2")
    seen = []
    handle = model.blocks[0].register_forward_hook(lambda *_: seen.append(threading.get_ident()))
    try:
        list(in_parallel(model, lambda mine, _: mine.hidden(mine.tokenize(TEXTS)), range(3)))
    finally:
        handle.remove()
    assert seen == [threading.get_ident()] * 3
    with intervene(model, [Add(site=Site("resid_post", 0), vector=torch.ones(model.d_model))]):
        assert all(mine is model for _, mine in in_parallel(model, lambda mine, _: mine, range(3)))
