import numpy as np
import pytest

from emotion_circuits.language import speaking
from emotion_circuits.report.claim_rules import Facts, expected_side, words_of
from emotion_circuits.report.numerals import estimate, fixed
from emotion_circuits.report.telling import beside, reason_code, tell
from emotion_circuits.statistics import judge
from report.told import CLAIMS, FACTS

# How each reason of `judge` begins, by the code that is derived from a claim's figures alone.
REASONS = {
    "uncomputed": "No interval was computed",
    "few": "Only ",
    "above": "The interval lies above the reference ",
    "below": "The interval lies below the reference ",
    "level": "The interval lies ",
    "opposite": "The whole interval lies at or ",
    "smallest": "The interval rules out an effect",
    "null": "The interval lies wholly within",
    "both": "The interval allows both",
}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c["id"])
def test_the_rules_say_what_the_generators_said(claim):
    """A statement rendered from the claim's structure is the stored one, so that translations are of the same sentence."""
    words = words_of(claim, FACTS)
    assert words is not None, "no rule knows this kind of claim"
    assert words.statement == claim["statement"]
    assert words.unit == claim["unit"]


def test_the_english_page_shows_stored_words_even_where_nothing_is_known_of_the_run():
    for told in tell(CLAIMS, Facts()):
        assert told.statement == told.claim["statement"]
        assert told.notes == told.claim["notes"]
        assert told.null == (told.claim["null"] or "")


def test_a_claim_of_an_unknown_kind_is_shown_in_english_and_marked():
    claim = {**CLAIMS[0], "id": "humour.something"}
    with speaking("ja"):
        (told,) = tell([claim], FACTS)
    assert told.foreign
    assert told.statement == claim["statement"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c["id"])
def test_the_reason_of_a_stored_verdict_is_found_in_its_figures(claim):
    assert claim["notes"].startswith(REASONS[reason_code(claim, expected_side(claim["id"], FACTS))])


def test_reasons_agree_with_judge_whatever_the_figures():
    rng = np.random.default_rng(0)
    found = set()
    for _ in range(4000):
        low = rng.normal(scale=0.3)
        ends = (low, low + rng.gamma(1, 0.2))
        null = tuple(sorted(rng.normal(scale=0.2, size=2))) if rng.random() < 0.5 else None
        direction = str(rng.choice(["greater", "less"]))
        claim = judge(
            id="steering.anger.share" if direction == "greater" else "steering.anger.fluency",
            station="steering",
            statement="s",
            estimate=sum(ends) / 2,
            interval=ends if rng.random() < 0.95 else None,
            unit="u",
            n=int(rng.integers(4, 30)),
            null="random" if null else None,
            null_interval=null,
            chance=0.0,
            smallest_effect=0.2 if rng.random() < 0.5 else None,
            direction=direction,
        ).model_dump(mode="json")
        code = reason_code(claim, 1 if direction == "greater" else -1)
        found.add(code)
        # Where both hold, judge names the smallest effect first; the figures alone do not tell which was asked for.
        allowed = [REASONS[code]] + ([REASONS["smallest"]] if code == "null" else [])
        assert claim["notes"].startswith(tuple(allowed)), (claim, code)
    assert found >= {"uncomputed", "few", "above", "below", "opposite", "smallest", "null", "both"}


def test_figures_have_the_decimals_that_their_interval_allows():
    assert estimate(0.11765, (0.0515, 0.184)) == "0.12 [0.05, 0.18]"
    assert estimate(2.202, (1.03, 3.47)) == "2.2 [1.0, 3.5]"
    assert estimate(0.5, None) == "0.5"
    assert fixed(-0.001, 2) == "0.00"


def test_a_bound_is_not_called_chance():
    claim = next(c for c in CLAIMS if c["id"].endswith(".fluency"))
    (told,) = tell([claim], FACTS)
    assert beside(told) == "bound = 1.5"
