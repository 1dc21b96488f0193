"""Interventions do what they say, where they say it, and leave nothing behind."""

from __future__ import annotations

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError, SiteUnavailableError
from emotion_circuits.model import (
    Ablate,
    Add,
    Intervention,
    Patch,
    Positions,
    Sampling,
    Site,
    for_rows,
    generate,
    intervene,
    observe,
)
from model_cases import (
    FAMILY_NAMES,
    LAYER,
    MODES,
    TEXTS,
    batch_of,
    edit_of,
    kinds_for,
    kinds_of,
    model_of,
    random_tensor,
    record_all,
    rows_of,
)


def _run_and_raise(model, batch, edit):
    with intervene(model, [edit]):
        model.logits(batch)
        raise ZeroDivisionError


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_mode_at_every_kind_changes_the_output_and_is_gone_afterwards(name, mode):
    model = model_of(name)
    batch = batch_of(model)
    plain = model.logits(batch)
    for kind in kinds_for(model, mode):
        # The same vector added to every key moves every score of a query alike, which the softmax takes out again.
        some = Positions.at(0, 2) if kind == "k" else None
        edit = edit_of(model, kind, mode, keys=batch.input_ids.shape[1], positions=some)
        with intervene(model, [edit]):
            changed = model.logits(batch)
        moved = (changed - plain)[batch.real].abs().max()
        assert torch.isfinite(changed[batch.real]).all(), kind
        assert moved > 1e-4, kind
        assert torch.equal(model.logits(batch), plain), kind
        with pytest.raises(ZeroDivisionError):
            _run_and_raise(model, batch, edit)
        assert torch.equal(model.logits(batch), plain), kind


@pytest.mark.parametrize("name", FAMILY_NAMES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_adding_with_alpha_zero_is_bit_identical_in_logits_and_tokens(name, side):
    model = model_of(name)
    batch = batch_of(model, side=side)
    width = batch.input_ids.shape[1]
    plain = model.logits(batch)
    every = []
    for kind in kinds_of(model):
        for head in (None, 2) if kind in ("q", "k", "v", "z", "scores", "pattern") else (None,):
            nothing = edit_of(model, kind, "add", keys=width, alpha=0.0, head=head)
            with intervene(model, [nothing]):
                assert torch.equal(model.logits(batch), plain), (kind, head)
            every.append(nothing)
    with intervene(model, every):
        assert torch.equal(model.logits(batch), plain)
    how = Sampling(max_new_tokens=8, temperature=0.8, min_new_tokens=4)
    assert generate(model, TEXTS, how, interventions=every, seeds=1) == generate(model, TEXTS, how, seeds=1)
    greedy = Sampling(max_new_tokens=8)
    assert generate(model, TEXTS, greedy, interventions=every) == generate(model, TEXTS, greedy)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_patching_a_run_into_itself_changes_nothing(name):
    model = model_of(name)
    batch = batch_of(model)
    plain, record = model.logits(batch), record_all(model, batch)
    for kind in kinds_of(model):
        with intervene(model, [Patch(site=Site(kind, LAYER), value=record[Site(kind, LAYER)])]):
            assert torch.equal(model.logits(batch)[batch.real], plain[batch.real]), kind


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_patching_all_of_a_layer_from_another_run_gives_that_run(name):
    """The whole residual stream decides everything after it."""
    model = model_of(name)
    clean, corrupt = model.tokenize(["Thank you"]), model.tokenize(["Damn yous"])
    target = model.logits(clean)
    with observe(model, model.sites("resid_post")) as record:
        model.logits(clean)
    for layer in range(model.n_layers):
        site = Site("resid_post", layer)
        with intervene(model, [Patch(site=site, value=record[site])]):
            assert torch.equal(model.logits(corrupt), target)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_row_in_a_mixed_batch_gets_exactly_its_own_intervention(name, mode):
    model = model_of(name)
    batch = batch_of(model)
    width = batch.input_ids.shape[1]
    plain = rows_of(batch, model.logits(batch))
    for kind in kinds_for(model, mode):
        some = Positions.at(0, 2) if kind == "k" else None
        edits = [
            edit_of(model, kind, mode, keys=width, rows=(row,), seed=row, alpha=1 + row, positions=some)
            for row in (0, 2)
        ]
        with intervene(model, edits):
            mixed = rows_of(batch, model.logits(batch))
        assert torch.equal(mixed[1], plain[1]), kind
        for row, edit in zip((0, 2), edits, strict=True):
            with intervene(model, [edit]):
                own = rows_of(batch, model.logits(batch))
            assert torch.equal(mixed[row], own[row]), kind
            assert not torch.equal(mixed[row], plain[row]), kind
            for other in {0, 1, 2} - {row}:
                assert torch.equal(own[other], plain[other]), kind


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_whole_grid_in_one_batch_equals_one_condition_at_a_time(name):
    model = model_of(name)
    how = Sampling(max_new_tokens=6, min_new_tokens=6)
    vectors = [random_tensor(32, seed=s) for s in range(2)]
    grid = [
        Add(site=Site("resid_post", layer), vector=vector, alpha=alpha)
        for layer in (0, 2)
        for vector in vectors
        for alpha in (0.0, 0.5, 3.0)
    ]
    prompts = ["I said", "Yesterday we", "Why"] * 4
    together = generate(
        model, prompts, how, interventions=[i for row, edit in enumerate(grid) for i in for_rows([edit], [row])]
    )
    alone = [
        generate(model, [prompt], how, interventions=[edit])[0] for prompt, edit in zip(prompts, grid, strict=True)
    ]
    assert [g.token_ids for g in together] == [g.token_ids for g in alone]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_one_head_is_edited_and_the_others_are_not(name):
    model = model_of(name)
    batch = batch_of(model)
    width = batch.input_ids.shape[1]
    before = record_all(model, batch)
    for kind in ("q", "k", "v", "z", "scores", "pattern"):
        site = Site(kind, LAYER)
        with observe(model, [site]) as record, intervene(model, [edit_of(model, kind, "mean", keys=width, head=2)]):
            model.logits(batch)
        axis = 1 if kind in ("scores", "pattern") else 2
        for head in range(4):
            same = torch.equal(record[site].select(axis, head), before[site].select(axis, head))
            assert same == (head != 2), (kind, head)


@pytest.mark.parametrize("kind", ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"])
def test_add_moves_the_site_by_alpha_times_the_vector(kind):
    model = model_of("gpt2")
    batch = batch_of(model)
    vector, site = random_tensor(32), Site(kind, LAYER)
    before = record_all(model, batch)[site]
    with observe(model, [site]) as record, intervene(model, [Add(site=site, vector=vector, alpha=-1.5)]):
        model.logits(batch)
    expected = torch.where(batch.real[..., None], before - 1.5 * vector, before)
    assert torch.allclose(record[site], expected, atol=1e-6)
    assert torch.equal(record[site][~batch.real], before[~batch.real])


def test_directional_ablation_removes_the_component_and_nothing_else():
    model = model_of("llama")
    batch, site, direction = batch_of(model), Site("resid_post", LAYER), random_tensor(32) * 7
    before = record_all(model, batch)[site]
    with (
        observe(model, [site]) as record,
        intervene(model, [Ablate(site=site, mode="directional", direction=direction)]),
    ):
        model.logits(batch)
    unit = direction / direction.norm()
    after = record[site][batch.real]
    assert (after @ unit).abs().max() < 1e-5
    assert torch.allclose(after + (before[batch.real] @ unit)[:, None] * unit, before[batch.real], atol=1e-5)


def test_mean_and_zero_ablation_put_the_mean_and_zero_there():
    model = model_of("qwen2")
    batch, mean = batch_of(model), random_tensor(4, 8)
    site = Site("z", LAYER)
    with observe(model, [site]) as record, intervene(model, [Ablate(site=site, mode="mean", value=mean)]):
        model.logits(batch)
    assert torch.equal(record[site][batch.real], mean.expand_as(record[site][batch.real]))
    with observe(model, [site]) as record, intervene(model, [Ablate(site=Site("z", LAYER, 3))]):
        model.logits(batch)
    assert torch.equal(record[site][batch.real][:, 3], torch.zeros(int(batch.real.sum()), 8))
    assert record[site][batch.real][:, :3].abs().min() > 0


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_nested_contexts_act_together_and_come_off_one_by_one(name):
    model = model_of(name)
    batch = batch_of(model)
    plain = model.logits(batch)
    outer = Add(site=Site("resid_post", 0), vector=random_tensor(32, seed=1))
    inner = Ablate(site=Site("pattern", 1, 2))
    with intervene(model, [outer, inner]):
        both = model.logits(batch)
    with intervene(model, [outer]):
        only_outer = model.logits(batch)
        with intervene(model, [inner]):
            assert torch.equal(model.logits(batch), both)
        assert torch.equal(model.logits(batch), only_outer)
        with pytest.raises(ZeroDivisionError), intervene(model, [inner]):
            raise ZeroDivisionError
        assert torch.equal(model.logits(batch), only_outer)
    assert torch.equal(model.logits(batch), plain)
    assert not torch.equal(both, only_outer)
    assert not torch.equal(only_outer, plain)


def test_interventions_do_not_pile_up():
    model = model_of("gpt2")
    batch = batch_of(model)
    plain = model.logits(batch)
    edit = Add(site=Site("resid_post", 0), vector=random_tensor(32))
    seen = []
    for _ in range(5):
        with intervene(model, [edit]):
            seen.append(model.logits(batch))
    assert all(torch.equal(s, seen[0]) for s in seen)
    assert torch.equal(model.logits(batch), plain)


def test_the_same_object_twice_acts_twice():
    model = model_of("gpt2")
    batch = batch_of(model)
    edit = Add(site=Site("resid_post", 0), vector=random_tensor(32), alpha=0.5)
    double = Add(site=Site("resid_post", 0), vector=random_tensor(32), alpha=1.0)
    for twice in ([edit, edit], [edit]):
        with intervene(model, twice):
            if len(twice) == 2:
                result = model.logits(batch)
            else:
                with intervene(model, [edit]):
                    result = model.logits(batch)
        with intervene(model, [double]):
            assert torch.allclose(result, model.logits(batch), atol=1e-5)


def test_order_is_kept_between_adding_and_ablating():
    model = model_of("llama")
    batch, site, vector = batch_of(model), Site("resid_post", 1), random_tensor(32)
    add, ablate = Add(site=site, vector=vector), Ablate(site=site)
    with observe(model, [site]) as record:
        with intervene(model, [ablate, add]):
            model.logits(batch)
        assert torch.equal(record[site][batch.real], vector.expand_as(record[site][batch.real]))
        with intervene(model, [add, ablate]):
            model.logits(batch)
        assert not record[site][batch.real].any()


def test_rows_shared_by_several_additions_get_their_sum():
    model = model_of("llama")
    batch, site = batch_of(model), Site("resid_post", 1)
    a, b, c = (random_tensor(32, seed=s) for s in range(3))
    before = record_all(model, batch)[site]
    adds = [Add(site=site, vector=a), Add(site=site, vector=b, rows=(0, 2)), Add(site=site, vector=c, rows=(2,))]
    with observe(model, [site]) as record, intervene(model, adds):
        model.logits(batch)
    for row, delta in enumerate((a + b, a, a + b + c)):
        moved = (record[site] - before)[row][batch.real[row]]
        assert torch.allclose(moved, delta.expand_as(moved), atol=1e-5), row


def test_an_empty_list_changes_nothing():
    model = model_of("gpt2")
    batch = batch_of(model)
    plain = model.logits(batch)
    with intervene(model, []):
        assert torch.equal(model.logits(batch), plain)


def _site(kind="resid_post", layer=1, head=None):
    return Site(kind, layer, head)


BAD = {
    "NaN vector": (Add(site=_site(), vector=torch.full((32,), float("nan"))), "NaN or infinity"),
    "infinite vector": (Add(site=_site(), vector=torch.full((32,), float("inf"))), "NaN or infinity"),
    "infinite alpha": (Add(site=_site(), vector=torch.ones(32), alpha=float("inf")), "alpha must be finite"),
    "NaN at scores": (Add(site=_site("scores"), vector=torch.full((4, 3), float("nan"))), "NaN or infinity"),
    "+inf at scores": (Add(site=_site("scores"), vector=torch.full((4, 3), float("inf"))), "NaN or infinity"),
    "-inf, negative alpha": (
        Add(site=_site("scores"), vector=torch.full((4, 3), -float("inf")), alpha=-1.0),
        "alpha 0 or more",
    ),
    "wrong width": (Add(site=_site(), vector=torch.ones(31)), r"shape \[31\], expected \[32\]"),
    "a head's vector without a head": (
        Add(site=_site("z"), vector=torch.ones(8)),
        r"shape \[8\], expected \[4, 8\]",
    ),
    "a residual vector at a head": (Add(site=_site("z", 1, 2), vector=torch.ones(32)), r"expected \[8\]"),
    "no direction": (Ablate(site=_site(), mode="directional"), "needs direction"),
    "zero direction": (Ablate(site=_site(), mode="directional", direction=torch.zeros(32)), "length 0"),
    "a direction among keys": (
        Ablate(site=_site("scores"), mode="directional", direction=torch.ones(4, 3)),
        "needs a vector space",
    ),
    "no mean": (Ablate(site=_site(), mode="mean"), "needs value"),
    "no resample value": (Ablate(site=_site(), mode="resample"), "needs value"),
    "NaN patch": (Patch(site=_site(), value=torch.full((1, 1, 32), float("nan"))), "NaN or infinity"),
    "patch without a row axis": (Patch(site=_site(), value=torch.ones(5, 32)), r"expected \[row, position, 32\]"),
    "unknown mode": (Ablate(site=_site(), mode="noise"), "mode must be zero, mean, resample or directional"),
    "unknown when": (Ablate(site=_site(), when="later"), "when must be 'prompt', 'generated' or 'all'"),
    "no rows": (Ablate(site=_site(), rows=()), "rows must be distinct"),
    "repeated rows": (Ablate(site=_site(), rows=(1, 1)), "rows must be distinct"),
    "negative rows": (Ablate(site=_site(), rows=(-1,)), "rows must be distinct and 0 or more"),
    "a layer too many": (Ablate(site=_site(layer=3)), "layers 0 to 2"),
    "a head too many": (Ablate(site=_site("z", 0, 4)), "heads 0 to 3"),
    "a bare intervention": (Intervention(site=_site()), "is not an intervention"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_intervention_is_refused_when_the_block_is_entered(what):
    model = model_of("llama")
    edit, message = BAD[what]
    with pytest.raises(EmotionCircuitsError, match=message), intervene(model, [edit]):
        pytest.fail("the block was entered")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Ablate(site=_site(), rows=(3,)), "names row 3, the batch has rows 0 to 2"),
        (Add(site=_site(), vector=torch.ones(32), rows=(0, 7)), "names row 7, the batch has rows 0 to 2"),
        (Patch(site=_site(), value=torch.ones(2, 1, 32)), "value has 2 rows, it acts on 3"),
        (
            Ablate(site=_site(), positions=Positions.per_row([(0,), (1,)])),
            "given for 2 rows, the intervention acts on 3",
        ),
    ],
)
def test_what_does_not_fit_the_batch_is_refused_when_it_runs(edit, message):
    model = model_of("llama")
    batch = batch_of(model)
    plain = model.logits(batch)
    with intervene(model, [edit]), pytest.raises(EmotionCircuitsError, match=message):
        model.logits(batch)
    assert torch.equal(model.logits(batch), plain)


def test_prompt_ends_cannot_be_set_twice_and_must_fit_the_batch():
    model = model_of("llama")
    batch = batch_of(model)
    ends = torch.full((3,), batch.input_ids.shape[1])
    with (
        intervene(model, [], prompt_ends=ends),
        pytest.raises(EmotionCircuitsError, match="already set"),
        intervene(model, [], prompt_ends=ends),
    ):
        pass
    edit = Ablate(site=_site())
    with intervene(model, [edit], prompt_ends=ends[:2]), pytest.raises(EmotionCircuitsError, match="for 2 rows"):
        model.logits(batch)


def test_prompt_ends_tell_prompt_and_continuation_apart_in_one_pass():
    model = model_of("llama")
    batch, site = model.tokenize(["Hello there"]), Site("resid_post", 1)
    before = record_all(model, batch)[site]
    for when, expected in (("prompt", [True] * 5 + [False] * 6), ("generated", [False] * 5 + [True] * 6)):
        edit = Add(site=site, vector=torch.ones(32), when=when)
        with observe(model, [site]) as record, intervene(model, [edit], prompt_ends=torch.tensor([5])):
            model.logits(batch)
        assert ((record[site] - before).abs().sum(-1) > 0)[0].tolist() == expected


@pytest.mark.parametrize("name", ["gpt_neox", "gptj", "stablelm_parallel"])
def test_parallel_families_refuse_an_edit_of_resid_mid(name):
    with (
        pytest.raises(SiteUnavailableError, match="resid_pre, attn_out or mlp_out"),
        intervene(model_of(name), [Ablate(site=Site("resid_mid", 0))]),
    ):
        pass
