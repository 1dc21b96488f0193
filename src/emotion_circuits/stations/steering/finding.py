"""Looking for place and strength on a model: few texts of many places, more of few, then the choice on all openings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from emotion_circuits.prompts import Prompt, evenly
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.steering.plan import openings, steering_layers
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.steering.finding import STRENGTHS, Line, Place, best_places, lines, refined_places
from emotion_circuits.steering.scoring import condition_table

__all__ = [
    "LINES_KEPT",
    "PLACES_KEPT",
    "REFINED",
    "SCREENED",
    "WEAKER",
    "Texts",
    "Trial",
    "finds",
    "found_places",
    "looked_at",
    "screened_places",
]

SCREENED, REFINED = 8, 24
"""Openings on which places are tried first, and on which the best of them are tried again."""
LINES_KEPT, PLACES_KEPT = 3, 2
WEAKER = (1.0, 0.8)
"""Strengths at which the best places are tried last: what looked fluent on few openings may be beyond the bound on all."""
VALUES = 4
"""At most so many values, evenly among them, are looked at: all share the place."""


class Texts(Protocol):
    """Writes texts of some values at some places, and unsteered ones, and scores them."""

    def __call__(self, name: str, prompts: Sequence[Prompt], places: Sequence[Place]) -> pd.DataFrame:
        """One scored row per text; ``name`` is that of the sweep."""


@dataclass(frozen=True, eq=False)
class Trial:
    """What was tried.

    Attributes:
        places: that the choice is made from.
        scored: the tables of texts, coarse first.
        tables: their figures by condition.
    """

    places: list[Place]
    scored: list[pd.DataFrame]
    tables: list[pd.DataFrame]


def finds(config: StudySettings) -> bool:
    """Whether strengths are looked for."""
    return config.of(SteeringSettings).alphas is None


def screened_places(config: StudySettings, n_layers: int) -> list[Place]:
    """The places that are tried first."""
    return [line.at(strength) for line in _lines(config, n_layers) for strength in STRENGTHS]


def looked_at(values: Sequence[str]) -> list[str]:
    """The values that places are looked for with."""
    return evenly(list(values), min(VALUES, len(values)))


def _lines(config: StudySettings, n_layers: int) -> list[Line]:
    s = config.of(SteeringSettings)
    adds = s.operation == "add"
    sinks = (0.0, 1.0) if s.sink is None and adds else s.sink or (0.0,)
    return lines(steering_layers(config, n_layers), first=any(sinks), rest=not all(sinks))


def found_places(config: StudySettings, n_layers: int, texts: Texts) -> Trial:
    """Look for the places that the choice is made from.

    Args:
        config: of the study.
        n_layers: of the model.
        texts: writes and scores.
    """
    judge, budget = studied(config).judge, config.of(SteeringSettings).max_perplexity_ratio
    rows, scored, tables = openings(config, "validation"), [], []

    def tried(name: str, count: int, places: Sequence[Place]) -> pd.DataFrame:
        found = texts(name, evenly(rows, min(count, len(rows))), places)
        scored.append(found)
        tables.append(condition_table(found, judge=judge, seed=config.seed))
        return tables[-1]

    coarse = tried("screen", SCREENED, screened_places(config, n_layers))
    fine = tried("refine", REFINED, refined_places(coarse, _lines(config, n_layers), budget=budget, count=LINES_KEPT))
    best = best_places(fine, budget=budget, count=PLACES_KEPT)
    places = [place.times(factor) for place in best for factor in WEAKER]
    return Trial(list(dict.fromkeys(places)), scored, tables)
