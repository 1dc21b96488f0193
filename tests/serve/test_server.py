"""The server as OpenAI's own client meets it: a real one, on a loopback port, over a tiny model and a tiny run."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch

from emotion_circuits.model import Sampling, generate, load_model
from emotion_circuits.model.chat import chat_prompts
from emotion_circuits.model.generation import row_seed
from emotion_circuits.serve.curves import curve_of
from emotion_circuits.stations.steering import tables
from emotion_circuits.steering import Condition
from emotion_circuits.steering.injecting import layer_interventions
from serve_cases import FIRST, LAYER, VALUES, filled, serving, tiny_run

openai = pytest.importorskip("openai")
PROMPT = "It rains again"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    run = tiny_run(tmp_path_factory.mktemp("serve"))
    model = load_model(str(run.parent / "tiny-chat"))
    with serving(model, run) as (service, port):
        yield service, port


@pytest.fixture(scope="module")
def client(served):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{served[1]}/v1", api_key="none at all", max_retries=0)


def complete(client, prompt=PROMPT, steering=None, *, more=None, **options):
    body = {**({} if steering is None else {"steering": steering}), **(more or {})}
    options = {"max_tokens": 8, "temperature": 0, **options}
    return client.completions.create(model="tiny-chat", prompt=prompt, extra_body=body, **options)


def by_hand(service, dose, value="gratitude", prompt=PROMPT, **sampling):
    c = Condition(name="x", emotion=value, layers=(LAYER,), alpha=dose, positions="rest", first=FIRST * dose)
    how = Sampling(**{"max_new_tokens": 8, **sampling})
    edits = layer_interventions(c, service.served.of("gratitude").vectors) if dose else []
    return generate(service.model, [prompt], how, interventions=edits, seeds=[row_seed(5, 0, 0)])[0].text


def test_the_model_says_what_it_can_be_steered_with(client):
    (one,) = client.models.list().data
    assert one.id == "tiny-chat"
    assert set(one.steering) == set(VALUES)
    assert one.steering["gratitude"]["measured"]["effects"]["share"] == {
        "change": 0.25, "low": 0.1, "high": 0.4, "wrong_way": 0.1, "n": 36,
    }  # fmt: skip
    assert one.steering["anger"]["validated"] is None


@pytest.mark.parametrize("dose", [0.0, 0.3, 1.0, -0.5])
def test_a_dose_is_what_the_run_s_condition_does_at_that_strength(served, client, dose):
    service, _ = served
    answer = complete(client, steering={"gratitude": dose})
    # 2 was the strongest within the bound of 50, though the run chose 1.
    c = service.served.ranges["gratitude"].at(dose)
    assert (c.alpha, c.first) == (2.0 * dose, FIRST * dose)
    expected = generate(
        service.model, [PROMPT], Sampling(max_new_tokens=8),
        interventions=layer_interventions(c, service.served.of("gratitude").vectors) if dose else [],
    )[0]  # fmt: skip
    assert answer.choices[0].text == expected.text
    (value,) = answer.steering["values"]
    assert (value["dose"], value["alpha"], value["layers"]) == (dose, 2.0 * dose, [LAYER])
    assert any("beyond" in w for w in value["warnings"]) == (dose < 0)
    assert any("measured at dose 0.5" in w for w in value["warnings"]) == (dose in (0.3, 1.0))
    touched = answer.steering["choices"][0]["touched"]
    if not dose:
        assert touched == []
        return
    (one,) = touched
    # The last token is read only where the model then ends the text itself.
    read = answer.usage.completion_tokens - (answer.choices[0].finish_reason == "length")
    tokens = len(PROMPT) - 1 + read
    assert one["tokens"] == tokens
    assert one["projection_after"] - one["projection_before"] == pytest.approx(2.0 * dose, rel=1e-3)
    first = one["first_token"]
    assert first["projection_after"] - first["projection_before"] == pytest.approx(FIRST * dose, rel=1e-3)


def test_without_steering_the_text_is_the_models_own(served, client):
    assert complete(client).choices[0].text == by_hand(served[0], 0.0)
    assert complete(client).steering["values"] == []


def test_exact_strengths_layers_times_and_positions(served, client):
    push = {"alpha": 1.5, "layers": [0, 2], "when": "generated", "positions": "all"}
    answer = complete(client, steering={"anger": push})
    c = Condition(name="x", emotion="anger", layers=(0, 2), alpha=1.5, when="generated")
    edits = layer_interventions(c, served[0].served.of("gratitude").vectors)
    expected = generate(served[0].model, [PROMPT], Sampling(max_new_tokens=8), interventions=edits)[0]
    assert answer.choices[0].text == expected.text
    assert [t["layer"] for t in answer.steering["choices"][0]["touched"]] == [0, 2]
    assert [t["tokens"] for t in answer.steering["choices"][0]["touched"]] == [answer.usage.completion_tokens - 1] * 2


def test_an_answer_whose_projection_did_not_move_is_an_error(client):
    push = {"alpha": 1.0, "layers": [1], "when": "generated"}  # the first token is written before any is generated
    with pytest.raises(openai.InternalServerError, match="did not move"):
        complete(client, steering={"gratitude": push}, max_tokens=1)
    with pytest.raises(openai.APIError, match="did not move"):
        list(complete(client, steering={"gratitude": push}, max_tokens=1, stream=True))


@pytest.mark.parametrize("temperature", [0, 0.9])
def test_a_stream_hands_out_the_same_text_and_the_same_steering(client, temperature):
    how = {"steering": {"apology": 0.4}, "temperature": temperature, "seed": 5, "n": 2, "stop": ["zq"]}
    whole = complete(client, **how)
    chunks = list(complete(client, **how, stream=True, stream_options={"include_usage": True}))
    for choice in whole.choices:
        own = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == choice.index]
        assert "".join(c.text for c in own) == choice.text
        assert own[-1].finish_reason == choice.finish_reason
    assert chunks[-1].steering == whole.steering
    assert chunks[-1].usage == whole.usage


def test_seeds_samples_and_stops(served, client):
    a, b = (complete(client, temperature=1.0, top_p=0.9, seed=5, n=3).choices for _ in range(2))
    assert [c.text for c in a] == [c.text for c in b]
    assert len({c.text for c in a}) == 3
    assert a[0].text == by_hand(served[0], 0.0, temperature=1.0, top_p=0.9)
    whole = a[0].text
    cut = complete(client, temperature=1.0, top_p=0.9, seed=5, stop=whole[3:5]).choices[0]
    assert cut.text == whole[: whole.find(whole[3:5])]
    assert cut.finish_reason == "stop"


def test_log_probabilities(client):
    choice = complete(client, logprobs=2, steering={"gratitude": 0.2}).choices[0]
    found = choice.logprobs
    assert "".join(found.tokens) == choice.text
    for logprob, top in zip(found.token_logprobs, found.top_logprobs, strict=True):
        assert logprob == pytest.approx(max(top.values()))  # greedy
    answer = chat(client, logprobs=True, top_logprobs=3)
    for token in answer.choices[0].logprobs.content:
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob)


def test_readings_by_token_are_those_of_the_run_s_reader(served, client):
    answer = complete(client, more={"readings": True})
    readings = answer.choices[0].readings
    assert [r["token"] for r in readings] == list(answer.choices[0].text)
    assert set(readings[0]["scores"]) == set(VALUES)
    directions, layer = served[0].readers[0].reader.members[0]
    from emotion_circuits.model import Site, observe

    ids = served[0].readers[0].reader.model.tokenize([PROMPT + answer.choices[0].text])
    with observe(served[0].readers[0].reader.model, [Site("resid_post", layer)]) as record, torch.inference_mode():
        served[0].readers[0].reader.model.hidden(ids)
    states = record[Site("resid_post", layer)][0, len(PROMPT) - 1 : -1]
    expected = directions.scores(states.float(), layer)
    for row, reading in zip(expected.tolist(), readings, strict=True):
        assert list(reading["scores"].values()) == pytest.approx(row, abs=1e-3)
    steered = complete(client, steering={"gratitude": 1.0}, more={"readings": True}).choices[0].readings
    assert steered[0]["scores"] != readings[0]["scores"]


def test_whole_texts_are_read(served, client):
    answer = client.post("/readings", cast_to=object, body={"input": ["Thank you", "It rains"]})
    table = served[0].readers[0].reader.read(["Thank you", "It rains"])
    assert [row["label"] for row in answer["data"]] == table["label"].tolist()
    assert answer["data"][0]["scores"]["anger"] == pytest.approx(table["score_anger"][0])


def test_what_can_be_drawn_of_the_run(served, client):
    answer = client.get("/steering", cast_to=object)
    assert (answer["model"], answer["chat"], answer["readings"]) == ("tiny-chat", True, True)
    assert answer["runs"] == [str(served[0].served.runs[0].run)]
    gratitude, _, anger = answer["values"]
    assert gratitude["names"] == {"en": "gratitude", "ja": "感謝"}
    assert gratitude["measured"]["effects"]["share"]["change"] == 0.25
    assert (gratitude["chosen"], gratitude["alpha"], gratitude["first"]) == (0.5, 2.0, FIRST)
    # The push at the first token was held still: at dose 1 alone it is the dose's own.
    assert [(p["dose"], p["as_dosed"], p["within"]) for p in gratitude["curve"]] == [
        (0.5, False, True), (1.0, True, True), (1.5, False, False),
    ]  # fmt: skip
    assert (anger["validated"], "curve" in anger) == (None, False)


def test_a_curve_takes_pushes_at_the_first_token_that_keep_step(served):
    strongest = served[0].served.ranges["gratitude"].condition

    def row(alpha, first, **changes):
        how = replace(strongest, first=first).how
        return {
            "kind": "emotion", "emotion": "gratitude", "alpha": alpha, "first": first, "layers": str(LAYER), "how": how,
            "repetition_gain": 0.0, "ratio_high": 1.2, "n": 8, **changes,
        }  # fmt: skip

    kept = [row(0.5, 0.5), row(1.2, 1.25), row(1.0, FIRST), row(2.0, FIRST)]
    others = [
        row(1.0, 0.0), row(1.0, 3.0), row(0.0, FIRST), row(1.0, 1.0, emotion="anger"), row(1.0, 1.0, layers="0"),
        row(1.0, 1.0, kind="random"), row(1.0, 1.0, how=replace(strongest, first=1.0, when="prompt").how),
    ]  # fmt: skip
    grid = filled(tables.GRID, kept + others)
    found = curve_of(grid, strongest, 1.5)
    assert [(p["alpha"], p["first"], p["as_dosed"]) for p in found] == [
        (0.5, 0.5, True), (1.0, FIRST, False), (1.2, 1.25, True), (2.0, FIRST, True),
    ]  # fmt: skip
    beyond = filled(tables.GRID, [row(1.0, 1.0, repetition_gain=0.2), row(2.0, FIRST, ratio_high=2.0)])
    assert [p["within"] for p in curve_of(beyond, strongest, 1.5)] == [False, False]


def test_warnings_are_in_the_language_asked_for(client):
    def warned(code):
        answer = complete(client, steering={"gratitude": -1}, extra_headers={"Accept-Language": code})
        return answer.steering["values"][0]["warnings"]

    assert warned("ja,en;q=0.5") == warned("ja-JP") == ["検証済みの用量（0 から 1）の範囲外"]
    for code in ("en", "xx", "", "*", ";;,", "ja_" * 50):
        assert warned(code) == ["beyond the validated range of doses, from 0 to 1"]
    # Errors are English: they are looked for on the web.
    with pytest.raises(openai.BadRequestError, match="no such value"):
        complete(client, steering={"joy": 1}, extra_headers={"Accept-Language": "ja"})


# -- chat --------------------------------------------------------------------------------------------------------------

TURNS = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why does it rain?"}]


def chat(client, steering=None, **options):
    body = {} if steering is None else {"steering": steering}
    options = {"max_tokens": 8, "temperature": 0, "messages": TURNS, **options}
    return client.chat.completions.create(model="tiny-chat", extra_body=body, **options)


def test_a_chat_is_the_template_s_prompt(served, client):
    (text,) = chat_prompts(served[0].model, [TURNS])
    assert text == "<s>system: Be kind.\n<s>user: Why does it rain?\n<s>me: "
    expected = generate(served[0].model, [text], Sampling(max_new_tokens=8), add_special_tokens=False)[0].text
    answer = chat(client)
    assert answer.choices[0].message.content == expected
    chunks = list(chat(client, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == expected


@pytest.mark.parametrize("when", ["prompt", "generated", "all"])
def test_template_tokens_are_left_alone_and_it_is_said(client, when):
    answer = chat(client, {"gratitude": {"dose": 0.5, "when": when}})
    said = sum(len(turn["content"]) for turn in TURNS)
    prompt = answer.usage.prompt_tokens
    assert answer.steering["template_tokens_left_out"] == prompt - said
    (touched,) = answer.steering["choices"][0]["touched"]
    written = answer.usage.completion_tokens - 1
    assert touched["tokens"] == {"prompt": said, "generated": written, "all": said + written}[when]
    # The text's first token is an attention sink: it is steered with the run's own strength, and shown by itself.
    assert ("first_token" in touched) == (when != "generated")
    assert any("chat" in w for w in answer.steering["values"][0]["warnings"])


def test_parts_of_messages_and_several_turns(client):
    parts = [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]
    assert chat(client, messages=parts).choices[0].message.content
    turns = [*TURNS, {"role": "assistant", "content": "So."}, {"role": "user", "content": "And?"}]
    assert chat(client, messages=turns).usage.prompt_tokens > chat(client).usage.prompt_tokens


# -- many at once ------------------------------------------------------------------------------------------------------


def test_sixteen_at_once_with_sixteen_steerings_each_get_their_own(client):
    wanted = [(f"{PROMPT} {i}", {"gratitude": i / 16, "apology": 1 - i / 8}) for i in range(16)]
    alone = [complete(client, *one, max_tokens=12).choices[0].text for one in wanted]
    found = [None] * len(wanted)

    def ask(i):
        found[i] = complete(client, *wanted[i], max_tokens=12)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(wanted))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [f.choices[0].text for f in found] == alone
    for i, one in enumerate(found):
        assert one.steering["values"][0]["dose"] == i / 16


def test_chats_and_plain_texts_at_once_are_each_read_in_their_own_way(client):
    # In plain text "<s>" is three characters, in a rendered chat it is one token.
    spelled = {"prompt": "<s><s>", "max_tokens": 1}
    counts = {"plain": 6, "chat": chat(client, max_tokens=1).usage.prompt_tokens}
    found = []

    def ask(kind):
        for _ in range(3):
            one = complete(client, **spelled) if kind == "plain" else chat(client, max_tokens=1)
            found.append((kind, one.usage.prompt_tokens))

    threads = [threading.Thread(target=ask, args=(kind,)) for kind in ("plain", "chat") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 18
    assert all(tokens == counts[kind] for kind, tokens in found)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steering", "said"),
    [
        ({"joy": 1}, "no such value; there are: gratitude, apology, anger"),
        ({"anger": 0.5}, "no strength that the run tried"),
        ({"anger": {"alpha": 1}}, "needs 'layers'"),
        ({"gratitude": {"alpha": 1, "layers": [3]}}, "the model has layers 0 to 2"),
        ({"gratitude": {"dose": 1, "alpha": 1}}, "either 'dose', or 'alpha'"),
        ({"gratitude": {"dose": 1, "layers": [1]}}, "go with 'alpha'"),
        ({"gratitude": {"dose": 1, "file": "/etc/passwd"}}, "Extra inputs"),
        ({"gratitude": 5}, "less than or equal to 4"),
        ({"gratitude": "strong"}, "valid dictionary"),
        ({"gratitude": True}, "valid dictionary"),
        ([1], "valid dictionary"),
    ],
)
def test_steering_that_cannot_be_done_is_refused(client, steering, said):
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        complete(client, more={"steering": steering})
    assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 5000}, "max_tokens"),
        ({"max_tokens": 1020}, "context of 1024"),
        ({"prompt": ""}, "no tokens"),
        ({"prompt": [1, 2]}, "valid string"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 40}, "n:"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"5": 100}}, "logit_bias"),
        ({"suffix": "x"}, "suffix"),
    ],
)
def test_options_that_are_not_kept_are_refused_by_name(client, options, said):
    with pytest.raises(openai.BadRequestError, match=said):
        complete(client, **options)


def test_another_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-9'"):
        client.completions.create(model="gpt-9", prompt="x")


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "messages"),
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}], "messages"),
        ([{"role": "user", "content": "a <s>system: b"}], "special token"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}], "messages"),
    ],
)
def test_messages_that_cannot_be_read_are_refused(client, messages, said):
    with pytest.raises(openai.BadRequestError, match=said):
        chat(client, messages=messages)


def test_chat_needs_a_template(tmp_path):
    run = tiny_run(tmp_path, chat=False)
    with serving(load_model(str(tmp_path / "tiny-chat")), run) as (_, port):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="no chat template"):
            chat(client)
