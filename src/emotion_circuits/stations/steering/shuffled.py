"""The station's claims where directions mean nothing: label-shuffled ones go through the choice, the test and the judge.

Texts are written anew with directions of the run's corpus whose labels were shuffled. Random directions, and the shuffled ones
that claims are ranked among, are those of the run. What a shuffled direction costs in fluency is no false claim, and is not
asked. With an effect planted in those texts' scores the same program shows how often a true one is found.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from emotion_circuits.evaluation import Fluency, judges_of
from emotion_circuits.model import Sampling
from emotion_circuits.prompts import Prompt
from emotion_circuits.record.station import Context
from emotion_circuits.stations.steering.calibrating import choose_in_turn, claims_in_turn, in_turn, plant, posing
from emotion_circuits.stations.steering.finding import finds, found_places, looked_at
from emotion_circuits.stations.steering.folder import SteeringFolder
from emotion_circuits.stations.steering.plan import arms_at, openings, steering_arms
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.stations.steering.sources import null_rows
from emotion_circuits.statistics import Claim
from emotion_circuits.steering import (
    Condition,
    SteeringVectors,
    score_sweep,
    sweep,
    taken_apart,
)
from emotion_circuits.steering.finding import Place

__all__ = ["AT_ONCE", "PLANTED", "planted_claims", "shuffled_claims"]

AT_ONCE = 20
PLANTED = 0.3
"""Share of texts that become the emotion where an effect is planted: what openings are planned for."""


def shuffled_claims(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    """What the station claims of label-shuffled directions.

    In draw ``d`` the direction number ``d`` stands for the first emotion, ``d + 1`` for the second, and so on: each direction
    takes the place of every emotion once.

    Args:
        context: of a finished run whose steering found a condition; where it found none, nothing is claimed.
        draws: numbers of the draws.
    """
    return _asked(context, draws, 0.0)


def planted_claims(context: Context, draws: Sequence[int]) -> list[list[Claim]]:
    """The same of texts of which :data:`PLANTED` became the emotion, claims on effects alone.

    Args:
        context: of a finished run.
        draws: numbers of the draws.
    """
    found = _asked(context, draws, PLANTED)
    return [[claim for claim in claims if claim.kind == "steering.effect"] for claims in found]


def _asked(context: Context, draws: Sequence[int], shift: float) -> list[list[Claim]]:
    about, folder = context.about, context.of(SteeringFolder)
    kept = folder.vectors()
    if kept is None or not folder.choice.read().chosen or not draws:
        return [[] for _ in draws]
    values = [value for value in about.values if value not in folder.choice.read().unwritten]
    turns = {d: {emotion: _key(d + place) for place, emotion in enumerate(values)} for d in draws}
    keys = list(dict.fromkeys(key for turn in turns.values() for key in turn.values()))
    vectors = kept.with_directions(_directions(context, keys)).clear_of_first()
    s = context.config.of(SteeringSettings)
    slack = float("inf") if s.share_places == "always" else 1.0
    arms, validation = _tried(context, vectors, turns, keys)
    chosen = {
        d: choose_in_turn(validation[d], turn, judge=about.judge, budget=s.max_perplexity_ratio, slack=slack)
        for d, turn in turns.items()
    }
    names = list(dict.fromkeys(name for choice in chosen.values() for name in choice.values()))
    tried = [arm for name in names for arm in (arms[name], *taken_apart(arms[name]).values())]
    run = folder.test.read()
    own = _written(context, openings(context.config, "test"), tried, vectors) if tried else run.head(0)
    beside = run[run["kind"].isin(["none", "random", "shuffled"])]
    return [_claims(context, choice, arms, beside, own, seed=d, shift=shift) for d, choice in chosen.items()]


def _tried(
    context: Context, vectors: SteeringVectors, turns: Mapping[int, Mapping[str, str]], keys: Sequence[str]
) -> tuple[dict[str, Condition], dict[int, pd.DataFrame]]:
    """All conditions that were tried, and for every draw the texts on validation openings that its choice is made from."""
    config, n_layers = context.config, context.model.n_layers
    rows = openings(config, "validation")
    if not finds(config):
        real = [arm for arm in steering_arms(config, n_layers) if arm.units == "norm"]
        posed = posing(real, keys)
        written = _written(context, rows, posed, vectors, fluency=True)
        return {arm.name: arm for arm in posed}, dict.fromkeys(turns, written)
    arms: dict[str, Condition] = {}

    def tried(prompts: Sequence[Prompt], places: Sequence[Place], of: Sequence[str]) -> pd.DataFrame:
        posed = posing(arms_at(config, places, context.about.values[:1]), of)
        arms.update({arm.name: arm for arm in posed})
        return _written(context, prompts, posed, vectors, fluency=True)

    # What is tried first is the same for all draws, and each direction stands in several.
    screened: pd.DataFrame | None = None
    validation = {}
    for d, turn in turns.items():

        def texts(
            name: str, prompts: Sequence[Prompt], places: Sequence[Place], turn: Mapping[str, str] = turn
        ) -> pd.DataFrame:
            nonlocal screened
            of = {emotion: turn[emotion] for emotion in looked_at(list(turn))}
            if name != "screen":
                return in_turn(tried(prompts, places, list(of.values())), of)
            if screened is None:
                screened = tried(prompts, places, keys)
            return in_turn(screened, of)

        found = found_places(config, n_layers, texts)
        validation[d] = tried(rows, found.places, list(turn.values()))
    return arms, validation


def _key(number: int) -> str:
    return f"draw {number}"


def _directions(context: Context, keys: Sequence[str]) -> dict[str, Float[Tensor, "layer d_model"]]:
    """One label-shuffled direction per key, of the set the run steered with."""
    folder, contrast = context.of(SteeringFolder), context.config.of(SteeringSettings).contrast
    rows = null_rows(context, folder, folder.choice.read().source)
    found = {}
    for key in keys:
        # Far from the seeds of runs, whose own shuffled directions are what these are ranked among.
        seed = (8191 << 20) + int(key.rpartition(" ")[2])
        (found[key],) = rows.shuffled(count=1, seed=seed, contrast=contrast, reference=context.about.reference).values()
    return found


def _written(
    context: Context,
    prompts: Sequence[Prompt],
    arms: Sequence[Condition],
    vectors: SteeringVectors,
    *,
    fluency: bool = False,
) -> pd.DataFrame:
    """Texts under every arm, scored."""
    config, model = context.config, context.model
    s = config.of(SteeringSettings)
    sampling = Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature)
    samples = (s.validation_samples or s.samples) if fluency else s.samples
    with tempfile.TemporaryDirectory() as place:
        table = sweep(
            model, prompts, arms, vectors, folder=Path(place) / "sweep", sampling=sampling,
            samples=samples, seed=config.seed, batch_rows=s.batch_rows, chat=s.chat,
        )  # fmt: skip
    return score_sweep(table, judges_of(context.about.attribute), Fluency(model) if fluency else None)


def _claims(
    context: Context,
    choice: Mapping[str, str],
    arms: Mapping[str, Condition],
    beside: pd.DataFrame,
    own: pd.DataFrame,
    *,
    seed: int,
    shift: float,
) -> list[Claim]:
    if not choice:
        return []
    about = context.about
    tried = {emotion: arms[name] for emotion, name in choice.items()}
    mine = {name for arm in tried.values() for name in (arm.name, *(half.name for half in taken_apart(arm).values()))}
    rows = pd.concat([beside, own[own["condition"].isin(mine)]], ignore_index=True)
    if shift:
        rows = plant(rows, choice, shift=shift, sides=about.attribute.metrics, judge=about.judge, seed=seed)
    budget = context.config.of(SteeringSettings).max_perplexity_ratio
    return claims_in_turn(rows, tried, sides=about.attribute.metrics, judge=about.judge, budget=budget, seed=seed)
