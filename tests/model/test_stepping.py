"""A running batch: whoever joins or leaves, every row writes what it writes alone."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import (
    LAST,
    REST,
    Ablate,
    Add,
    Clamp,
    Gate,
    Patch,
    Positions,
    Sampling,
    Site,
    generate,
    observe,
)
from emotion_circuits.model.continuations import Unfolding, continuation
from emotion_circuits.model.stepping import Along, Stepper, Task
from families import tiny_model
from model_cases import FAMILY_NAMES, model_of, random_tensor

TEXTS = ("Thank you so much for the ride", "Why?", "It rains again", "a")
MID = Site("resid_post", 1)


def vector(seed):
    return random_tensor(32, seed=seed)


ARMS = {
    "nothing": (),
    "add": (Add(site=MID, vector=vector(1), alpha=2.0, positions=REST),),
    "against": (Add(site=MID, vector=vector(1), alpha=-2.0, positions=REST),),
    "two places": (
        Add(site=MID, vector=vector(2), alpha=2.0),
        Add(site=Site("resid_post", 0), vector=vector(3), alpha=1.0, when="generated"),
    ),
    "prompt": (Add(site=MID, vector=vector(4), alpha=3.0, positions=LAST, when="prompt"),),
    "first": (Add(site=Site("resid_post", 0), vector=vector(5), alpha=4.0, positions=Positions.at(0)),),
    "clamp": (Clamp(site=MID, direction=vector(6), value=2.0, positions=REST),),
    "gate": (
        Add(site=MID, vector=vector(7), alpha=3.0, gate=Gate(direction=vector(8), threshold=0.0, side="above")),
    ),
    "heads": (Ablate(site=Site("z", 1, 2)), Ablate(site=Site("mlp_out", 2), when="generated")),
    "some tokens": (Add(site=MID, vector=vector(9), alpha=3.0, positions=Positions.per_row([(0,)]), when="prompt"),),
}  # fmt: skip
HOWS = {
    "greedy": {},
    "warm": {"temperature": 0.9, "top_p": 0.95},
    "hot": {"temperature": 1.5, "top_k": 7},
}


@cache
def alone(name, text, arm, how, length, seed):
    sampling = Sampling(max_new_tokens=length, **HOWS[how])
    (found,) = generate(model_of(name), [text], sampling, interventions=ARMS[arm], seeds=[seed])
    return found


def task_of(model, text, arm="nothing", how="greedy", length=6, seed=0, **more):
    ids = model.encode([text]).ids[0]
    return Task(
        ids=ids, sampling=Sampling(max_new_tokens=length, **HOWS[how]), seed=seed, interventions=ARMS[arm], **more
    )


def written(stepper):
    while stepper.rows:
        stepper.step()


class Coming(RuleBasedStateMachine):
    """Rows of any kind join, write and are cancelled at random moments."""

    family = "llama"

    def __init__(self):
        super().__init__()
        self.model = model_of(self.family)
        self.stepper = Stepper(self.model)
        self.stepper.__enter__()
        self.known = []

    wanted = st.tuples(
        st.sampled_from(TEXTS), st.sampled_from(sorted(ARMS)), st.sampled_from(sorted(HOWS)), st.integers(1, 12),
        st.integers(0, 2),
    )  # fmt: skip

    @rule(wanted=st.lists(wanted, min_size=1, max_size=3), live=st.booleans())
    def join(self, wanted, live):
        tasks = [task_of(self.model, *one, live=live) for one in wanted]
        self.known += zip(wanted, self.stepper.join(tasks), strict=True)

    @rule(steps=st.integers(1, 4))
    def write(self, steps):
        for _ in range(steps):
            self.stepper.step()

    @rule(which=st.integers(0, 50))
    def cancel(self, which):
        if self.stepper.rows:
            self.stepper.cancel(self.stepper.rows[which % len(self.stepper.rows)])

    @invariant()
    def the_batch_is_no_wider_than_its_longest_row(self):
        if self.stepper.rows:
            assert self.stepper._state.columns <= max(len(r.task.ids) + len(r.tokens) for r in self.stepper.rows)

    def teardown(self):
        written(self.stepper)
        self.stepper.__exit__()
        for wanted, row in self.known:
            expected = alone(self.family, *wanted)
            ids = tuple(t.id for t in row.tokens)
            if row.reason == "cancelled":
                assert ids == expected.token_ids[: len(ids)], wanted
                continue
            assert (ids, row.text, row.reason == "stop") == (expected.token_ids, expected.text, expected.finished)
            if row.task.live:
                assert "".join(t.text for t in row.tokens) == row.text


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_row_writes_what_it_writes_alone_whoever_joins_or_leaves(name):
    run_state_machine_as_test(
        type(name, (Coming,), {"family": name}),
        settings=settings(
            max_examples=4,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


def test_a_model_on_which_a_batch_ran_is_as_before():
    model = tiny_model("gemma3")
    before = model.logits(model.tokenize(["Hello"]))
    with Stepper(model) as stepper:
        stepper.join([task_of(model, "Thank you", "add"), task_of(model, "Why?", "heads")])
        stepper.step()
    assert torch.equal(before, model.logits(model.tokenize(["Hello"])))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())


# -- what was done is measured -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beside", [0, 3])
def test_what_interventions_did_is_measured_for_each_row_alone(beside):
    model, unit = model_of("llama"), torch.nn.functional.normalize(vector(1), dim=0)
    along = (Along(MID, vector(1)),)
    with Stepper(model) as stepper:
        others = [task_of(model, TEXTS[i], "two places", length=4 + i) for i in range(beside)]
        stepper.join(others)
        (row,) = stepper.join([task_of(model, "It rains again", "add", along=along)])
        written(stepper)
    (touched,) = row.touched
    prompt = len(row.task.ids)
    # The last token that was written was never read, so nothing could be done to it.
    assert (touched.tokens, touched.first) == (prompt - 1 + len(row.tokens) - 1, 0)
    moved = (touched.after - touched.before) / touched.tokens
    assert moved == pytest.approx(2.0 * float(vector(1) @ unit), rel=1e-4)
    whole = model.collate([[*row.task.ids, *(t.id for t in row.tokens[:-1])]])
    with observe(model, [MID]) as record:  # the states before: layers up to this one see no edit of it
        model.hidden(whole)
    assert touched.before == pytest.approx(float((record[MID][0, 1:] @ unit).sum()), rel=1e-3)


def test_the_first_token_is_measured_by_itself():
    model, along = model_of("llama"), (Along(Site("resid_post", 0), vector(5)),)
    with Stepper(model) as stepper:
        (row,) = stepper.join([task_of(model, "Why?", "first", along=along)])
        written(stepper)
    (touched,) = row.touched
    assert (touched.tokens, touched.first) == (0, 1)
    assert touched.first_after - touched.first_before == pytest.approx(4.0 * float(vector(5).norm()), rel=1e-4)


@pytest.mark.parametrize("arm", [(), (Add(site=MID, vector=vector(1), alpha=0.0),)], ids=["none", "strength 0"])
def test_nothing_done_is_nothing_touched(arm):
    model = model_of("llama")
    with Stepper(model) as stepper:
        task = Task(ids=model.encode(["Why?"]).ids[0], interventions=arm, along=(Along(MID, vector(1)),))
        (row,) = stepper.join([task])
        written(stepper)
    assert (row.touched[0].tokens, row.touched[0].first) == (0, 0)


def test_only_generated_tokens_of_a_text_of_one_token_are_none():
    model = model_of("llama")
    only = (Add(site=MID, vector=vector(1), when="generated"),)
    with Stepper(model) as stepper:
        task = Task(
            ids=model.encode(["Why?"]).ids[0], sampling=Sampling(max_new_tokens=1), interventions=only,
            along=(Along(MID, vector(1)),),
        )  # fmt: skip
        (row,) = stepper.join([task])
    assert (row.reason, row.touched[0].tokens) == ("length", 0)


def test_states_are_those_of_the_positions_that_wrote_the_tokens():
    model, last = model_of("gpt2"), Site("resid_post", 2)
    with Stepper(model) as stepper:
        stepper.join([task_of(model, "a longer one that was there before", length=9)])
        (row,) = stepper.join([task_of(model, "Why?", watch=(last,))])
        written(stepper)
    whole = model.collate([[*row.task.ids, *(t.id for t in row.tokens[:-1])]])
    with observe(model, [last]) as record:
        model.hidden(whole)
    seen = torch.stack([t.states[last] for t in row.tokens])
    assert torch.allclose(seen, record[last][0, len(row.task.ids) - 1 :], atol=1e-4)


def test_log_probabilities_are_the_steered_models():
    model = model_of("llama")
    with Stepper(model) as stepper:
        stepper.join([task_of(model, "It rains again", "two places")])
        (row,) = stepper.join([task_of(model, "Why?", "nothing", "warm", logprobs=3)])
        written(stepper)
    ids = [*row.task.ids, *(t.id for t in row.tokens)]
    chance = torch.log_softmax(model.logits(model.collate([ids]))[0].float(), -1)
    for place, token in enumerate(row.tokens, start=len(row.task.ids) - 1):
        assert token.logprob == pytest.approx(float(chance[place, token.id]), abs=1e-4)
        assert [i for i, _ in token.top] == chance[place].topk(3).indices.tolist()


# -- ends --------------------------------------------------------------------------------------------------------------


def test_a_stop_ends_a_text_before_itself_and_no_part_of_it_is_handed_out():
    model = model_of("llama")
    whole = alone("llama", TEXTS[0], "nothing", "greedy", 12, 0).text
    for start in range(1, 10):
        for size in (1, 2, 3):
            stop = whole[start : start + size]
            with Stepper(model) as stepper:
                (row,) = stepper.join([task_of(model, TEXTS[0], length=12, stop=("never this", stop), live=True)])
                handed = "".join(t.text for t in row.tokens)
                while stepper.rows:
                    stepper.step()
                    handed = "".join(t.text for t in row.tokens)
                    assert stop not in handed
            assert handed == row.text == whole[: whole.find(stop)]
            assert row.reason == "stop"


def test_what_looks_like_a_stop_and_is_none_is_handed_out_after_all():
    model = model_of("llama")
    whole = alone("llama", TEXTS[0], "nothing", "greedy", 6, 0).text
    with Stepper(model) as stepper:
        (row,) = stepper.join([task_of(model, TEXTS[0], stop=(whole[-2:] + "never",), live=True)])
        written(stepper)
    assert "".join(t.text for t in row.tokens) == row.text == whole
    assert row.reason == "length"


def test_a_row_that_breaks_down_ends_alone():
    model = model_of("llama")
    broken = (Add(site=MID, vector=torch.full((32,), 3e38), alpha=1e3),)
    with Stepper(model) as stepper:
        good, bad = stepper.join(
            [task_of(model, "It rains again"), Task(ids=model.encode(["Why?"]).ids[0], interventions=broken)]
        )
        written(stepper)
    assert bad.reason == "error"
    assert "NaN or infinity" in bad.error
    assert good.text == alone("llama", "It rains again", "nothing", "greedy", 6, 0).text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": []}, "no tokens"),
        ({"ids": [5] * 127}, "context of 128"),
        ({"stop": ("",)}, "must not be empty"),
        ({"interventions": (Add(site=MID, vector=vector(1), rows=(0,)),)}, "names rows"),
        ({"interventions": (Add(site=MID, vector=torch.ones(31)),)}, "shape"),
        ({"interventions": (Add(site=MID, vector=vector(1), alpha=float("nan")),)}, "finite"),
        ({"interventions": (Patch(site=MID, value=torch.ones(1, 3, 32)),)}, "padded columns"),
        ({"interventions": (Ablate(site=Site("pattern", 1, 0)),)}, "padded columns"),
    ],
)
def test_a_task_that_no_row_can_carry_is_refused_and_the_others_go_on(change, said):
    model = model_of("llama")
    with Stepper(model) as stepper:
        (row,) = stepper.join([task_of(model, "It rains again")])
        with pytest.raises(EmotionCircuitsError, match=said):
            stepper.join([Task(**{"ids": [5, 6], **change})])
        written(stepper)
    assert row.text == alone("llama", "It rains again", "nothing", "greedy", 6, 0).text


def test_a_text_unfolds_to_what_it_is_as_a_whole():
    model = model_of("llama")
    ids = [5, 40, 41, 3, 60, 61, 62, 7] * 4
    text = Unfolding(ids[:3])
    for token in ids:
        text.add(model.tokenizer, token)
    assert text.text == continuation(model.tokenizer, ids[:3], ids)[0]
