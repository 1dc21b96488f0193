import re

import pytest

from emotion_circuits.report.asked import QUESTIONS
from emotion_circuits.report.questions import answer_questions, lead_claim
from emotion_circuits.report.telling import tell
from report.told import CLAIMS, FACTS


def answers(claims, **kinds):
    return {a.key: a for a in answer_questions(tell(claims, FACTS), "runs/demo")}


def of(prefix):
    return [c for c in CLAIMS if c["id"].startswith(prefix)]


def judged(claims, verdict):
    return [{**c, "verdict": verdict} for c in claims]


def test_there_are_five_and_each_is_answered_in_few_sentences():
    found = answers(CLAIMS)
    assert list(found) == ["taken-in", "travels", "shows", "stable", "steered"]
    for answer in found.values():
        assert answer.evidence
        assert not answer.command
        assert 2 <= len(re.findall(r"\.(?= [A-Z]|$)", answer.text)) <= 3, answer.text
        assert re.search(r"-?\d\.\d+ \[", answer.text), "a figure with its interval"
        assert "chance" in answer.text or "null" in answer.text or "bound" in answer.text


def test_every_claim_is_counted_once():
    counted = sum(n for answer in answers(CLAIMS).values() for row in answer.evidence for _, n in row.verdicts)
    assert counted == len(CLAIMS)


def test_a_question_without_claims_is_not_studied_and_names_the_command():
    found = answers([c for c in CLAIMS if not c["id"].startswith("alignment")])["stable"]
    assert found.evidence == ()
    assert "emotion-circuits align runs/demo" in found.command
    assert "emotion-circuits report runs/demo --aligned" in found.command


@pytest.mark.parametrize("verdict", ["inconclusive", "not supported"])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.key)
def test_an_answer_claims_nothing_that_no_claim_supports(question, verdict):
    """With every verdict turned, each sentence is the one for what was not shown."""
    answer = answers(judged(CLAIMS, verdict))[question.key]
    for aspect in question.aspects:
        beginning = re.split(r"[{(]", aspect.some)[0]
        if len(beginning) > 15:
            assert beginning not in answer.text
    assert "supported" not in {v for row in answer.evidence for v, _ in row.verdicts} - {"not supported"}


def test_fresh_sentences_decide_and_are_told_apart():
    fresh = "directions.reading.implicit-fresh"
    reading = of("directions.reading")
    text = answers(reading)["taken-in"].text
    assert "On fresh sentences without any emotion word this is not shown" in text
    turned = [{**c, "verdict": "supported"} if c["id"] == fresh else c for c in reading]
    assert "It also does so on fresh sentences" in answers(turned)["taken-in"].text
    ruled_out = [{**c, "verdict": "not supported"} if c["id"] == fresh else c for c in reading]
    assert "it does not" in answers(ruled_out)["taken-in"].text


def test_supported_claims_lead_and_then_the_clearest():
    weak, strong, open_ = (
        {**CLAIMS[0], "estimate": e, "interval": i, "verdict": v}
        for e, i, v in (
            (0.1, [0.01, 0.2], "supported"),
            (0.3, [0.25, 0.35], "supported"),
            (9.0, [8.9, 9.1], "inconclusive"),
        )
    )
    assert lead_claim(tell([weak, strong, open_], FACTS)).claim["estimate"] == 0.3
    assert lead_claim(tell([weak, open_], FACTS)).claim["estimate"] == 0.1
    # For a cost, lower is clearer.
    costs = [
        {**c, "interval": [e - 0.1, e + 0.1], "estimate": e}
        for e, c in zip((1.2, 2.0), of("steering.gratitude.f") * 2, strict=True)
    ]
    assert lead_claim(tell(costs, FACTS)).claim["estimate"] == 1.2


def test_names_are_those_of_supported_claims():
    text = answers(of("steering."))["steered"].text
    supported = {
        c["id"].split(".")[1]
        for c in of("steering.")
        if c["verdict"] == "supported" and c["id"].split(".")[2] in ("share", "probability")
    }
    assert supported
    sentence = text.split("(")[0]
    assert {e for e in ("gratitude", "anger", "apology") if e in sentence} == supported
