"""Steering by exact means: gates, vectors that the request brings, and EasySteer's JSON."""

import json
import urllib.error
import urllib.request

import pytest
import torch

from emotion_circuits.exchange.easysteer import write_easysteer
from emotion_circuits.exchange.portable import PortableVector
from emotion_circuits.model import Add, Gate, Positions, Sampling, Site, generate, load_model, observe
from emotion_circuits.model.vllm.edits import edits_of
from emotion_circuits.serve.bodies import CompletionBody
from emotion_circuits.serve.spoken_easysteer import pushes_of
from emotion_circuits.serve.steering import plan
from emotion_circuits.serve.vectors import shelved
from emotion_circuits.steering import Condition
from emotion_circuits.steering.injecting import layer_interventions
from serve_cases import FIRST, LAYER, NORMS, serving, tiny_run

PROMPT = "It rains again"
WIDTH = 32


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("exact"))


@pytest.fixture(scope="module")
def served(run):
    with serving(load_model(str(run.parent / "tiny-chat")), run) as found:
        yield found


def posted(served, body, path="completions"):
    url = f"http://127.0.0.1:{served[1]}/v1/{path}"
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def complete(served, steering, **more):
    status, answer = posted(
        served, {"prompt": PROMPT, "temperature": 0, "max_tokens": 10, "steering": steering, **more}
    )
    assert status == 200, answer
    return answer


def refused(served, steering, **more):
    status, answer = posted(served, {"prompt": PROMPT, "max_tokens": 4, "steering": steering, **more})
    assert status == 400, answer
    return answer["error"]["message"]


def written(served, edits, tokens=10):
    return generate(served[0].model, [PROMPT], Sampling(max_new_tokens=tokens), interventions=edits)[0].text


def unit(seed):
    return torch.nn.functional.normalize(torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed)), dim=0)


def projections(served, text, value, layer):
    """Of every token that is read, in residual norms."""
    model, vectors = served[0].encoder, served[0].served.of(value).vectors
    with observe(model, [Site("resid_post", layer)]) as record, torch.inference_mode():
        model.hidden(model.tokenize([text]))
    states = record[Site("resid_post", layer)][0]
    return (states @ vectors.direction(value, layer) / vectors.norms[layer]).tolist()


# -- gates ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("push", [{"alpha": 1.5, "layers": [LAYER]}, {"dose": 0.75}])
def test_a_gated_push_acts_where_the_gate_is_open_and_says_on_how_many_tokens(served, side, push):
    threshold = sorted(projections(served, PROMPT, "anger", LAYER))[len(PROMPT) // 2] + 1e-4
    answer = complete(served, {"gratitude": {**push, "gate": {"value": "anger", side: threshold}}})
    vectors = served[0].served.of("gratitude").vectors
    gate = Gate(direction=vectors.direction("anger", LAYER), threshold=threshold * NORMS[LAYER], side=side)
    adds = [(1.5, Positions("rest"))] + ([(0.75 * FIRST, Positions.at(0))] if "dose" in push else [])
    edits = [
        Add(site=Site("resid_post", LAYER), vector=vectors.direction("gratitude", LAYER), alpha=alpha * NORMS[LAYER],
            positions=where, gate=gate)
        for alpha, where in adds
    ]  # fmt: skip
    text = answer["choices"][0]["text"]
    assert text == written(served, edits)
    # What is pushed behind a block is not seen at it again, so an unsteered reading of the text knows where the gate was open.
    read = projections(served, PROMPT + text, "anger", LAYER)[: len(PROMPT) + answer["usage"]["completion_tokens"] - 1]
    open_ = [p > threshold if side == "above" else p < threshold for p in read]
    (touched,) = answer["steering"]["choices"][0]["touched"]
    assert 0 < sum(open_[1:]) < len(open_) - 1
    assert touched["tokens"] == sum(open_[1:])
    assert touched["opened"] == sum(open_[1:]) + (open_[0] and "dose" in push)
    (told,) = answer["steering"]["values"]
    assert told["gate"] == {"value": "anger", side: pytest.approx(threshold)}
    assert "the run measured without a gate" in told["warnings"]


def test_a_gate_that_never_opens_is_an_answer_that_says_so(served):
    for stream in (False, True):
        never = {"gratitude": {"alpha": 2, "layers": [LAYER], "gate": {"value": "anger", "above": 900}}}
        body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 6, "steering": never, "stream": stream}
        if not stream:
            answer = posted(served, body)[1]
            assert answer["choices"][0]["text"] == written(served, [], 6)
            told = answer["steering"]
        else:
            url = f"http://127.0.0.1:{served[1]}/v1/completions"
            asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(asked, timeout=60) as found:
                lines = [line for line in found.read().decode().split("\n\n") if line]
            told = json.loads(lines[-2].removeprefix("data: "))["steering"]
        (touched,) = told["choices"][0]["touched"]
        assert (touched["opened"], touched["tokens"], touched["projection_after"]) == (0, 0, None)


def test_a_gate_does_not_excuse_a_push_beside_it_that_did_not_act(served):
    never = {"alpha": 2, "layers": [LAYER], "gate": {"value": "anger", "above": 900}}
    status, answer = posted(
        served,
        {
            "prompt": PROMPT, "max_tokens": 1,
            "steering": {"gratitude": never, "apology": {"alpha": 1, "layers": [0], "when": "generated"}},
        },
    )  # fmt: skip
    assert (status, answer["error"]["code"]) == (500, "steering_failed")


def test_tokens_are_not_counted_where_another_value_is_pushed_at_the_layer(served):
    gated = {"alpha": 1, "layers": [0, LAYER], "gate": {"value": "anger", "above": 0}}
    answer = complete(served, {"gratitude": gated, "apology": {"alpha": 1, "layers": [LAYER]}})
    opened = [t.get("opened", "none") for t in answer["steering"]["choices"][0]["touched"]]
    assert type(opened[0]) is int
    assert opened[1:] == [None, "none"]
    assert any("not counted" in w for w in answer["steering"]["values"][0]["warnings"])


def test_a_gate_in_a_chat_leaves_the_template_alone(served):
    always = {"gratitude": {"alpha": 1, "layers": [LAYER], "gate": {"value": "anger", "above": -900}}}
    body = {"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 5, "temperature": 0}
    counts = []
    for steering in (always, {"gratitude": {"alpha": 1, "layers": [LAYER]}}):
        _, answer = posted(served, {**body, "steering": steering}, "chat/completions")
        counts.append(answer["steering"]["choices"][0]["touched"][0]["tokens"])
    assert counts[0] == counts[1] > 4


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"value": "grief", "above": 1}, "steering.gratitude.gate: there is no such value as 'grief'"),
        ({"value": "anger"}, "either 'above' or 'below'"),
        ({"value": "anger", "above": 1, "below": 1}, "either 'above' or 'below'"),
        ({"value": "anger", "above": 2000}, "less than or equal to 1000"),
        ({"value": "anger", "above": 1, "file": "x"}, "Extra inputs"),
        ("anger", "valid dictionary"),
    ],
)
def test_gates_that_cannot_be_kept_are_refused(served, gate, said):
    assert said in refused(served, {"gratitude": {"dose": 0.5, "gate": gate}})


def test_vllm_is_asked_for_the_same_gate(served, run):
    """The plugin knows gates by the name of their direction; that it keeps them is tested where there is a vLLM."""
    body = CompletionBody(prompt="x", steering={"gratitude": {"dose": 0.5, "gate": {"value": "anger", "below": 0.25}}})
    made = plan(served[0].model, shelved([run]), body.steering, tokens=5)
    edits = edits_of(made.interventions, 5)
    assert {(e["threshold"], e["side"]) for e in edits} == {(0.25 * NORMS[LAYER], "below")}
    assert len({e["gate"] for e in edits}) == 1
    assert {e["gate"] for e in edits}.isdisjoint(e["vector"] for e in edits)


# -- vectors of the request ----------------------------------------------------------------------------------------------


def test_unit_vectors_of_the_request_are_pushed_and_named(served):
    rows = {0: unit(1), 2: unit(2)}
    brought = {str(layer): row.tolist() for layer, row in rows.items()}
    answer = complete(served, {"mine": {"alpha": 0.8, "vectors": brought, "positions": "all"}})
    edits = [
        Add(site=Site("resid_post", layer), vector=row, alpha=0.8 * NORMS[layer]) for layer, row in rows.items()
    ]  # fmt: skip
    assert answer["choices"][0]["text"] == written(served, edits)
    (told,) = answer["steering"]["values"]
    assert (told["value"], told["vectors"], told["layers"], told["measured"]) == ("mine", "the request's", [0, 2], None)
    assert told["warnings"] == ["a vector of the request: no run measured what it does"]
    for touched in answer["steering"]["choices"][0]["touched"]:
        assert touched["projection_after"] - touched["projection_before"] == pytest.approx(0.8, rel=1e-3)
    # It is no value of the server afterwards.
    assert "no such value" in refused(served, {"mine": {"alpha": 1, "layers": [0]}})


def test_a_vector_of_the_request_stands_beside_values_and_can_open_a_gate(served):
    row = unit(3)
    brought = {"alpha": 0.0, "vectors": {str(LAYER): row.tolist()}}
    answer = complete(
        served, {"mine": brought, "gratitude": {"alpha": 2, "layers": [LAYER], "gate": {"value": "mine", "above": 0}}}
    )
    vectors = served[0].served.of("gratitude").vectors
    edit = Add(
        site=Site("resid_post", LAYER), vector=vectors.direction("gratitude", LAYER), alpha=2 * NORMS[LAYER],
        positions=Positions("rest"), gate=Gate(direction=row, threshold=0.0),
    )  # fmt: skip
    assert answer["choices"][0]["text"] == written(served, [edit])
    gated = {"alpha": 1, "layers": [0], "gate": {"value": "mine", "above": 0}}
    assert "no vector of 'mine' at layer 0" in refused(served, {"mine": brought, "gratitude": gated})


@pytest.mark.parametrize(
    ("push", "said"),
    [
        ({"vectors": {"1": unit(1).tolist()[:-1]}}, "steering.mine.vectors.1: 31 numbers; the model's residual stream has 32"),
        ({"vectors": {"1": (2 * unit(1)).tolist()}}, "vectors"),
        ({"vectors": {"1": (0.9 * unit(1)).tolist()}}, "has length 0.9; a unit vector is needed"),
        ({"vectors": {"1": [0.0] * WIDTH}}, "has length 0"),
        ({"vectors": {"3": unit(1).tolist()}}, "the model has layers 0 to 2"),
        ({"vectors": {"-1": unit(1).tolist()}}, "pattern"),
        ({"vectors": {"01": unit(1).tolist()}}, "pattern"),
        ({"vectors": {"1": ["0.5"] * WIDTH}}, "valid number"),
        ({"vectors": {"1": [True] * WIDTH}}, "valid number"),
        ({"vectors": {"1": "vector.gguf"}}, "valid tuple"),
        ({"vectors": "/etc/passwd"}, "valid dictionary"),
        ({"vectors": {}}, "at least 1 item"),
        ({"vectors": {"1": unit(1).tolist()}, "layers": [1]}, "name their layers"),
        ({"vectors": {"1": unit(1).tolist()}, "alpha": None, "dose": 1}, "a dose is of a value of a run"),
    ],
)  # fmt: skip
def test_vectors_that_are_none_are_refused(served, push, said):
    assert said in refused(served, {"mine": {"alpha": 1, **push}})


def test_a_value_s_name_is_taken_and_a_request_brings_no_more_than_so_many_numbers(served):
    one = {"alpha": 1, "vectors": {"1": unit(1).tolist()}}
    assert "is a value of a run" in refused(served, {"anger": one})
    many = {str(layer): [0.01] * 10_000 for layer in range(7)}
    with pytest.raises(ValueError, match="70,000 numbers in 'vectors'; a request brings 65,536 at most"):
        CompletionBody(prompt="x", steering={"mine": {"alpha": 1, "vectors": many}})
    status, answer = posted(
        served, {"prompt": "x", "steering": {"mine": {"alpha": 1, "vectors": {"1": [0.01] * 90_000}}}}
    )
    assert (status, answer["error"]["code"]) == (400, "too_long")


def test_not_a_number_never_comes_in(served):
    body = b'{"prompt": "x", "steering": {"mine": {"alpha": 1, "vectors": {"1": [NaN, 0.1]}}}}'
    url = f"http://127.0.0.1:{served[1]}/v1/completions"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=60)
    with pytest.raises(ValueError, match="finite number"):
        CompletionBody(prompt="x", steering={"mine": {"alpha": 1, "vectors": {"1": [float("nan")]}}})


# -- EasySteer's JSON ----------------------------------------------------------------------------------------------------

EVERY = {"prompt": "all", "generation": "all"}
REST = {**EVERY, "exclude_prompt_positions": [0]}
FIRST_ALONE = {"prompt_positions": [0]}


def test_what_export_writes_for_easysteer_means_the_same_here(served, tmp_path):
    """The configuration that is written for EasySteer, its files' names replaced by a value's."""
    vectors = served[0].served.of("gratitude").vectors
    row = vectors.direction("gratitude", LAYER) * float(vectors.norms[LAYER])
    write_easysteer(tmp_path, PortableVector({LAYER: row}, {LAYER: row}, spares_first=True), "llama")
    spec = json.loads((tmp_path / "steering.json").read_text())
    message = refused(served, spec)
    assert "'rest.gguf' is a file; vectors have names and live on the server" in message
    for one, scale in zip(spec["vectors"], (1.5, FIRST), strict=True):
        one |= {"source": "gratitude", "scale": scale}
    answer = complete(served, spec)
    c = Condition(name="x", emotion="gratitude", layers=(LAYER,), alpha=1.5, positions="rest", first=FIRST)
    assert answer["choices"][0]["text"] == written(served, layer_interventions(c, vectors))
    (told,) = answer["steering"]["values"]
    assert (told["alpha"], told["first"], told["layers"]) == (1.5, FIRST, [LAYER])


@pytest.mark.parametrize(
    ("apply", "push"),
    [
        (EVERY, {"positions": "all"}),
        (REST, {"positions": "rest"}),
        ({"prompt": "all", "generation": None}, {"positions": "all", "when": "prompt"}),
        ({"generation": "all"}, {"positions": "all", "when": "generated"}),
        ({"prompt": "all", "exclude_prompt_positions": [0]}, {"positions": "rest", "when": "prompt"}),
    ],
)
def test_easysteer_s_places_are_said_in_the_server_s_words(served, apply, push):
    spec = {"vectors": [{"source": "anger", "scale": 0.5, "layers": [0, 2], "apply": apply}]}
    own = {"anger": {"alpha": 0.5, "layers": [0, 2], **push}}
    assert pushes_of(spec) == own
    assert complete(served, spec)["steering"] == complete(served, own)["steering"]


def vector(**changes):
    return {"source": "anger", "scale": 1.0, "layers": [1], "apply": EVERY, **changes}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"vectors": [vector(source="/tmp/x/anger.gguf")]}, "live on the server"),
        ({"vectors": [vector(source="anger.pt")]}, "live on the server"),
        ({"vectors": [vector(source="..\\anger")]}, "live on the server"),
        ({"vectors": [vector(source="grief")]}, "no such value"),
        ({"vectors": [vector(algorithm="loreft")]}, "direct"),
        ({"vectors": [vector(normalize=True)]}, "normalize"),
        ({"vectors": [vector(params={"a": 1})]}, "params"),
        ({"vectors": [vector(scale=9.0)]}, "less than or equal to 4"),
        ({"vectors": [vector(apply={"prompt": "all", "prompt_tokens": [5]})]}, "known here are"),
        ({"vectors": [vector(), vector(source="gratitude")]}, "say 'sequential'"),
        ({"vectors": [vector(), vector()], "conflict": "sequential"}, "say it in one"),
        ({"vectors": [vector(apply=FIRST_ALONE), vector()], "conflict": "sequential"}, "say it in one"),
        ({"vectors": [vector(apply=REST), vector(apply=FIRST_ALONE, layers=[2])]}, "say it in one"),
        ({"vectors": [vector()], "debug": True}, "debug"),
        ({"vectors": []}, "at least 1 item"),
        ({"vectors": [vector()], "steer_vector_local_path": "x"}, "Extra inputs"),
    ],
)
def test_easysteer_s_json_that_means_something_else_is_refused(served, spec, said):
    assert said in refused(served, spec)


def test_easysteer_s_two_vectors_of_a_value_come_in_either_order():
    made = {"alpha": 1.0, "first": 3.0, "layers": [1], "positions": "rest"}
    rest, first = vector(apply=REST), vector(apply=FIRST_ALONE, scale=3.0)
    assert pushes_of({"vectors": [rest, first]}) == pushes_of({"vectors": [first, rest]}) == {"anger": made}
