"""Steering of chat as a study: two sources of directions, the choice on validation requests, the report on test requests."""

import json
import shutil
from dataclasses import replace

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import load_model
from emotion_circuits.record.station import Context
from emotion_circuits.report.study_page import render_report
from emotion_circuits.serve.steering import Push, plan
from emotion_circuits.serve.vectors import Shelf, of_run
from emotion_circuits.stations.steering.exporting import portable_of
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.station import inputs
from emotion_circuits.stations.steering.steered import steered_run
from emotion_circuits.study import run_study
from serve_cases import save_chatting
from study_cases import SMALL, resummed, save_tiny, small

CHAT = {"steering.texts": "chat", "leave_out": ["trace", "circuits"]}
OWN = {key: value for key, value in SMALL.items() if key != "steering.compare_prompts"}


def chat_study(model, **changes):
    return small(model, **{"steering.compare_prompts": 0, **CHAT, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("chat")
    run_study(chat_study(save_chatting(root / "tiny")), root / "run")
    return root / "run"


def test_every_text_answers_a_request_through_the_template(run):
    folder = SteeringFolder.of(run)
    test, validation = folder.test.read(), folder.validation.read()
    assert test["asked"].str.endswith("me: ").all()
    assert set(test["split"]) == {"test"}
    assert set(validation["split"]) == {"validation"}
    asked = test[test["kind"] == "prompting"]
    assert len(asked)
    assert (asked["context"] != asked["asked"]).all()
    fitted = set(folder.replies.read()["prompt"])
    assert len(fitted) == 28
    assert not fitted & (set(test["prompt"]) | set(validation["prompt"]))


def test_both_sources_stand_side_by_side_and_one_is_taken(run):
    folder = SteeringFolder.of(run)
    sources, replies = folder.sources.read(), folder.replies.read()
    assert set(sources["source"]) == {"sentences", "replies"}
    assert len(sources) == 6
    assert sources.groupby("source")["taken"].first().sum() == 1
    came = replies[replies["counts"]].groupby("label").size()
    for row in sources[sources["source"] == "replies"].itertuples():
        assert (row.asked, row.came_out) == (3 * 28, came.get(row.emotion, 0))
    choice = folder.choice.read()
    assert choice.source == sources.loc[sources["taken"], "source"].iloc[0]
    # One without any direction cannot be taken, whatever unsteered texts come to.
    best = sources[sources["condition"].notna()].groupby("source")["p"].mean()
    assert best[choice.source] == best.max()


def test_the_page_tells_of_chat_in_both_languages(run):
    english = render_report(run).path.read_text(encoding="utf-8")
    assert "Openings are requests of a chat here" in english
    assert "What the model writes when it is asked" in english
    report = render_report(run, language="ja")
    assert not report.missing
    assert "チャット" in report.path.read_text(encoding="utf-8")


def test_a_vector_that_leaves_the_run_says_on_what_it_was_measured(run):
    value = next(iter(SteeringFolder.of(run).choice.read().chosen))
    assert portable_of(run, value).card.openings == "chat_requests-fresh"


def test_a_server_knows_that_its_figures_are_of_chat(run):
    served = of_run(run)
    assert served.chat
    value = next(iter(served.ranges))
    model = load_model(json.loads((run / "manifest.json").read_text())["config"]["model"])
    for chat, warns in ((True, False), (False, True)):
        made = plan(model, Shelf((served,)), {value: Push(dose=1.0)}, tokens=9, chat=chat)
        assert any("requests of a chat" in w for w in made.asked[0].warnings) == warns
        assert not any("not on chat" in w for w in made.asked[0].warnings)


def test_a_value_that_the_model_did_not_write_is_refused_with_the_reason(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    folder = SteeringFolder.of(tmp_path / "run")
    choice = folder.choice.read()
    value = next(iter(choice.chosen))
    left = {name: c for name, c in choice.chosen.items() if name != value}
    folder.choice.write(choice.model_copy(update={"chosen": left, "source": "replies", "unwritten": {value: 3}}))
    vectors = folder.vectors()
    folder.save_vectors(replace(vectors, unit={n: rows for n, rows in vectors.unit.items() if n != value}))
    resummed(folder.path)
    served = of_run(tmp_path / "run")
    assert value not in served.names
    model = load_model(json.loads((run / "manifest.json").read_text())["config"]["model"])
    with pytest.raises(
        EmotionCircuitsError, match=rf"steering\.{value}: asked for it in words, the model wrote only 3 replies"
    ):
        plan(model, Shelf((served,)), {value: Push(dose=1.0)}, tokens=9, chat=True)
    english = render_report(tmp_path / "run").path.read_text(encoding="utf-8")
    assert f"there is no direction of: {value} (3)" in english


def test_what_compares_openings_refuses_a_run_of_chat(run):
    with pytest.raises(EmotionCircuitsError, match="was steered in chat"):
        steered_run(run)


def test_a_model_without_a_template_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(EmotionCircuitsError, match="has no chat template"):
        run_study(chat_study(save_tiny(tmp_path / "tiny")), tmp_path / "run")
    assert not (tmp_path / "run" / "capture").exists()


def test_replies_alone_that_never_come_out_are_an_error_that_says_so(tmp_path):
    study = chat_study(save_chatting(tmp_path / "tiny"), **{"steering.sources": ["replies"]})
    with pytest.raises(EmotionCircuitsError, match=r"too few replies that the judge calls so \(gratitude \d+ of 84"):
        run_study(study, tmp_path / "run")


def test_an_attribute_without_requests_says_what_it_lacks(tmp_path):
    study = chat_study(save_chatting(tmp_path / "tiny"), attribute="humor", prompts=None)
    found = {r.name: (r.status, r.why) for r in run_study(study, tmp_path / "run").stages}
    assert found["steering"] == ("left out", "humor names no requests and instructions for chat")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"steering.texts": "openings", "steering.sources": ["replies"]}, "replies are written in chat"),
        ({"steering.sources": ["replies", "replies"]}, "name each once"),
        ({"steering.compare_prompts": 4}, "leave them out in chat"),
        ({"steering.test_openings": "held"}, "chat is reported on requests"),
    ],
)
def test_settings_that_say_nothing_together_are_refused(tmp_path, changes, told):
    with pytest.raises(EmotionCircuitsError, match=told):
        chat_study(save_chatting(tmp_path / "tiny"), **changes)


def test_settings_of_chat_make_no_study_of_openings_new(tmp_path):
    """The key of a study's texts is what it was before chat could be steered."""
    found = inputs(Context(config=small(save_tiny(tmp_path / "tiny")), folder=tmp_path))
    assert not {"texts", "sources", "reply_samples"} & set(found["steering"])
    assert "chat" not in found


@pytest.mark.slow
def test_a_real_model_is_steered_by_what_it_writes_itself(tmp_path):
    changes = {
        "steering.sources": ["replies"], "steering.layers": [0.5], "steering.alphas": [0.15], "steering.sink": [0.0],
        "steering.max_new_tokens": 24, "steering.validation_prompts": 8, "steering.test_prompts": 8, "steering.null_prompts": 8,
    }  # fmt: skip
    run_study(chat_study("smollm2-135m", **changes), tmp_path / "run")
    folder = SteeringFolder.of(tmp_path / "run")
    replies, rows, choice = folder.replies.read(), folder.reply_rows(), folder.choice.read()
    assert choice.source == "replies"
    assert "gratitude" in choice.chosen
    assert len(rows.labels) == int((replies["counts"] & replies["label"].isin(set(rows.labels))).sum())
    assert set(choice.unwritten) == {v for v in ("gratitude", "anger", "apology") if v not in rows.labels}
    # What it wrote when it was asked, and what it writes when it is pushed along the difference, is called so more often.
    arms = folder.arms.read().set_index("condition")
    assert arms.loc[choice.chosen["gratitude"]["name"], "change"] > 0
