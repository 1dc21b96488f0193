"""Positions count real tokens: the same under left padding, right padding and one by one."""

from __future__ import annotations

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import ALL, LAST, Add, Positions, Site, for_rows, intervene, observe
from model_cases import (
    FAMILY_NAMES,
    TEXTS,
    batch_of,
    edit_of,
    kinds_for,
    model_of,
    random_tensor,
    record_all,
    rows_of,
)

LENGTHS = [len(t) for t in TEXTS]  # one token per character
CHOICES = {
    "all": (ALL, [range(n) for n in LENGTHS]),
    "last": (LAST, [[n - 1] for n in LENGTHS]),
    "indices": (Positions.at(0, 2, -1), [[0, 2, n - 1] for n in LENGTHS]),
    "beyond the end": (Positions.at(10, -8), [[10, 9], [], [10, 6]]),
    "per row": (Positions.per_row([(1, 2), (), (-2, 0)]), [[1, 2], [], [12, 0]]),
}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("when", ["all", "prompt", "generated"])
def test_exactly_the_chosen_positions_move(choice, side, when):
    model = model_of("llama")
    batch = batch_of(model, side=side)
    positions, expected = CHOICES[choice]
    site = Site("resid_post", 1)
    before = record_all(model, batch)[site]
    edit = Add(site=site, vector=torch.ones(32), positions=positions, when=when)
    if when == "generated" and any(i < 0 for r in (positions.indices, *positions.rows) for i in r):
        with intervene(model, [edit]), pytest.raises(EmotionCircuitsError, match="count from 0"):
            model.logits(batch)
        return
    with observe(model, [site]) as record, intervene(model, [edit]):
        model.logits(batch)
    moved = (record[site] != before).any(-1)
    for row, wanted in enumerate(expected):
        # A pass without a filled cache is all prompt.
        places = sorted(wanted) if when != "generated" else []
        assert moved[row][batch.real[row]].nonzero().flatten().tolist() == places, (row, choice)
        assert not moved[row][~batch.real[row]].any()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_left_padded_right_padded_and_one_by_one_agree(name):
    model = model_of(name)
    alone = [model.logits(model.tokenize([text]))[0] for text in TEXTS]
    for side in ("left", "right"):
        batch = batch_of(model, side=side)
        for seen, wanted in zip(rows_of(batch, model.logits(batch)), alone, strict=True):
            assert torch.allclose(seen, wanted, atol=2e-5), side


@pytest.mark.parametrize("mode", ["add", "zero", "mean", "directional"])
@pytest.mark.parametrize("choice", ["all", "last", "indices", "per row"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_interventions_agree_under_either_padding_and_one_by_one(name, choice, mode):
    model = model_of(name)
    positions = CHOICES[choice][0]
    for kind in kinds_for(model, mode):
        if kind in ("scores", "pattern") and mode != "zero":
            continue  # their features are padded columns, so the same tensor means other keys
        edit = edit_of(model, kind, mode, keys=0, positions=positions)
        alone = []
        for row, text in enumerate(TEXTS):
            own = positions
            if choice == "per row":
                own = Positions.per_row([positions.rows[row]])
            with intervene(model, [edit_of(model, kind, mode, keys=0, positions=own)]):
                alone.append(model.logits(model.tokenize([text]))[0])
        for side in ("left", "right"):
            batch = batch_of(model, side=side)
            with intervene(model, [edit]):
                together = rows_of(batch, model.logits(batch))
            for seen, wanted in zip(together, alone, strict=True):
                assert torch.allclose(seen, wanted, atol=1e-4), (kind, side)


def test_per_row_positions_follow_the_rows_named():
    model = model_of("gpt2")
    batch, site = batch_of(model), Site("resid_mid", 0)
    before = record_all(model, batch)[site]
    edit = Add(site=site, vector=random_tensor(32), positions=Positions.per_row([(3,), (5, 6)]), rows=(2, 0))
    with observe(model, [site]) as record, intervene(model, [edit]):
        model.logits(batch)
    moved = (record[site] != before).any(-1)
    real = [moved[row][batch.real[row]].nonzero().flatten().tolist() for row in range(3)]
    assert real == [[5, 6], [], [3]]


def test_for_rows_moves_interventions_to_rows_of_a_larger_batch():
    edit = Add(site=Site("resid_post", 0), vector=torch.ones(32))
    (moved,) = for_rows([edit], [4, 5])
    assert moved.rows == (4, 5)
    assert edit.rows is None
    assert moved.vector is edit.vector


def test_positions_refuse_nothing_to_choose():
    with pytest.raises(EmotionCircuitsError, match="at least one index"):
        Positions.at()
    with pytest.raises(EmotionCircuitsError, match="one tuple of indices per row"):
        Positions.per_row([])


def test_a_cache_filled_outside_counts_as_the_prompt():
    from transformers import DynamicCache

    from emotion_circuits.model import Batch

    model = model_of("llama")
    site, ones = Site("resid_post", 1), torch.ones(32)
    cache = DynamicCache(config=model.config)
    prompt = model.tokenize(["Hello"])
    model.forward(prompt, past_key_values=cache, use_cache=True)
    step = Batch(torch.tensor([[40]]), torch.ones(1, 6, dtype=torch.long))
    for when, moves in (("prompt", False), ("generated", True)):
        with observe(model, [site]) as record:
            model.forward(step, past_key_values=_copy(cache), use_cache=True)
            before = record[site]
            with intervene(model, [Add(site=site, vector=ones, when=when)]):
                model.forward(step, past_key_values=_copy(cache), use_cache=True)
        assert torch.equal(record[site], before) != moves, when


def _copy(cache):
    import copy

    return copy.deepcopy(cache)
