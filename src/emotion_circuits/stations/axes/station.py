"""Texts pushed towards high and towards low ratings at the place that steering chose, beside permuted ratings."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from emotion_circuits.evaluation import Fluency, judge_of, judges_of
from emotion_circuits.language import N_
from emotion_circuits.model import Sampling
from emotion_circuits.paths import hash_json
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.station import Context
from emotion_circuits.stations.axes.claims import axes_drafts
from emotion_circuits.stations.axes.folder import AxesFolder, Choice
from emotion_circuits.stations.axes.settings import AxesSettings
from emotion_circuits.stations.map.settings import coordinates_of
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.judge import JUDGE
from emotion_circuits.stations.steering.plan import null_openings, openings
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.statistics import corrected
from emotion_circuits.steering import NONE, score_sweep, sweep
from emotion_circuits.steering.axes import (
    axis_arms,
    axis_costs,
    axis_directions,
    axis_effects,
    permuted_ratings,
    with_ratings,
)
from emotion_circuits.steering.finding import Place

__all__ = ["inputs", "run"]

NO_PLACE = N_("steering found no place and strength within the fluency bound")


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the ratings, the judges and the seed; texts are those of steering."""
    about = context.about
    return {
        "axes": context.config.of(AxesSettings).model_dump(mode="json"),
        "coordinates": hash_json(coordinates_of(about).model_dump(mode="json")),
        "judges": {name: judge_of(about.attribute, name, cache=False).version for name in about.attribute.judges},
        "seed": context.config.seed,
    }


def run(context: Context, folder: AxesFolder) -> None:
    """Write both sides of every dimension and of permuted ones, and judge them."""
    config, about, seed = context.config, context.about, context.config.seed
    steered = context.of(SteeringFolder)
    vectors, chosen = steered.vectors(), steered.choice.read().conditions()
    if vectors is None or not chosen:
        folder.leave_out(NotMeasured(reason=NO_PLACE))
        return
    known, s = coordinates_of(about), config.of(SteeringSettings)
    ratings = known.among(about.values)
    places = {value: Place(c.layers, c.alpha, c.first) for value, c in chosen.items()}
    place = Counter(places.values()).most_common(1)[0][0]
    names = [f"permuted {i}" for i in range(config.of(AxesSettings).permutations)]
    made = axis_directions(vectors, ratings)
    for i, name in enumerate(names):
        more = axis_directions(vectors, permuted_ratings(ratings, i, seed=seed))
        made |= {f"{dimension} | {name}": rows for dimension, rows in more.items()}
    everything = vectors.with_directions(made).clear_of_first()
    common: dict[str, Any] = {
        "sampling": Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature),
        "seed": seed, "batch_rows": s.batch_rows, "engine": context.engine, "samples": s.samples, "chat": s.chat,
    }  # fmt: skip
    own = sweep(
        context.model, openings(config, "test"), [NONE, *axis_arms(list(ratings), place)], everything,
        folder=folder.sweep("test"), **common,
    )  # fmt: skip
    null = sweep(
        context.model, null_openings(config), axis_arms([n for n in made if n not in ratings], place, null=True), everything,
        folder=folder.sweep("null"), **common,
    )  # fmt: skip
    judges = judges_of(about.attribute)
    texts = with_ratings(score_sweep(own, judges, Fluency(context.model)), ratings)
    scored = pd.concat([texts, with_ratings(score_sweep(null, judges), ratings)], ignore_index=True)
    effects, costs = axis_effects(scored, list(ratings), names, seed=seed), axis_costs(texts, list(ratings), seed=seed)
    columns = [f"{measure} {dimension}" for measure in ("judge", "words") for dimension in ratings]
    folder.texts.write(texts[["condition", "prompt_id", "prompt", "text", *(c for c in columns if c in texts)]])
    folder.effects.write(effects)
    folder.costs.write(costs)
    folder.choice.write(
        Choice(
            layers=place.layers,
            alpha=place.alpha,
            first=place.first,
            values=tuple(value for value, at in places.items() if at == place),
            source=known.source,
        )
    )
    trusted = next((claim for claim in steered.read_claims() if claim.id == JUDGE), None)
    span = {dimension: max(own.values()) - min(own.values()) for dimension, own in ratings.items()}
    folder.write_claims(corrected(axes_drafts(effects, costs, layers=place.layers, span=span, given=trusted)))
