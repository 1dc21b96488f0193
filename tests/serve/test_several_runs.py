"""Values of several runs of one model, served and set together."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emotion_circuits.cli.app import app
from emotion_circuits.cli.serve import _titled
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import Sampling, generate, load_model
from emotion_circuits.serve.tone_desk import _words_of
from emotion_circuits.serve.vectors import shelved
from emotion_circuits.steering import Condition
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
        assert row["labels"] == [one.reader.read([text])["label"][0] for one in readers]
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
    with pytest.raises(EmotionCircuitsError, match=r"anger, apology, gratitude cannot be told from .* --run NAME="):
        shelved([runs[0], runs[0]])
    with pytest.raises(EmotionCircuitsError, match="another run is named 'a'"):
        shelved([runs[0], runs[0]], ["a", "a"])
    assert shelved([runs[0], runs[0]], ["", "a"]).names[2:4] == ("anger", "a.gratitude")
    other = tiny_run(tmp_path, attribute="feelings-24", values=OTHERS)
    with pytest.raises(EmotionCircuitsError, match="serve them apart"):
        CliRunner().invoke(app, ["serve", "--run", str(runs[0]), "--run", str(other)], catch_exceptions=False)


# -- runs that have names ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Two runs that call their values alike, and mean others."""
    root = tmp_path_factory.mktemp("named")
    runs = [tiny_run(root), tiny_run(root, name="second", norms=tuple(3 * n for n in NORMS))]
    model = load_model(str(root / "tiny-chat"))
    with serving(model, runs, titles=["", "second"], judge=Signs()) as found:
        yield *found, runs


def test_values_that_two_runs_share_are_each_pushed_by_their_own(named):
    service, port, runs = named
    steering = {"gratitude": 0.2, "second.gratitude": 0.5, "second.anger": {"alpha": 0.4, "layers": [2]}}
    body = {"prompt": PROMPT, "temperature": 0, "max_tokens": 10, "steering": steering}
    status, answer = posted((service, port), "completions", body)
    assert status == 200, answer
    first, second = (shelved([run]).runs[0] for run in runs)
    done = [
        *layer_interventions(first.ranges["gratitude"].at(0.2), first.vectors),
        *layer_interventions(second.ranges["gratitude"].at(0.5), second.vectors),
        *layer_interventions(
            Condition(name="x", emotion="anger", layers=(2,), alpha=0.4, positions="rest"), second.vectors
        ),
    ]
    (expected,) = generate(service.model, [PROMPT], Sampling(max_new_tokens=10), interventions=done)
    assert answer["choices"][0]["text"] == expected.text
    assert [v["value"] for v in answer["steering"]["values"]] == list(steering)
    assert [t["value"] for t in answer["steering"]["choices"][0]["touched"]] == list(steering)
    status, refused = posted((service, port), "completions", {**body, "steering": {"third.gratitude": 1}})
    assert status == 400
    assert "there are: gratitude, apology, anger, second.gratitude" in refused["error"]["message"]


def test_a_named_run_s_values_are_called_so_wherever_they_are_shown(named):
    service, port, _ = named
    names = ["gratitude", "apology", "anger", "second.gratitude", "second.apology", "second.anger"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/steering", timeout=60) as found:
        offer = json.load(found)
    assert [v["value"] for v in offer["values"]] == names
    assert [v["own"] for v in offer["values"]] == [*names[:3], *names[:3]]
    assert offer["values"][3]["names"] == {"en": "second · gratitude", "ja": "second · 感謝"}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=60) as found:
        assert set(json.load(found)["data"][0]["steering"]) == set(names)
    _, read = posted((service, port), "readings", {"input": ["Thank you"]})
    assert set(read["data"][0]["scores"]) == set(names)
    assert read["data"][0]["labels"][1] in {"neutral", *names[3:]}
    _, written = posted((service, port), "completions", {"prompt": PROMPT, "max_tokens": 2, "readings": True})
    assert set(written["choices"][0]["readings"][0]["scores"]) == set(names)


@pytest.mark.parametrize("wanted", [{"targets": {"second.gratitude": 0.2}}, {"goal": "second.gratitude >= 0.2"}])
def test_a_tone_of_a_named_run_speaks_of_its_values_by_that_name(named, wanted):
    service, port, _ = named
    body = {"prompt": PROMPT, "similarity": 0, "fluency": 50, "tries": 2, "n": 1, "max_tokens": 6, **wanted}
    status, answer = posted((service, port), "tone", body)
    assert status == 200, answer
    assert [w["value"] for w in answer["goal"]["wishes"]] == ["second.gratitude"]
    assert "second.gratitude" in answer["scores"]["probabilities"]
    assert set(answer["doses"]) <= {"second.gratitude"}
    assert "gratitude" not in answer["scores"]["probabilities"]


def test_a_word_that_named_runs_share_names_no_value(named):
    *_, runs = named
    words = _words_of(shelved(runs, ["a", "b"]))
    assert (words["a.gratitude"], words["b.gratitude"]) == ("a.gratitude", "b.gratitude")
    assert not words.keys() & {"gratitude", "grateful", "感謝"}
    words = _words_of(shelved(runs, ["", "b"]))  # the one without a name is meant
    assert (words["grateful"], words["感謝"], words["b.gratitude"]) == ("gratitude", "gratitude", "b.gratitude")
    assert _words_of(shelved(runs[:1], ["a"]))["grateful"] == "a.gratitude"


def test_a_run_is_named_on_the_command_line(tmp_path):
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert _titled(odd) == ("", odd)  # a folder that is there is none of a name
    assert _titled(Path("politeness=runs/p")) == ("politeness", Path("runs/p"))
    assert _titled(Path("runs/p")) == ("", Path("runs/p"))
    for wrong in ("a.b=runs/p", "=runs/p", "a=", "a b=runs/p"):
        with pytest.raises(EmotionCircuitsError, match="NAME=FOLDER"):
            _titled(Path(wrong))
