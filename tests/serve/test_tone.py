"""The agent on a tiny model whose steering shows in its letters, in this process and behind the server."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from emotion_circuits.errors import EmotionCircuitsError, WritingError
from emotion_circuits.evaluation import Fluency, SentenceEmbedder
from emotion_circuits.model import Sampling, generate, load_model
from emotion_circuits.model.chat import chat_turns
from emotion_circuits.model.generation import row_seed
from emotion_circuits.prompts import load_attribute
from emotion_circuits.serve.engine import Limits
from emotion_circuits.serve.tone_evaluating import AGENT, evaluate_tone
from emotion_circuits.serve.toning import Options, Toner, stepping
from emotion_circuits.serve.vectors import of_run
from emotion_circuits.steering.injecting import layer_interventions
from emotion_circuits.tone.goals import Goal, Wish
from emotion_circuits.tone.reading import another_judge, impartial_judge
from serve_cases import Signs, serving, tiny_run

ASK = [{"role": "user", "content": "Why?"}]
GREEDY = Sampling(max_new_tokens=12, temperature=0)
DRAWN = Sampling(max_new_tokens=12, temperature=0.9)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("tone"))


@pytest.fixture(scope="module")
def toner(run):
    model = load_model(str(run.parent / "tiny-chat"))
    return Toner(model, of_run(run), model, judge=Signs())


def want(target=0.6, *, more=True, value="gratitude", of="probability", fluency=50.0, similarity=0.0):
    return Goal((Wish(value, more, target, of),), fluency, similarity)


def answered(toner, goal, sampling=GREEDY, **options):
    made = toner.prepare(ASK, Options(goal, sampling=sampling, **options))
    return toner.answer(made, stepping(toner.model))


def test_the_dose_is_found_and_the_text_is_what_the_model_writes_at_it(toner):
    found = answered(toner, want(0.6), tries=8)
    told = found.to_json()
    assert told["reached"]
    assert told["stopped"] == "reached"
    assert (
        told["scores"]["probabilities"]["gratitude"] >= 0.6 > told["tries"][0]["texts"][0]["probabilities"]["gratitude"]
    )
    assert all(0 <= t["dose"] <= 1 for t in told["tries"])
    assert [t["unsteered"] for t in told["tries"]] == [True] + [False] * (len(told["tries"]) - 1)
    assert told["beyond_validated"] is False
    (value,) = told["steering"]["values"]
    assert (value["value"], value["dose"]) == ("gratitude", told["doses"]["gratitude"])
    (touched,) = told["steering"]["choices"][0]["touched"]
    assert touched["projection_after"] > touched["projection_before"]
    json.dumps(told, allow_nan=False)


def test_a_bound_on_fluency_is_kept_and_bisected_towards(toner):
    loose = answered(toner, want(0.99), tries=10)
    dear = loose.outcome.tries[-1].scores[0].ratio
    found = answered(toner, want(0.99, fluency=0.9 * dear), tries=10)
    assert (found.outcome.reached, found.outcome.stopped) == (False, "bound")
    assert found.outcome.score.ratio <= 0.9 * dear
    doses = [t.ask.dose for t in found.outcome.tries]
    (first,) = found.request.plans
    assert doses[1] == first.dose < 1.0, "the run's curve says that more would not be fluent"
    assert doses[2] == 1.0
    assert doses[3] == pytest.approx((first.dose + 1) / 2), "halfway between too weak and too strong"
    assert found.outcome.score.values["gratitude"] == max(
        t.scores[0].values["gratitude"] for t in found.outcome.tries if t.scores[0].ratio <= 0.9 * dear
    )


def test_perplexity_is_that_of_a_reply_to_the_request_as_it_was_made(toner):
    found = answered(toner, want(0.99), prompting=True, tries=3)
    (prompt,) = chat_turns(toner.model, ["Why?"])
    fluency = Fluency(toner.model)
    _, (base,) = found.rows(0)
    for number, tried in enumerate(found.outcome.tries):
        _, (row,) = found.rows(number)
        table = fluency.score([prompt] * 2, [row.text, base.text], ids=[row.ids, base.ids], add_special_tokens=False)
        own, unsteered = table["perplexity"]
        assert tried.scores[0].ratio == pytest.approx(own / unsteered, rel=1e-4)
    assert [t["prompted"] for t in found.to_json()["tries"]] == [False, True, True]
    assert found.request.worded.text != found.request.plain.text
    assert "gratitude" in found.request.worded.text


def test_draws_are_those_of_the_seed_and_the_same_at_every_dose(toner):
    a, b, c = (answered(toner, want(0.9), DRAWN, tries=4, n=2, seed=seed).to_json() for seed in (1, 1, 2))
    assert a == b
    assert a["tries"] != c["tries"]
    made = toner.prepare("It rains", Options(want(0.9), sampling=DRAWN, tries=3, n=2, seed=1))
    found = toner.answer(made, stepping(toner.model))
    for number, tried in enumerate(found.outcome.tries):
        doses, ranges, vectors = found.doses(number), toner.served.ranges, toner.served.vectors
        edits = [i for value, dose in doses.items() for i in layer_interventions(ranges[value].at(dose), vectors)]
        seeds = [row_seed(1, tried.ask.draw, sample) for sample in range(2)]
        texts = generate(toner.model, ["It rains"] * 2, DRAWN, interventions=edits, seeds=seeds)
        assert [row.text for row in found.rows(number)[1]] == [text.text for text in texts]


def test_nothing_is_tried_beyond_the_validated_range_unless_told(toner):
    within = answered(toner, want(1.0), tries=9)
    assert max(t.ask.dose for t in within.outcome.tries) == 1.0
    assert not within.outcome.reached
    told = answered(toner, want(1.0), tries=9, beyond=3.0)
    assert 1.0 < max(t.ask.dose for t in told.outcome.tries) <= 3.0
    assert told.beyond == (told.doses(told.outcome.best).get("gratitude", 0) > 1)
    warnings = [
        w for n in range(1, len(told.outcome.tries)) for w in told.rows(n)[0].report([])["values"][0]["warnings"]
    ]
    assert any("beyond the validated range" in w for w in warnings)


def test_less_of_a_value_is_chosen_among_texts_and_pushed_only_when_told(toner):
    goal = want(0.0, more=False, value="apology")
    found = answered(toner, goal, DRAWN, tries=4, n=2)
    assert {t.ask.dose for t in found.outcome.tries} == {0.0}
    assert [t.ask.draw for t in found.outcome.tries] == list(range(len(found.outcome.tries)))
    away = answered(toner, goal, GREEDY, tries=3, beyond=2.0)
    assert away.doses(1)["apology"] < 0
    assert away.beyond or away.outcome.best == 0


def test_two_values_together_are_pushed_no_further_than_one_alone(toner):
    goal = Goal((Wish("gratitude", True, 0.9), Wish("apology", True, 0.9)), 50.0, 0.0)
    found = answered(toner, goal, tries=4)
    assert max(t.ask.dose for t in found.outcome.tries) == 1.0
    for number in range(1, len(found.outcome.tries)):
        assert sum(found.doses(number).values()) == pytest.approx(found.outcome.tries[number].ask.dose)


def test_what_was_not_validated_is_refused_with_the_reason(toner):
    with pytest.raises(EmotionCircuitsError, match=r"anger: no strength that the run tried .* validated"):
        answered(toner, want(value="anger"))
    with pytest.raises(EmotionCircuitsError, match="joy: there is no such value; there are: gratitude, apology, anger"):
        answered(toner, want(value="joy"))


def test_similarity_is_to_the_nearest_unsteered_reply(toner):
    found = answered(toner, want(0.9, similarity=0.01), DRAWN, tries=2, n=2)
    embedder = SentenceEmbedder(cache=False)
    base = embedder.embed([row.text for row in found.rows(0)[1]])
    for number, tried in enumerate(found.outcome.tries):
        own = embedder.embed([row.text for row in found.rows(number)[1]])
        near = [s.similarity for s in tried.scores]
        assert near == pytest.approx((own @ base.T).max(axis=1).tolist(), abs=1e-5)
    assert found.to_json()["unsteered_similarity"] == pytest.approx(float(base[0] @ base[1]), abs=1e-5)


def test_a_text_on_which_steering_did_not_act_is_an_error(toner):
    ranged = toner.served.ranges["gratitude"]
    late = replace(ranged, condition=replace(ranged.condition, when="generated", first=0.0))
    served = replace(toner.served, ranges={**toner.served.ranges, "gratitude": late})
    other = Toner(toner.model, served, toner.model, judge=Signs())
    # The only token is written before any that was generated is read.
    with pytest.raises(WritingError, match="did not move"):
        answered(other, want(), replace(GREEDY, max_new_tokens=1))


def test_a_language_without_words_or_embedding_is_refused_and_a_plain_text_is_continued(toner):
    about = replace(toner.served.about, attribute=load_attribute("emotion-fr"))
    french = Toner(toner.model, replace(toner.served, about=about), toner.model, judge=Signs())
    with pytest.raises(EmotionCircuitsError, match=r"similarity: .* 'fr'"):
        french.prepare(ASK, Options(want(similarity=0.5)))
    with pytest.raises(EmotionCircuitsError, match="no words to ask for a tone in 'fr'"):
        french.prepare(ASK, Options(want(), prompting=True))
    made = toner.prepare("It rains", Options(want(0.99), sampling=GREEDY, tries=1))
    found = toner.answer(made, stepping(toner.model))
    assert found.row.text == generate(toner.model, ["It rains"], GREEDY)[0].text
    with pytest.raises(EmotionCircuitsError, match="no text"):
        toner.prepare("", Options(want()))


def test_a_judge_that_shares_sentences_with_the_vectors_is_refused():
    about = load_attribute("emotion-en")
    own = about.model_copy(update={"classifier": about.classifier.model_copy(update={"fit": ("core",)})})
    with pytest.raises(
        EmotionCircuitsError, match=r"'emotion' was fitted on \d+ sentences that the vectors were fitted on too"
    ):
        impartial_judge(own, about.corpora.fit, about.values)
    with pytest.raises(EmotionCircuitsError, match="names no judges"):
        impartial_judge(about.model_copy(update={"judges": ()}), about.corpora.fit, about.values)
    with pytest.raises(EmotionCircuitsError, match="gives no probability of gratitude"):
        impartial_judge(about, about.corpora.fit, about.values, name="vader")
    assert impartial_judge(about, about.corpora.fit, about.values, name="keywords").name == "keywords"


# -- the evaluation ------------------------------------------------------------------------------------------------------


def test_the_agent_is_compared_with_as_many_texts_by_a_judge_that_it_does_not_ask(toner):
    options = Options(want(0.3), tries=3, n=2, sampling=DRAWN)
    asked = ["Why?", "How?", "Where is it?", "Who?"]
    found = evaluate_tone(toner, asked, options, [Signs("p-signs", "p")], stepping(toner.model))
    arms = {(a.arm, a.judge): a for a in found.arms}
    assert {judge for _, judge in arms} == {"signs", "p-signs"}
    assert all(a.asked == (a.judge == "signs") for a in found.arms)
    names = {
        AGENT,
        "agent with words",
        "fixed dose",
        "words",
        "best of n",
        "one text, unsteered",
        "one text at the fixed dose",
    }
    assert {arm for arm, _ in arms} == names
    for arm in found.arms:
        assert 0 <= arm.low <= arm.share <= arm.high <= 1
        assert arm.n == len(asked)
        assert arm.texts == 1 if arm.arm.startswith("one text") else 2 <= arm.texts <= 6
    for name, answers in found.answers.items():
        assert arms[name, "signs"].share == sum(a.outcome.reached for a in answers) / len(asked)
        assert {t.ask.dose for a in answers for t in a.outcome.tries[1:]} <= {
            "fixed dose": {0.5}, "words": {0.0}, "best of n": {0.0},
        }.get(name, {t.ask.dose for a in answers for t in a.outcome.tries})  # fmt: skip
        # Every way begins with the same texts.
        assert [a.rows(0)[1][0].text for a in answers] == [a.rows(0)[1][0].text for a in found.answers[AGENT]]
    gaps = {(c.arm, c.judge): c for c in found.compared}
    assert len(gaps) == 2 * (len(names) - 1)
    for (arm, judge), c in gaps.items():
        assert c.difference == pytest.approx(arms[AGENT, judge].share - arms[arm, judge].share)
        assert c.low <= c.difference <= c.high


def test_one_text_at_the_fixed_dose_is_steered_where_unsteered_ones_would_do_too(toner):
    options = Options(want(0.0), tries=3, n=1, sampling=GREEDY)
    found = evaluate_tone(toner, ["Why?", "How?"], options, [Signs("other")], stepping(toner.model))
    arms = {a.arm: a for a in found.arms if a.asked}
    assert arms["agent"].texts == 1
    assert arms["one text at the fixed dose"].probability > arms["one text, unsteered"].probability


def test_an_evaluation_that_would_not_be_one_is_refused(toner):
    write, options = stepping(toner.model), Options(want(), sampling=GREEDY)
    for requests, judges, said in (
        (["Why?"], [Signs("other")], "two requests"),
        (["Why?", "How?"], [], "does not ask; it asks 'signs'"),
        (["Why?", "How?"], [Signs()], "does not ask"),
    ):
        with pytest.raises(EmotionCircuitsError, match=said):
            evaluate_tone(toner, requests, options, judges, write)
    with pytest.raises(EmotionCircuitsError, match="leave prompting out"):
        evaluate_tone(toner, ["Why?", "How?"], replace(options, prompting=True), [Signs("other")], write)
    assert another_judge(load_attribute("emotion-en"), "keywords").name == "keywords"


# -- behind the server ---------------------------------------------------------------------------------------------------


def post(port, body, path="/v1/tone", timeout=60):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"{}"), error.headers


@pytest.fixture(scope="module")
def served(run):
    model = load_model(str(run.parent / "tiny-chat"))
    with serving(model, run, judge=Signs()) as (service, port):
        yield service, port


BODY = {"messages": ASK, "goal": "more gratitude", "fluency": 50, "similarity": 0, "max_tokens": 12, "temperature": 0}


def test_the_server_answers_as_the_agent_does(toner, served):
    service, port = served
    status, found, _ = post(port, {**BODY, "targets": {"感謝": 0.6}, "tries": 8})
    assert (status, found["object"], found["model"], found["judge"]) == (200, "tone", "tiny-chat", "signs")
    own = answered(toner, want(0.6), tries=8, n=4).to_json()
    assert found["text"] == own["text"]
    assert [t["dose"] for t in found["tries"]] == [t["dose"] for t in own["tries"]]
    assert found["reached"] is True
    assert service.metrics.requests["/v1/tone", 200] == 1
    assert service.metrics.tokens["written"] == sum(t["tokens"] for tried in found["tries"] for t in tried["texts"])
    status, found, _ = post(
        port, {**BODY, "messages": None, "prompt": "It rains", "targets": {"gratitude": {"at_most": 1}}}
    )
    assert (status, found["reached"], len(found["tries"])) == (200, True, 1)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"goal": "more joyfulness"}, 400, "say 'more VALUE'"),
        ({"goal": "more anger"}, 400, "validated"),
        ({"goal": None}, 400, "give a 'goal'"),
        ({"targets": {"joy": 0.5}}, 400, "no such value"),
        ({"targets": {"gratitude": {"at_least": 0.5, "at_most": 0.6}}}, 400, "either 'at_least' or 'at_most'"),
        ({"targets": {"gratitude": 1.5}}, 400, "less than or equal to 1"),
        ({"targets": {"gratitude": True}}, 400, "targets"),
        ({"messages": []}, 400, "either 'messages'"),
        ({"prompt": "both"}, 400, "either 'messages'"),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, 400, "the user's"),
        ({"messages": [{"role": "user", "content": "<s>"}]}, 400, "special token"),
        ({"beyond": 9}, 400, "beyond"),
        ({"tries": 1000}, 400, "tries"),
        ({"n": 0}, 400, "n:"),
        ({"max_tokens": 1024}, 400, "token"),
        ({"model": "gpt"}, 404, "no model"),
        ({"vectors": "/etc/passwd"}, 400, "vectors"),
    ],
)
def test_what_cannot_be_answered_is_an_error_object(served, change, status, said):
    found, body, _ = post(served[1], {**BODY, **change})
    assert (found, body["error"]["type"]) == (status, "invalid_request_error")
    assert said in body["error"]["message"]


def test_too_many_at_once_are_told_when_to_come_back_and_places_come_free_again(served):
    service, port = served
    desk = service.desk
    taken = [desk._places.acquire(blocking=False) for _ in range(4)]
    assert all(taken)
    status, body, headers = post(port, BODY)
    assert (status, body["error"]["code"]) == (429, "queue_full")
    assert int(headers["Retry-After"]) >= 1
    for _ in taken:
        desk._places.release()
    for change in ({}, {"goal": "more anger"}, {}):
        post(port, {**BODY, **change})
    assert desk._places._value == 4


def test_a_client_that_hangs_up_leaves_no_work_behind_and_a_late_one_is_told(run):
    model = load_model(str(run.parent / "tiny-chat"))
    slow = {**BODY, "temperature": 1, "tries": 16, "n": 8, "max_tokens": 900, "targets": {"gratitude": 1}}
    with serving(model, run, judge=Signs(), limits=Limits(seconds=1.0)) as (service, port):
        status, body, _ = post(port, slow)
        assert (status, body["error"]["code"]) == (504, "timeout")
    with serving(model, run, judge=Signs()) as (service, port):
        with pytest.raises(TimeoutError):
            post(port, slow, timeout=1.0)
        deadline = time.monotonic() + 20
        while (service.engine.running or service.desk._places._value < 4) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert service.engine.running == 0
        assert service.desk._places._value == 4
        assert not [t for t in threading.enumerate() if t.name == "emotion-circuits tone"]
