"""Values of several runs of one model, served and set together."""

import json
import urllib.error
import urllib.request

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Sampling, generate, load_model
from emotion_circuits.serve.vectors import shelved
from emotion_circuits.steering.injecting import layer_interventions
from serve_cases import LAYER, NORMS, Signs, serving, tiny_run

OTHERS = ("joy", "calm", "fear")
PROMPT = "It rains"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("several")
    other = {"name": "feelings", "attribute": "feelings-24", "values": OTHERS, "norms": tuple(4 * n for n in NORMS)}
    return [tiny_run(root), tiny_run(root, **other)]


@pytest.fixture(scope="module")
def served(runs):
    with serving(load_model(str(runs[0].parent / "tiny-chat")), list(runs), judge=Signs()) as found:
        yield found


def posted(served, path, body):
    url = f"http://127.0.0.1:{served[1]}/v1/{path}"
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_each_value_is_pushed_by_the_vectors_and_norms_of_its_own_run(served, runs):
    status, answer = posted(
        served,
        "completions",
        {"prompt": PROMPT, "temperature": 0, "max_tokens": 12, "steering": {"gratitude": 0.5, "joy": -0.4}},
    )
    assert status == 200
    done = [
        i
        for run, value, dose in zip(shelved(runs).runs, ("gratitude", "joy"), (0.5, -0.4), strict=True)
        for i in layer_interventions(run.ranges[value].at(dose), run.vectors)
    ]
    model = served[0].model
    (expected,) = generate(model, [PROMPT], Sampling(max_new_tokens=12), interventions=done)
    assert answer["choices"][0]["text"] == expected.text
    moved = {t["value"]: t for t in answer["steering"]["choices"][0]["touched"]}
    assert set(moved) == {"gratitude", "joy"}
    # In norms of its own run, whatever those are: a push by alpha moves the projection by alpha (the other adds what it has).
    alphas = {v["value"]: v["alpha"] for v in answer["steering"]["values"]}
    pushed = moved["joy"]["projection_after"] - moved["joy"]["projection_before"]
    assert pushed == pytest.approx(alphas["joy"], abs=0.3 * abs(alphas["gratitude"]))
    assert moved["joy"]["layer"] == LAYER
    for value in answer["steering"]["values"]:
        assert "effect and cost were measured of each value alone, not of several at once" in value["warnings"]


def test_what_is_offered_names_the_run_of_each_value(served, runs):
    with urllib.request.urlopen(f"http://127.0.0.1:{served[1]}/v1/steering", timeout=60) as found:
        offer = json.load(found)
    assert offer["runs"] == [str(run) for run in runs]
    assert [(v["value"], v["run"]) for v in offer["values"]] == [
        *((v, str(runs[0])) for v in ("gratitude", "apology", "anger")),
        *((v, str(runs[1])) for v in OTHERS),
    ]
    assert offer["values"][3]["names"]["ja"] == "喜び"


def test_texts_are_read_for_the_values_of_every_run(served):
    _, answer = posted(served, "readings", {"input": ["Thank you", "It rains"]})
    readers = served[0].readers
    for row, text in zip(answer["data"], ["Thank you", "It rains"], strict=True):
        assert set(row["scores"]) == {"gratitude", "apology", "anger", *OTHERS}
        assert row["labels"] == [reader.read([text])["label"][0] for reader in readers]
        assert row["label"] == row["labels"][0]
    _, written = posted(served, "completions", {"prompt": PROMPT, "max_tokens": 3, "temperature": 0, "readings": True})
    assert set(written["choices"][0]["readings"][0]["scores"]) == set(answer["data"][0]["scores"])


def test_a_tone_is_of_one_run(served):
    body = {"prompt": PROMPT, "similarity": 0, "fluency": 50, "tries": 2, "n": 1, "max_tokens": 4}
    status, answer = posted(served, "tone", {**body, "targets": {"gratitude": 0.5, "joy": 0.5}})
    assert status == 400
    assert "of several runs" in answer["error"]["message"]
    assert posted(served, "tone", {**body, "targets": {"gratitude": 0.5}})[0] == 200


def test_a_value_of_two_runs_and_runs_of_two_models_are_refused(runs, tmp_path):
    with pytest.raises(EmotionCircuitsError, match="anger, apology, gratitude cannot be told from"):
        shelved([runs[0], runs[0]])
    other = tiny_run(tmp_path, attribute="feelings-24", values=OTHERS)
    with pytest.raises(EmotionCircuitsError, match="serve them apart"):
        CliRunner().invoke(app, ["serve", "--run", str(runs[0]), "--run", str(other)], catch_exceptions=False)
