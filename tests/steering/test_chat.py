"""Sweeps of chat: what is steered is what was said and what is written, never the template; and directions from replies."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from emotion_circuits.activations import measure_sinks
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Fluency
from emotion_circuits.model import ALL, LAST, REST, Add, Positions, Sampling, Site, generate, intervene, observe
from emotion_circuits.model.chat import chat_turns, spoken
from emotion_circuits.model.generation import row_seed
from emotion_circuits.prompts import Prompt, load_attribute, load_prompts
from emotion_circuits.steering import NONE, Condition, LabelledRows, SteeringVectors, grid, score_sweep, sweep
from emotion_circuits.steering.injecting import interventions_for, said_only
from emotion_circuits.steering.replies import asking_for, judged_replies, reply_states
from families import tiny_model
from serve_cases import TEMPLATE

HOW = Sampling(max_new_tokens=5, temperature=1.0, min_new_tokens=5)
CHAT = load_attribute("emotion-en").chat


@pytest.fixture(scope="module")
def model():
    found = tiny_model("llama")
    found.tokenizer.chat_template = TEMPLATE
    return found


def vectors(*names):
    g = torch.Generator().manual_seed(0)
    raw = {n: torch.randn(3, 32, generator=g) for n in (names or ("joy", "fear"))}
    return SteeringVectors.from_raw(raw, torch.ones(3) * 3)


def requests(*texts):
    return [
        Prompt(id=f"p{i}", text=t, label="neutral", group=f"g{i}", split="validation", language="en", set="t")
        for i, t in enumerate(texts or ("What now", "Tell me more of it"))
    ]


def test_a_row_is_what_the_stepper_of_a_chat_would_write(model, tmp_path):
    arms = [NONE, *grid(["joy", "fear"], [1], [2.0], positions="rest", first=1.0)[1:]]
    rows = requests()
    table = sweep(model, rows, arms, vectors(), folder=tmp_path / "s", sampling=HOW, seed=3, chat=True)
    turns = dict(zip([p.id for p in rows], chat_turns(model, [p.text for p in rows]), strict=True))
    by_name = {arm.name: arm for arm in arms}
    for row in table.itertuples():
        turn, prompt = turns[row.prompt_id], next(p for p in rows if p.id == row.prompt_id)
        encoded = model.encode([turn], add_special_tokens=False)
        places = spoken(turn, [prompt.text], encoded.offsets[0])
        assert 0 < len(places) < len(encoded.ids[0])
        (alone,) = generate(
            model, [turn], HOW, seeds=[row_seed(3, prompt.id, 0)], add_special_tokens=False,
            interventions=interventions_for([by_name[row.condition]], vectors(), [places]),
        )  # fmt: skip
        assert row.text == alone.text
        assert row.asked == row.context == turn
        assert row.prompt == prompt.text
    assert (
        table[table["condition"] != "none"]["text"].tolist() != 2 * table[table["condition"] == "none"]["text"].tolist()
    )


@pytest.mark.parametrize("positions", [ALL, REST, LAST])
@pytest.mark.parametrize("when", ["prompt", "generated", "all"])
def test_template_tokens_are_left_as_they_are(model, positions, when):
    texts = ["What now", "Tell me more of it"]
    turns = chat_turns(model, texts)
    batch = model.tokenize(turns, add_special_tokens=False)
    read = model.encode(turns, add_special_tokens=False)
    said = [spoken(turn, [text], o) for turn, text, o in zip(turns, texts, read.offsets, strict=True)]
    push = Add(
        site=Site("resid_post", 1), vector=torch.ones(32), alpha=5.0, positions=positions, when=when, rows=(0, 1)
    )
    site = Site("resid_post", 1)
    with observe(model, [site]) as plain:
        model.hidden(batch)
    with intervene(model, said_only([push], said)), observe(model, [site]) as pushed:
        model.hidden(batch)
    for row, places in enumerate(said):
        start = batch.input_ids.shape[1] - len(read.ids[row])
        moved = (plain[site][row] - pushed[site][row]).abs().amax(-1)[start:] > 1e-3
        wanted = [] if when == "generated" or positions is LAST else list(places)
        assert moved.nonzero()[:, 0].tolist() == wanted


def test_the_first_token_bears_what_is_meant_for_it():
    sink = Add(site=Site("resid_post", 1), vector=torch.ones(4), alpha=1.0, positions=Positions.at(0), rows=(0,))
    assert said_only([sink], [[3, 4]]) == [sink]


def test_perplexity_is_that_of_a_reply_to_the_plain_request(model, tmp_path):
    phrases = CHAT.prompting(0, "neutral", None)
    arms = [NONE, Condition(name="asked", kind="prompting", emotion="anger")]
    table = sweep(model, requests(), arms, vectors(), folder=tmp_path / "s", sampling=HOW, chat=True, phrases=phrases)
    asked = table[table["condition"] == "asked"]
    assert (asked["context"] != asked["asked"]).all()
    assert all(phrases.instructions["anger"] in context and context.endswith("me: ") for context in asked["context"])
    scored = score_sweep(table, [], Fluency(model))
    ids = [[int(i) for i in row.split()] for row in table["ids"]]
    own = Fluency(model).score(table["asked"].tolist(), table["text"].tolist(), ids=ids, add_special_tokens=False)
    np.testing.assert_allclose(scored["nats"], own["nats"])
    plain = Fluency(model).score(table["prompt"].tolist(), table["text"].tolist(), ids=ids)
    assert (scored["nats"] - plain["nats"]).abs().max() > 1e-3


def test_a_sweep_of_chat_is_another_one(model, tmp_path):
    sweep(model, requests(), [NONE], vectors(), folder=tmp_path / "s", sampling=HOW, chat=True)
    with pytest.raises(EmotionCircuitsError, match="differs in chat"):
        sweep(model, requests(), [NONE], vectors(), folder=tmp_path / "s", sampling=HOW)


class Called:
    """Calls a text by the letter that it has most of."""

    name, axis, version = "called", "emotion", "1"

    def score(self, texts):
        return pd.DataFrame({"length": [len(set(t)) for t in texts]})

    def decide(self, scores):
        return ["anger" if n % 2 else "neutral" for n in scores["length"]]


def test_only_replies_that_came_out_count_and_their_states_are_their_tokens(model, tmp_path):
    labels = ("anger", "neutral")
    rows = requests("What now", "Tell me more of it", "And then", "Where was that", "Who")
    written = [
        sweep(
            model, rows, asking_for(labels, "neutral"), vectors(), folder=tmp_path / f"s{way}", sampling=HOW, chat=True,
            phrases=CHAT.prompting(way, "neutral", None), seed=way,
        )
        for way in range(2)
    ]  # fmt: skip
    table = judged_replies(written, Called())
    assert len(table) == 2 * 2 * 5
    assert table["counts"].tolist() == (table["label"] == table["called"]).tolist()
    # A rule so strict that a few tokens of replies count as sinks.
    sinks = replace(measure_sinks(model, [row.text for row in rows]), factor=1.1)
    found, left_out = reply_states(model, table, sinks)
    kept = table[table["counts"]].reset_index(drop=True)
    assert 0 < len(kept) < len(table)
    assert found.labels == kept["label"].tolist()
    assert found.groups == kept["prompt_id"].tolist()
    site, outside = Site("resid_post", 2), 0
    for row, reply in kept.iterrows():
        head = model.encode([reply["context"]], add_special_tokens=False).ids[0]
        tail = [int(i) for i in reply["ids"].split()]
        with observe(model, [site]) as record:
            model.hidden(model.collate([[*head, *tail]]))
        own = record[site][0]
        counted = ~sinks.among("resid_post", 2, own.norm(dim=-1)[None])[0, len(head) :]
        outside += int((~counted).sum())
        torch.testing.assert_close(
            found.states[row, 2].float(), own[len(head) :][counted].mean(0), atol=1e-5, rtol=1e-5
        )
        assert left_out[table["counts"]].iloc[row] >= (~counted).sum()
    assert outside > 0
    assert left_out[~table["counts"]].isna().all()
    with pytest.raises(EmotionCircuitsError, match="no reply came out"):
        reply_states(model, table.assign(counts=False), sinks)
    with pytest.raises(EmotionCircuitsError, match="nothing but attention sinks"):
        reply_states(model, table, replace(sinks, factor=0.0))


def test_labelled_rows_come_back_and_damage_is_told(tmp_path):
    rows = LabelledRows(["joy", "neutral", "joy"], torch.randn(3, 2, 4).double(), ["a", "a", "b"], "replies")
    rows.save(tmp_path / "r.safetensors")
    back = LabelledRows.load(tmp_path / "r.safetensors")
    assert (list(back.labels), list(back.groups), back.where) == (["joy", "neutral", "joy"], ["a", "a", "b"], "replies")
    torch.testing.assert_close(back.states, rows.states.float().double())
    torch.testing.assert_close(rows.differences("neutral")["joy"], rows.states[[0, 2]].mean(0) - rows.states[1])
    (tmp_path / "r.safetensors").write_bytes(b"x")
    with pytest.raises(EmotionCircuitsError, match="no labelled states can be read"):
        LabelledRows.load(tmp_path / "r.safetensors")


def test_requests_of_fitting_choosing_and_reporting_are_apart():
    parts = [
        load_prompts(CHAT.fit, split="train"), load_prompts(CHAT.choose, split="validation"),
        load_prompts(CHAT.report, split="test"), load_prompts("tone_requests", split="test"),
    ]  # fmt: skip
    texts = [{p.text for p in rows} for rows in parts]
    assert [len(t) for t in texts] == [28, 30, 36, 64]
    assert len(set().union(*texts)) == sum(map(len, texts))
    instructions = [way for ways in CHAT.instructions.values() for way in ways]
    assert len(set(instructions)) == len(instructions)
