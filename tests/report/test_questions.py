import re

import pytest

from emotion_circuits.page.page import Answer, Evidence, Section, Texts
from emotion_circuits.page.telling import tell
from emotion_circuits.report.asked import QUESTIONS
from emotion_circuits.report.questions import answer_questions, lead_claim, with_texts
from emotion_circuits.stations.registry import aspects
from told import CLAIMS, KINDS, changed


def answers(claims):
    return {a.key: a for a in answer_questions(tell(claims, KINDS), "runs/demo", aspects())}


def of(*kinds):
    return [c for c in CLAIMS if c.kind in kinds]


def judged(claims, verdict):
    return [changed(c, verdict=verdict) for c in claims]


def test_there_are_five_and_each_is_answered_in_few_sentences():
    found = answers(CLAIMS)
    assert list(found) == ["taken-in", "travels", "shows", "stable", "steered"]
    for answer in found.values():
        assert answer.evidence
        assert not answer.command
        assert 2 <= len(re.findall(r"\.(?= [A-Z]|$)", answer.text)) <= 3, answer.text
        assert re.search(r"-?\d\.\d+ \[", answer.text), "a figure with its interval"
        assert "chance" in answer.text or "null" in answer.text or "bound" in answer.text


def test_an_aspect_beyond_the_third_is_told_where_it_is_among_the_first():
    whole = answers(CLAIMS)["stable"]
    assert "Single heads" not in whole.text
    assert "the same heads do the work" in {row.name for row in whole.evidence}
    alone = answers([c for c in CLAIMS if c.station in ("transfer", "sharing")])["stable"]
    assert "Single heads do in other languages" in alone.text


def test_every_claim_is_counted_once():
    counted = sum(n for answer in answers(CLAIMS).values() for row in answer.evidence for _, n in row.verdicts)
    assert counted == len(CLAIMS)


def test_a_question_without_claims_is_not_studied_and_names_the_command():
    found = answers(
        [
            c
            for c in CLAIMS
            if c.station not in ("alignment", "scaling", "transfer", "sharing", "steering_transfer", "tuning")
        ]
    )["stable"]
    assert found.evidence == ()
    assert "emotion-circuits align runs/demo" in found.command
    assert "emotion-circuits report runs/demo --aligned" in found.command


@pytest.mark.parametrize("verdict", ["inconclusive", "not supported"])
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.key)
def test_an_answer_claims_nothing_that_no_claim_supports(question, verdict):
    """With every verdict turned, each sentence is the one for what was not shown."""
    answer = answers(judged(CLAIMS, verdict))[question.key]
    for aspect in (a for a in aspects() if a.question == question.key):
        beginning = re.split(r"[{(]", aspect.some)[0]
        if len(beginning) > 15:
            assert beginning not in answer.text
    assert "supported" not in {v for row in answer.evidence for v, _ in row.verdicts} - {"not supported"}


def test_fresh_sentences_decide_and_are_told_apart():
    fresh = "directions.reading.implicit-fresh"
    reading = of("directions.reading")
    text = answers(reading)["taken-in"].text
    assert "On fresh sentences without any emotion word this is not shown" in text
    turned = [changed(c, verdict="supported") if c.id == fresh else c for c in reading]
    assert "It also does so on fresh sentences" in answers(turned)["taken-in"].text
    ruled_out = [changed(c, verdict="not supported") if c.id == fresh else c for c in reading]
    assert "it does not" in answers(ruled_out)["taken-in"].text


def test_supported_claims_lead_and_then_the_clearest():
    weak, strong, open_ = (
        changed(CLAIMS[0], figures={"estimate": e, "interval": i}, verdict=v)
        for e, i, v in (
            (0.1, (0.01, 0.2), "supported"),
            (0.3, (0.25, 0.35), "supported"),
            (9.0, (8.9, 9.1), "inconclusive"),
        )
    )

    def lead(*claims):
        return lead_claim(tell(claims, KINDS)).claim.figures.estimate

    assert lead(weak, strong, open_) == 0.3
    assert lead(weak, open_) == 0.1
    # For a cost, lower is clearer.
    cost = of("steering.fluency")[0]
    assert lead(*(changed(cost, figures={"interval": (e - 0.1, e + 0.1), "estimate": e}) for e in (1.2, 2.0))) == 1.2
    # Of a two-sided claim either side counts.
    writer = of("trace.writers")[0]
    two = [changed(writer, figures={"interval": (e - 0.1, e + 0.1), "estimate": e}) for e in (-2.0, 1.0)]
    assert lead(*two) == -2.0


def test_names_are_those_of_supported_claims():
    text = answers(of("steering.effect"))["steered"].text
    supported = {
        c.about.value
        for c in of("steering.effect")
        if c.verdict == "supported" and c.about.metric in ("share", "probability")
    }
    assert supported
    sentence = text.split("(")[0]
    assert {e for e in ("gratitude", "anger", "apology") if e in sentence} == supported


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.key)
def test_the_plain_answer_says_yes_only_of_everything_and_no_only_where_figures_rule_it_out(question):
    told = {
        verdict: answers(judged(CLAIMS, verdict))[question.key]
        for verdict in ("supported", "inconclusive", "not supported")
    }
    assert [told[v].verdict for v in told] == ["yes", "inconclusive", "no"]
    for answer in told.values():
        assert not re.search(r"\d\.\d", answer.gist), "figures stand behind the answer"
        assert len(re.findall(r"\.(?= [A-Z]|$)", answer.gist)) <= 3, answer.gist
    for verdict in ("inconclusive", "not supported"):
        assert "not shown" in told[verdict].gist or "No " in told[verdict].gist
        plainly = [re.split(r"[{(]", a.plainly)[0] for a in aspects() if a.question == question.key and a.plainly]
        assert not [beginning for beginning in plainly if beginning in told[verdict].gist]


def test_what_holds_of_one_value_alone_is_partly_so():
    effects = of("steering.effect", "steering.fluency")
    one = [changed(c, verdict="supported" if c.about.value == "gratitude" else "inconclusive") for c in effects]
    answer = answers(one)["steered"]
    assert answer.verdict == "partly"
    assert "for gratitude." in answer.gist
    assert answer.gist.endswith("Not shown for: anger, apology.")


def test_fresh_sentences_stand_in_the_plain_answer():
    """What was read on sentences that choices were made on does not speak for those that decide."""
    fresh = [
        changed(c, verdict="inconclusive" if c.about.corpus == "implicit-fresh" else "supported")
        for c in of("directions.reading")
    ]
    answer = answers(fresh)["taken-in"]
    assert answer.verdict == "partly"
    assert "On fresh sentences without any emotion word, which decide, it is not shown." in answer.gist


def test_fluency_alone_is_no_steering():
    """Unsteered text is fluent, too: a condition that is kept makes no answer of effects that are not shown."""
    kinds = of("steering.effect", "steering.fluency")
    for effect, verdict in (("inconclusive", "inconclusive"), ("not supported", "no")):
        claims = [changed(c, verdict=effect if c.kind == "steering.effect" else "supported") for c in kinds]
        answer = answers(claims)["steered"]
        assert answer.verdict == verdict
        assert answer.gist.index("is not shown") < answer.gist.index("stays fluent")
    alone = [changed(c, verdict="supported") for c in of("steering.fluency")]
    assert answers(alone)["steered"].verdict == "inconclusive"
    unkept = [changed(c, verdict="supported" if c.kind == "steering.effect" else "inconclusive") for c in kinds]
    assert answers(unkept)["steered"].verdict == "partly"


def test_what_is_there_is_said_before_what_is_not():
    claims = [changed(c, verdict="supported" if c.kind == "trace.attention" else "inconclusive") for c in CLAIMS]
    gist = answers(claims)["taken-in"].gist
    assert gist.index("Some heads look") < gist.index("is not shown")


def test_small_figures_keep_their_order():
    for answer in answers(CLAIMS).values():
        for strip in answer.strips:
            low, high = strip.interval
            assert 0 <= strip.at(low) <= strip.at(strip.estimate) <= strip.at(high) <= 100
            if strip.null:
                assert 0 <= strip.at(strip.null[0]) <= strip.at(strip.null[1]) <= 100
            assert "[" in strip.figure


def test_texts_are_shown_once_and_few_of_them():
    answer = Answer("shows", "?", "", (Evidence("a", "steered", (), "", "", ""),))
    again = Answer("steered", "?", "", (Evidence("b", "steered", (), "", "", ""),))
    rows = tuple((f"opening {i}", ("plain", "asked", "pushed")) for i in range(5))
    texts = Texts("texts", "Texts", "", ("none", "prompted", "steered"), rows, shown_first=(0, 2))
    found = with_texts([answer, again], [Section("steered", "", parts=(texts,))])
    assert found[0].texts.columns == ("none", "steered")
    assert found[0].texts.rows == tuple((f"opening {i}", ("plain", "pushed")) for i in range(3))
    assert found[1].texts is None
