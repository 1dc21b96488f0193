"""The report's page on steering along ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emotion_circuits.language import say
from emotion_circuits.page.numerals import number
from emotion_circuits.page.page import Figure, Section, Table
from emotion_circuits.page.telling import Told
from emotion_circuits.stations.axes.figures import moved
from emotion_circuits.stations.axes.folder import AxesFolder

__all__ = ["sections"]


def sections(folder: AxesFolder, _manifest: dict[str, Any], claims: Sequence[Told]) -> tuple[Section, ...]:
    """One section: what each push does, what it costs, and the texts."""
    choice = folder.choice.read()
    return (
        Section(
            "axes",
            say("Can texts be moved along what people rate?"),
            (
                say(
                    "A dimension's direction is the sum of the values' directions, each weighted by its rating less the mean. "
                    "Texts are pushed towards high and towards low ratings at layer {layers}, {first} residual norms at the "
                    "first token and {alpha} at the others, as the values were. Ratings: {source}.",
                    layers=", ".join(map(str, choice.layers)), first=number(choice.first), alpha=number(choice.alpha),
                    source=choice.source,
                ),
            ),
            tuple(claims),
            (
                Figure(
                    "axes-effects",
                    say("What a push along each dimension does"),
                    say(
                        "Texts towards high ratings minus texts towards low ones, with 95 % interval over openings. Grey: the "
                        "middle 95 % of pushes along ratings that were permuted among the values."
                    ),
                    moved(folder.effects.read()),
                ),
                Table(
                    "axes-effects-table",
                    say("Every push and every dimension"),
                    say("up and down: change from unsteered text of either side. Figures are in points of the ratings' scale."),
                    folder.effects.read(),
                    folded=True,
                ),
                Table(
                    "axes-costs",
                    say("What each push costs"),
                    say("Perplexity of the texts over that of unsteered ones, under the unsteered model."),
                    folder.costs.read(),
                    folded=True,
                ),
                Table(
                    "axes-texts",
                    say("Texts pushed along ratings"),
                    say("All test openings; + towards high ratings, − towards low ones, none: unsteered."),
                    folder.texts.read(),
                    folded=True,
                ),
            ),
        ),
    )  # fmt: skip
