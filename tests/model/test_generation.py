"""Generation: batched = alone, cached = uncached, every row its own intervention, seeds, ends, limits."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import (
    ALL,
    LAST,
    Ablate,
    Add,
    Patch,
    Positions,
    Sampling,
    Site,
    for_rows,
    generate,
    intervene,
    observe,
)
from families import tiny_model
from model_cases import FAMILY_NAMES, MODES, TEXTS, edit_of, kinds_for, model_of, random_tensor, record_all

LONG = Sampling(max_new_tokens=7, min_new_tokens=7)
SAMPLED = Sampling(max_new_tokens=7, min_new_tokens=7, temperature=0.9, top_p=0.95)


def ids(rows):
    return [g.token_ids for g in rows]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_greedy_generation_is_that_of_hugging_face(name):
    model = model_of(name)
    batch = model.tokenize(TEXTS)
    theirs = model.hf.generate(
        batch.input_ids,
        attention_mask=batch.attention_mask,
        max_new_tokens=7,
        min_new_tokens=7,
        do_sample=False,
        pad_token_id=model.pad_id,
    )[:, batch.input_ids.shape[1] :]
    assert ids(generate(model, TEXTS, LONG)) == [tuple(row) for row in theirs.tolist()]


@pytest.mark.parametrize("how", [LONG, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_row_has_the_same_text_whichever_batch_it_is_in(name, how):
    model = model_of(name)
    seeds = [11, 12, 13]
    together = generate(model, TEXTS, how, seeds=seeds)
    for row in range(3):
        assert generate(model, [TEXTS[row]], how, seeds=[seeds[row]])[0] == together[row]
    order = [2, 0, 1, 1]
    shuffled = generate(model, [TEXTS[i] for i in order], how, seeds=[seeds[i] for i in order])
    assert shuffled == [together[i] for i in order]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_cached_generation_equals_uncached_under_every_kind_of_intervention(name, mode):
    model = model_of(name)
    width, plain = max(map(len, TEXTS)), ids(generate(model, TEXTS, LONG))
    moved = 0
    choices = [(ALL, "all"), (LAST, "prompt"), (Positions.at(0, 2), "generated")]
    for index, kind in enumerate(kinds_for(model, mode)):
        positions, when = choices[index % 3]
        edit = edit_of(model, kind, mode, keys=width, positions=positions, when=when)
        cached = ids(generate(model, TEXTS, LONG, interventions=[edit]))
        uncached = ids(generate(model, TEXTS, LONG, interventions=[edit], use_cache=False))
        assert cached == uncached, (kind, positions.kind, when)
        moved += cached != plain
    assert moved >= 2 or mode == "directional"  # taking one of 32 directions away need not flip a greedy token


@pytest.mark.parametrize("when", ["prompt", "generated", "all"])
@pytest.mark.parametrize(
    "positions",
    [ALL, LAST, Positions.at(0, 1, 3), Positions.per_row([(0, 2), (1,), (3, 4, 5)])],
    ids=lambda p: p.kind,
)
@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "gemma3", "mistral", "llama"])
def test_cached_equals_uncached_for_every_choice_of_positions_and_time(name, positions, when):
    model = model_of(name)
    width = max(map(len, TEXTS))
    edits = [
        edit_of(model, kind, mode, keys=width, positions=positions, when=when, layer=layer)
        for kind, mode, layer in (
            ("resid_post", "add", 0),
            ("z", "mean", 1),
            ("resid_mid", "directional", 1),
            ("k", "resample", 2),
            ("pattern", "zero", 2),
            ("scores", "patch", 1),
        )
    ]
    cached = generate(model, TEXTS, LONG, interventions=edits)
    assert ids(cached) == ids(generate(model, TEXTS, LONG, interventions=edits, use_cache=False))
    assert ids(cached) != ids(generate(model, TEXTS, LONG))
    for row, text in enumerate(TEXTS):  # and left-padded = one by one
        own = Positions.per_row([positions.rows[row]]) if positions.kind == "per_row" else positions
        keys = [e for e in edits if e.site.kind not in ("scores", "k")]  # those hold padded columns
        mixed = generate(model, TEXTS, LONG, interventions=keys)
        alone = [type(e)(**{**vars(e), "positions": own}) for e in keys]
        assert ids(generate(model, [text], LONG, interventions=alone))[0] == mixed[row].token_ids


def test_generated_tokens_are_moved_when_they_are_written_and_the_prompt_is_not():
    model, site = model_of("llama"), Site("resid_post", 1)
    vector = random_tensor(32)
    for when, prompt, later in (("prompt", True, False), ("generated", False, True), ("all", True, True)):
        edit = Add(site=site, vector=vector, when=when)
        with observe(model, [site], keep="all") as record:
            with observe(model, [Site("resid_pre", 2)], keep="all"):
                generate(model, ["Hello"], Sampling(max_new_tokens=3, min_new_tokens=3), interventions=[edit])
            steered = record.passes(site)
        forced = _unsteered_passes(model, steered, edit)
        for step, (seen, plain) in enumerate(zip(steered, forced, strict=True)):
            moves = prompt if step == 0 else later
            expected = plain + vector if moves else plain
            assert torch.allclose(seen, expected, atol=1e-5), (when, step)


def _unsteered_passes(model, steered, edit):
    """The same tokens through the same earlier layers: resid_post of layer 1 before the edit of it."""
    text = generate(model, ["Hello"], Sampling(max_new_tokens=3, min_new_tokens=3), interventions=[edit])[0]
    rows = [[*model.tokenize(["Hello"]).input_ids[0].tolist(), *text.token_ids[:2]]]
    whole = record_all(model, model.collate(rows))[edit.site]  # layers 0 and 1 do not see the edit of layer 1's output
    cuts, start = [], 0
    for seen in steered:
        cuts.append(whole[:, start : start + seen.shape[1]])
        start += seen.shape[1]
    return cuts


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_rows_of_one_batch_carry_their_own_interventions_while_generating(name):
    model = model_of(name)
    arms = [
        [],
        [Add(site=Site("resid_post", 1), vector=random_tensor(32, seed=1), alpha=3.0)],
        [Ablate(site=Site("z", 1, 2)), Ablate(site=Site("pattern", 0, 1))],
        [Add(site=Site("resid_post", 2), vector=random_tensor(32, seed=2), alpha=2.0, when="generated")],
        [Ablate(site=Site("mlp_out", 1)), Add(site=Site("v", 0, 3), vector=random_tensor(8), positions=LAST)],
    ]
    prompt, seeds = "How are you", [5] * len(arms)
    mixed = generate(
        model,
        [prompt] * len(arms),
        SAMPLED,
        interventions=[i for row, arm in enumerate(arms) for i in for_rows(arm, [row])],
        seeds=seeds,
    )
    for row, arm in enumerate(arms):
        alone = generate(model, [prompt] * len(arms), SAMPLED, interventions=arm, seeds=seeds)
        assert mixed[row] == alone[row], row
    assert len({g.token_ids for g in mixed}) == len(arms)
    again = generate(model, [prompt] * len(arms), SAMPLED, seeds=seeds)
    assert mixed[0] == again[0]


@contextmanager
def passes_of(model):
    """The tokens of every forward pass inside the block."""
    passes, own = [], model._inputs

    def inputs(batch, extra):
        passes.append(batch.input_ids)
        return own(batch, extra)

    model._inputs = inputs
    try:
        yield passes
    finally:
        del model._inputs


def test_a_stranger_s_hook_sees_every_row():
    model = model_of("llama")
    seen: list[int] = []
    handle = model.blocks[0].register_forward_hook(lambda _module, args, output: seen.append(len(args[0])))
    try:
        generate(model, [TEXTS[0]] * 4, LONG)
    finally:
        handle.remove()
    assert set(seen) == {4}


@pytest.mark.parametrize("kind", ["resid_post", "resid_pre", "z"])
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_prompts_that_rows_share_are_read_once_and_the_texts_stay_what_they_are_alone(name, kind):
    model = model_of(name)
    model.hf(input_ids=model.tokenize(TEXTS[:1]).input_ids, output_hidden_states=True)  # leaves hooks of its own behind
    layer = model.n_layers - 1
    prompts = [text for text in TEXTS[:2] for _ in range(4)]
    edit = edit_of(model, kind, "zero" if kind == "z" else "add", keys=1, layer=layer, alpha=20.0)
    edits = for_rows([edit], [1, 6])
    with passes_of(model) as passes:
        together = generate(model, prompts, LONG, interventions=edits)
    assert [len(rows) for rows in passes[:3]] == [2, 8, 8]  # below the layer, from it on, the next token
    plain = [generate(model, [text], LONG)[0] for text in TEXTS[:2]]
    changed = [generate(model, [text], LONG, interventions=[edit])[0] for text in TEXTS[:2]]
    expected = [changed[i // 4] if i in (1, 6) else plain[i // 4] for i in range(8)]
    assert together == expected
    assert not (kind != "z" and changed == plain)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_beginning_that_prompts_share_is_read_once_and_the_texts_stay_what_they_are_alone(name):
    model = model_of(name)
    heads = [" ".join([TEXTS[k]] * 3) for k in (0, 2)]
    prompts = [f"{head} {end}" for head in heads for end in ("so", "and then", "we", "it was")]
    with passes_of(model) as passes:
        together = generate(model, prompts, SAMPLED, seeds=range(8))
    widths = [ids.shape[1] for ids in passes]
    longest = model.tokenize(prompts).input_ids.shape[1]
    if not any(getattr(model.config, name, None) for name in ("sliding_window", "window_size")):
        assert sum(widths[:2]) <= longest + 8  # beginnings, then ends; apart from that one token at a time
        assert set(widths[2:]) == {1}
    else:  # the tiny models' windows are shorter than the prompts
        assert widths[0] == longest
    assert together == [generate(model, [p], SAMPLED, seeds=[i])[0] for i, p in enumerate(prompts)]
    assert together == generate(model, prompts, SAMPLED, seeds=range(8), use_cache=False)


def test_shared_prompts_without_any_intervention_and_with_a_watcher():
    model = model_of("llama")
    prompts = [TEXTS[0]] * 4
    site = Site("resid_post", 1)
    with observe(model, [site], keep="all") as record:
        seen = generate(model, prompts, LONG)
    assert [len(value) for value in record.passes(site)] == [4] * 7
    assert seen == generate(model, prompts, LONG) == generate(model, prompts[:1], LONG) * 4


def test_generation_inside_a_context_is_changed_by_it_and_leaves_the_model_clean():
    model = model_of("gpt2")
    edit = Add(site=Site("resid_post", 1), vector=random_tensor(32), alpha=4.0, when="generated")
    plain = generate(model, TEXTS, LONG)
    with intervene(model, [edit]):
        inside = generate(model, TEXTS, LONG)
    assert inside == generate(model, TEXTS, LONG, interventions=[edit])
    assert inside != plain
    assert generate(model, TEXTS, LONG) == plain
    with pytest.raises(EmotionCircuitsError, match="names row 9"):
        generate(model, TEXTS, LONG, interventions=[Ablate(site=Site("z", 0), rows=(9,))])
    assert generate(model, TEXTS, LONG) == plain


def test_patching_a_prompt_while_generating():
    model = model_of("llama")
    site = Site("resid_post", 0)
    source = record_all(model, model.tokenize(["Thank you"]))[site]
    edit = Patch(site=site, value=source, when="prompt")
    patched = generate(model, ["Damn yous"], LONG, interventions=[edit])
    # The whole stream after layer 0 comes from the other prompt: so does what later layers read, and the rest follows
    # from the tokens written, except that layer 0 itself still attends to its own prompt.
    assert patched[0].token_ids[0] == generate(model, ["Thank you"], LONG)[0].token_ids[0]
    assert ids(patched) != ids(generate(model, ["Damn yous"], LONG))


# -- ends, limits, errors ----------------------------------------------------------------------------------------


def _ending_model(token: int = 2):
    """A model that ends the text as soon as it may: the end-of-text logit is far ahead of all others."""
    model = tiny_model("llama")
    with torch.no_grad():
        head = model.hf.get_output_embeddings()
        head.weight[token] = 0
        model.hf.model.norm.weight.mul_(0)  # all logits 0 …
    bias = torch.zeros(96)
    bias[token] = 10.0
    head.bias = torch.nn.Parameter(bias, requires_grad=False)  # … but one
    return model


def test_the_end_of_text_token_ends_a_row_and_is_left_out():
    model = _ending_model()
    (out,) = generate(model, ["Hi"], Sampling(max_new_tokens=5))
    assert (out.token_ids, out.text, out.finished, out.prompt) == ((), "", True, "Hi")


def test_min_new_tokens_holds_the_end_back():
    model = _ending_model()
    for least in (1, 3, 5):
        (out,) = generate(model, ["Hi"], Sampling(max_new_tokens=5, min_new_tokens=least))
        assert len(out.token_ids) == least
        assert out.finished == (least < 5)
        assert 2 not in out.token_ids


def test_a_finished_row_does_not_disturb_the_others():
    model = model_of("gpt2")
    push = random_tensor(32, seed=3)
    how = Sampling(max_new_tokens=30, temperature=3.0)
    seeds = list(range(12))
    together = generate(model, ["Oh no"] * 12, how, seeds=seeds)
    lengths = {len(g.token_ids) for g in together}
    assert len(lengths) > 2, "some rows end early, at different times"
    for row, seed in enumerate(seeds):
        assert generate(model, ["Oh no"], how, seeds=[seed])[0] == together[row]
        assert together[row].finished == (len(together[row].token_ids) < 30)
    assert push.shape == (32,)


def test_every_end_of_text_id_of_config_generation_config_and_tokenizer_counts():
    model = tiny_model("llama")
    model.hf.generation_config.eos_token_id = [2, 40]
    assert model.eos_ids == (2, 40)
    model = tiny_model("llama")
    model.hf.generation_config.eos_token_id = None
    model.hf.config.eos_token_id = 7
    assert model.eos_ids == (7, 2)


def test_text_is_the_decoded_continuation_only():
    model = model_of("gpt2")
    (out,) = generate(model, ["Hello"], LONG)
    assert out.text == model.tokenizer.decode(list(out.token_ids), skip_special_tokens=True)
    assert out.prompt == "Hello"
    assert not out.text.startswith("Hello")


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_prompt_that_leaves_no_room_is_refused(name):
    model = model_of(name)
    limit = model.config.max_position_embeddings
    generate(model, ["x" * (limit - 2)], Sampling(max_new_tokens=2))
    with pytest.raises(EmotionCircuitsError, match=rf"127 tokens and 2 new ones exceed tiny-{name}'s context of 128"):
        generate(model, ["short", "x" * (limit - 1)], Sampling(max_new_tokens=2))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "the list of texts is empty"),
        (["fine", ""], r"text 1 \(''\) has no tokens"),
        ("Hello", "a list of texts, not one string"),
    ],
)
def test_prompts_without_anything_to_continue_are_refused(prompts, message):
    with pytest.raises(EmotionCircuitsError, match=message):
        generate(model_of("gpt2"), prompts)


def test_seeds_must_match_the_prompts():
    with pytest.raises(EmotionCircuitsError, match="2 seeds for 3 prompts"):
        generate(model_of("gpt2"), TEXTS, SAMPLED, seeds=[1, 2])


def test_nan_logits_are_an_error_that_names_row_and_step():
    model = model_of("gpt2")
    huge = Add(site=Site("resid_post", 2), vector=torch.full((32,), 3e38), alpha=1.0, rows=(1,), when="generated")
    overflow = [huge, Add(site=Site("resid_post", 2), vector=torch.full((32,), 3e38), rows=(1,), when="generated")]
    with pytest.raises(EmotionCircuitsError, match=r"NaN or infinity in row 1 .*step 1"):
        generate(model, TEXTS, LONG, interventions=overflow)


def test_padding_side_must_be_left_or_right():
    with pytest.raises(EmotionCircuitsError, match="'left' or 'right', got 'middle'"):
        model_of("gpt2").tokenize(TEXTS, side="middle")
