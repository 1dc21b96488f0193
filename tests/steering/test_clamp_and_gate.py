"""Clamping and conditional steering, at the model floor."""

from __future__ import annotations

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Ablate, Add, Clamp, Gate, Sampling, Site, generate, intervene, observe
from emotion_circuits.model.positions import LAST
from families import CONFIGS, tiny_model

TEXTS = ["The cat sat on a mat", "Hi"]


def direction(seed: int, d: int = 32) -> torch.Tensor:
    return torch.randn(d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", list(CONFIGS))
def test_clamp_sets_the_projection_and_nothing_else(family: str) -> None:
    model = tiny_model(family)
    batch, site, d = model.tokenize(TEXTS), Site("resid_post", 1), direction(0)
    u = d / d.norm()
    with observe(model, [site]) as seen:
        plain = model.logits(batch)
        before = seen[site]
        with intervene(model, [Clamp(site=site, direction=d, value=2.5)]), observe(model, [site]) as record:
            changed = model.logits(batch)
            after = record[site]
    real = batch.real
    assert torch.allclose((after @ u)[real], torch.full_like((after @ u)[real], 2.5), atol=1e-4)
    rest = lambda x: x - (x @ u)[..., None] * u  # noqa: E731
    assert torch.allclose(rest(after)[real], rest(before)[real], atol=1e-4)
    assert not torch.equal(changed, plain)
    assert torch.equal(model.logits(batch), plain)


def test_clamp_to_zero_is_directional_ablation() -> None:
    model, d = tiny_model("llama"), direction(1)
    batch, site = model.tokenize(TEXTS), Site("resid_post", 0)
    with intervene(model, [Clamp(site=site, direction=d, value=0.0)]):
        a = model.logits(batch)
    with intervene(model, [Ablate(site=site, mode="directional", direction=d)]):
        b = model.logits(batch)
    assert torch.equal(a, b)


def test_clamp_on_one_head() -> None:
    model, d = tiny_model("gpt2"), direction(2, 8)
    batch, site = model.tokenize(TEXTS), Site("z", 1, head=2)
    with intervene(model, [Clamp(site=site, direction=d, value=1.0)]), observe(model, [Site("z", 1)]) as record:
        model.logits(batch)
    z, u = record[Site("z", 1)], d / d.norm()
    assert torch.allclose((z[:, :, 2] @ u)[batch.real], torch.ones(int(batch.real.sum())), atol=1e-5)
    assert not torch.allclose((z[:, :, 1] @ u)[batch.real], torch.ones(int(batch.real.sum())), atol=1e-2)


@pytest.mark.parametrize("family", list(CONFIGS))
def test_a_gate_acts_only_where_the_projection_exceeds_its_threshold(family: str) -> None:
    model, d, v = tiny_model(family), direction(3), direction(4)
    batch, site = model.tokenize(TEXTS), Site("resid_post", 1)
    with observe(model, [site]) as record:
        model.logits(batch)
    before = record[site]
    scores = before @ (d / d.norm())
    ordered = scores[batch.real].sort().values
    threshold = float(ordered[9:11].mean())  # halfway between two tokens, so that rounding cannot decide
    with (
        intervene(model, [Add(site=site, vector=v, gate=Gate(direction=d, threshold=threshold))]),
        observe(model, [site]) as record,
    ):
        model.logits(batch)
    after = record[site]
    is_open = (scores > threshold) & batch.real
    assert is_open.any()
    assert (~is_open & batch.real).any()
    assert torch.equal(after[~is_open & batch.real], before[~is_open & batch.real])
    assert torch.allclose(after[is_open], before[is_open] + v, atol=1e-5)


def test_both_sides_of_a_gate_make_the_whole() -> None:
    model, d, v = tiny_model("qwen3"), direction(5), direction(6)
    batch, site = model.tokenize(TEXTS), Site("resid_post", 1)
    found = {}
    for side in ("above", "below"):
        gate = Gate(direction=d, threshold=0.0, side=side)  # type: ignore[arg-type]
        with intervene(model, [Add(site=site, vector=v, gate=gate)]), observe(model, [site]) as record:
            model.logits(batch)
        found[side] = record[site]
    with observe(model, [site]) as record:
        model.logits(batch)
    plain = record[site]
    moved = {side: (value != plain).any(-1) for side, value in found.items()}
    assert bool((moved["above"] ^ moved["below"])[batch.real].all())


def test_a_closed_gate_is_bit_identical_to_no_intervention() -> None:
    model, d = tiny_model("gemma3"), direction(7)
    batch, site = model.tokenize(TEXTS), Site("resid_post", 1)
    gate = Gate(direction=d, threshold=float("inf"))
    plain = model.logits(batch)
    for i in (Add(site=site, vector=d, gate=gate), Clamp(site=site, direction=d, value=3.0, gate=gate)):
        with intervene(model, [i]):
            assert torch.equal(model.logits(batch), plain)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "gptj", "llama", "gemma2", "gpt_neox"])
def test_same_text_with_and_without_cache_padded_and_alone(family: str) -> None:
    model = tiny_model(family)
    site, d, v = Site("resid_post", 1), direction(8), 4 * direction(9)
    rows = [
        Clamp(site=site, direction=d, value=6.0, rows=(0,)),
        Add(site=site, vector=v, rows=(1,), gate=Gate(direction=d, threshold=0.0)),
        Ablate(site=site, mode="directional", direction=d, rows=(2,), when="generated"),
    ]
    texts = ["The cat sat on a mat", "Hi there", "One more, please"]
    how = Sampling(max_new_tokens=8)
    together = [g.token_ids for g in generate(model, texts, how, interventions=rows)]
    assert [g.token_ids for g in generate(model, texts, how, interventions=rows, use_cache=False)] == together
    for k, i in enumerate(rows):
        alone = generate(model, [texts[k]], how, interventions=[type(i)(**{**vars(i), "rows": (0,)})])
        assert alone[0].token_ids == together[k]
    plain = [g.token_ids for g in generate(model, texts, how)]
    assert plain != together
    assert [g.token_ids for g in generate(model, texts, how)] == plain


def test_a_gate_with_chosen_positions_needs_both() -> None:
    model, d = tiny_model("gpt2"), direction(10)
    batch, site = model.tokenize(TEXTS), Site("resid_post", 1)
    gate = Gate(direction=d, threshold=-1e9)
    with intervene(model, [Add(site=site, vector=d, positions=LAST, gate=gate)]):
        a = model.logits(batch)
    with intervene(model, [Add(site=site, vector=d, positions=LAST)]):
        b = model.logits(batch)
    assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("intervention", "message"),
    [
        (Clamp(site=Site("resid_post", 1), direction=torch.zeros(32), value=1.0), "length 0"),
        (Clamp(site=Site("resid_post", 1), direction=torch.ones(5), value=1.0), r"expected \[32\]"),
        (Clamp(site=Site("resid_post", 1), direction=torch.ones(32), value=float("nan")), "finite"),
        (Clamp(site=Site("pattern", 1), direction=torch.ones(4, 3), value=1.0), "vector space"),
        (
            Add(site=Site("resid_post", 1), vector=torch.ones(32), gate=Gate(direction=torch.zeros(32), threshold=0.0)),
            "length 0",
        ),
        (
            Add(
                site=Site("resid_post", 1),
                vector=torch.ones(32),
                gate=Gate(direction=torch.ones(32), threshold=float("nan")),
            ),
            "threshold",
        ),
        (Ablate(site=Site("pattern", 1), gate=Gate(direction=torch.ones(4), threshold=0.0)), "vector space"),
    ],
)
def test_wrong_ones_are_refused(intervention: object, message: str) -> None:
    model = tiny_model("gpt2")
    with pytest.raises(EmotionCircuitsError, match=message), intervene(model, [intervention]):  # type: ignore[list-item]
        pass
