import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emotion_circuits.activations import Moments, capture, capture_moments
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import Prompt
from families import tiny_model


def prompts(n=30):
    return [
        Prompt(
            id=str(i), text=f"a{'b' * (i % 7)} {i}", label=("anger", "neutral")[i % 2], group=str(i // 2),
            split="train", language="en", set="core",
        )
        for i in range(n)
    ]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 49), max_size=6), shift=st.sampled_from([0.0, 1e6]))
def test_any_cut_gives_the_moments_of_the_whole(cuts, shift):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 50, 4, generator=g, dtype=torch.float64) + shift
    y = torch.arange(50) % 2
    m = Moments(("anger", "neutral"), 2, 4)
    edges = [0, *sorted(set(cuts)), 50]
    for a, b in itertools.pairwise(edges):
        m.update(x[:, a:b], y[a:b])
    assert m.count.tolist() == [[25, 25], [25, 25]]
    for k, label in enumerate(m.labels):
        part = x[:, y == k]
        torch.testing.assert_close(m.mean[k], part.mean(1))
        for layer in range(2):
            torch.testing.assert_close(m.covariance(label)[layer], part[layer].T.cov(), rtol=1e-6, atol=1e-8)


def test_merging_two_passes():
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(1, 40, 3, generator=g), torch.arange(40) % 2
    whole, a, b = (Moments(("anger", "neutral"), 1, 3) for _ in range(3))
    whole.update(x, y)
    a.update(x[:, :13], y[:13])
    b.update(x[:, 13:], y[13:])
    a.merge(b)
    torch.testing.assert_close(a.scatter, whole.scatter)
    torch.testing.assert_close(a.mean, whole.mean)


@pytest.mark.parametrize("pooling", ["last", "mean", "weighted", "frame"])
def test_streamed_equals_captured(tmp_path, pooling):
    model = tiny_model("llama")
    rows = prompts()
    found = capture_moments(
        model, iter(rows), ("anger", "neutral"), kinds=("resid_post", "z"), pooling=pooling, batch_tokens=40, chunk=7
    )
    store = capture(model, rows, tmp_path, kinds=("resid_post", "z"), pooling=(pooling,))
    anger = torch.tensor((store.rows.label == "anger").to_numpy())
    for kind in ("resid_post", "z"):
        for layer in store.layers:
            x = store.pooled(kind, pooling, layer).double()[anger]
            torch.testing.assert_close(found[kind].mean[0, layer], x.mean(0), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found[kind].covariance("anger")[layer], x.T.cov(), rtol=1e-3, atol=1e-4)


def test_more_rows_than_the_buffer_holds(tmp_path, monkeypatch):
    from emotion_circuits.activations import moments

    model, rows = tiny_model("llama"), prompts()
    whole = capture_moments(model, rows, ("anger", "neutral"))["resid_post"]
    monkeypatch.setattr(moments._Buffer, "ROWS", 4)
    cut = capture_moments(model, rows, ("anger", "neutral"), batch_tokens=100)["resid_post"]
    assert torch.equal(cut.count, whole.count)
    torch.testing.assert_close(cut.mean, whole.mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(cut.scatter, whole.scatter, rtol=1e-4, atol=1e-5)


def test_save_load_and_errors(tmp_path):
    m = Moments(("anger", "neutral"), 1, 3)
    m.update(torch.arange(12.0).view(1, 4, 3), torch.tensor([0, 0, 1, 1]))
    m.save(tmp_path)
    back = Moments.load(tmp_path)
    assert torch.equal(back.scatter, m.scatter)
    assert torch.equal(back.count, m.count)
    with pytest.raises(EmotionCircuitsError, match="NaN"):
        m.update(torch.full((1, 1, 3), float("inf")), torch.tensor([0]))
    with pytest.raises(EmotionCircuitsError, match="cannot take"):
        m.update(torch.zeros(2, 1, 3), torch.tensor([0]))
    with pytest.raises(EmotionCircuitsError, match="needs 2 rows"):
        Moments(("anger",), 1, 3).covariance("anger")
    with pytest.raises(EmotionCircuitsError, match="none of"):
        capture_moments(tiny_model("llama"), prompts(2), ("neutral",))
    assert np.isfinite(back.mean_difference("anger").numpy()).all()
