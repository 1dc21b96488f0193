"""What the claims of steering along ratings say."""

from __future__ import annotations

from emotion_circuits.language import say, term
from emotion_circuits.page.numerals import number
from emotion_circuits.page.words import Aspect, Kind, Words
from emotion_circuits.statistics import Claim

__all__ = ["ASPECTS", "KINDS"]


def _effect(claim: Claim) -> Words:
    about, beside = claim.about, claim.figures.beside
    of = {"dimension": term(str(about.metric))}
    return Words(
        say("Pushed along {dimension}, texts move along it, as the judge reads them.", **of)
        if about.method == "judge"
        else say("Pushed along {dimension}, texts take words that lie further along it.", **of),
        term("rating points, towards high minus towards low"),
        term("openings"),
        say("ratings permuted among the values"),
        (
            say(
                "Towards high ratings {up}, towards low ones {down} from unsteered text; perplexity ratio at most {cost}.",
                up=number(beside["up"]), down=number(beside["down"]), cost=number(beside["cost"]),
            ),
        ),
    )  # fmt: skip


KINDS = (Kind("axes.effect", _effect),)

ASPECTS = (
    Aspect(
        "steered",
        "texts can be moved along what people rate",
        ("axes.effect",),
        "axes",
        names="metric",
        plainly="Texts can be moved along {names}, as people rate it.",
        otherwise="That texts can be moved along what people rate is not shown.",
    ),
)
