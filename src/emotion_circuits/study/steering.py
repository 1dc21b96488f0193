"""The steering stage: choose a condition on validation openings, report it on test openings beside its controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from emotion_circuits.activations import ActivationStore
from emotion_circuits.directions import DirectionSet
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Evaluator, Fluency, KeywordCounts, OpenEmotionClassifier, evaluator
from emotion_circuits.evaluation.validating import validate_on_bundled
from emotion_circuits.model import LanguageModel, Sampling
from emotion_circuits.paths import write_json, write_table
from emotion_circuits.prompts import LABELS, Prompt, load_prompts, prompts_sha256
from emotion_circuits.steering import (
    NONE,
    Condition,
    SteeringVectors,
    bound_claims,
    choose_condition,
    choose_together,
    condition_table,
    effect_matrix,
    effects,
    first_token_mean,
    grid,
    neutral_mean,
    score_sweep,
    shared_controls,
    shuffled_directions,
    steering_claims,
    sweep,
)
from emotion_circuits.study.config import StudyConfig
from emotion_circuits.study.running import Context, Stage

__all__ = ["STEERING", "VECTORS", "openings", "spread", "steering_arms", "steering_layers"]

VECTORS = "vectors.safetensors"
"""The directions as they were injected, in the stage's folder."""

_MANNER: dict[str, dict[str, Any]] = {
    "add": {"positions": "rest"},
    "clamp": {"operation": "clamp", "origin": "neutral", "positions": "rest"},
}
"""Fields of the grid's conditions by ``steering.operation``."""

_JUDGES = ("emotion", "keywords", "vader")


def steering_layers(config: StudyConfig, n_layers: int, *, raw: bool = False) -> tuple[int | tuple[int, ...], ...]:
    """Layers, or groups of layers: relative depths become the nearest layer, whole numbers are taken as they are.

    Args:
        config: of the study.
        n_layers: of the model.
        raw: those of the grid in raw units.

    Raises:
        EmotionCircuitsError: a layer the model does not have.
    """

    def number(layer: float) -> int:
        found = round(layer * (n_layers - 1)) if layer < 1 else int(layer)
        if found >= n_layers:
            raise EmotionCircuitsError(
                f"steering.layers: {found} is not a layer of this model, which has 0 to {n_layers - 1}"
            )
        return found

    found: list[int | tuple[int, ...]] = []
    for group in config.steering.raw_layers if raw else config.steering.layers:
        if isinstance(group, tuple):
            members = tuple(sorted({number(layer) for layer in group}))
            found.append(members if len(members) > 1 else members[0])
        else:
            found.append(number(group))
    return tuple(dict.fromkeys(found))


def openings(config: StudyConfig, split: str, wanted: int | None = None) -> list[Prompt]:
    """The neutral openings on which a study chooses (``validation``) or reports (``test``, of ``steering.test_openings``).

    Choosing takes openings of the train split too where more are asked for than the validation split holds: nothing is
    fitted on openings.

    Raises:
        EmotionCircuitsError: the corpus has fewer than asked for.
    """
    s = config.steering
    count = wanted if wanted is not None else s.validation_prompts if split == "validation" else s.test_prompts
    corpus = config.test_continuations if split == "test" else config.continuations
    rows = load_prompts(corpus, split=split)
    extra = load_prompts(config.continuations, split="train") if split == "validation" else []
    if len(rows) + len(extra) < count:
        raise EmotionCircuitsError(
            f"steering.{split}_prompts: {count} asked for, {corpus} has {len(rows) + len(extra)} for it"
        )
    return spread(rows, count) if count <= len(rows) else [*rows, *spread(extra, count - len(rows))]


def spread(rows: list[Prompt], count: int) -> list[Prompt]:
    """Evenly over the corpus, whose rows stand by kind."""
    return [rows[i * len(rows) // count] for i in range(count)]


def _inputs(context: Context) -> dict[str, Any]:
    config = context.config
    judged = set(config.emotions) - set(LABELS)
    if judged:
        raise EmotionCircuitsError(
            f"emotions: the emotion classifier knows {', '.join(LABELS)}, not {', '.join(sorted(judged))}"
        )
    n_layers = context.model.n_layers
    return {
        "steering": config.steering.model_dump(mode="json"),
        "openings": [prompts_sha256(openings(config, split)) for split in ("validation", "test")],
        "layers": [steering_layers(config, n_layers), steering_layers(config, n_layers, raw=True)],
        "seed": config.seed,
        "classifier": OpenEmotionClassifier().version,
        "keywords": KeywordCounts().version,
    }


def _run(context: Context, folder: Path) -> None:
    config, model, s = context.config, context.model, context.config.steering
    directions = _steering_set(context)
    store = ActivationStore.open(context.path("capture"))
    of = {"kind": directions.kind, "pooling": directions.pooling}
    neutral = neutral_mean(store, **of)
    first = first_token_mean(model, [p.text for p in load_prompts(config.continuations, split="train")])
    vectors = _dressed(config, SteeringVectors.from_directions(directions), neutral, first)
    vectors.save(folder / VECTORS)
    common: dict[str, Any] = {
        "sampling": Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature),
        "seed": config.seed, "batch_rows": s.batch_rows, "engine": context.engine,
    }  # fmt: skip
    choosing = {**common, "samples": s.validation_samples or s.samples}

    arms = steering_arms(config, model.n_layers)
    written = sweep(model, openings(config, "validation"), arms, vectors, folder=folder / "validation", **choosing)
    scored = _scored(model, written)
    table = condition_table(scored, seed=config.seed)
    write_table(scored, folder / "validation.parquet")
    write_table(table, folder / "grid.parquet")
    bound = s.max_perplexity_ratio
    # The grid in raw units is shown, not chosen from: its controls could not be shared, nor compared at equal norm.
    normed = table[~table["how"].str.contains(" raw ")]
    if s.share_places == "never":
        choices = [choose_condition(scored, e, budget=bound, table=normed) for e in config.emotions]
    else:
        slack = float("inf") if s.share_places == "always" else 1.0
        choices = choose_together(scored, config.emotions, budget=bound, slack=slack, table=normed)
    by_name = {arm.name: arm for arm in arms}
    chosen = {c.emotion: by_name[c.condition] for c in choices if c.condition is not None}
    names = {emotion: condition.name for emotion, condition in chosen.items()}
    write_json(
        folder / "choice.json",
        {
            "objective": choices[0].objective,
            "openings": len(openings(config, "validation")),
            "chosen": {e: c.to_json() for e, c in chosen.items()},
            "none_within_bound": [e for e in config.emotions if e not in chosen],
        },
    )
    write_json(folder / "evaluators.json", _evaluators())
    claims = bound_claims(normed, [e for e in config.emotions if e not in chosen], budget=bound)
    if not chosen:
        write_json(folder / "claims.json", [claim.model_dump(mode="json") for claim in claims])
        return
    if s.compare_prompts:
        _compare(context, folder, list(chosen.values()), vectors, choosing)

    shuffled = shuffled_directions(store, count=s.shuffled_directions, seed=config.seed, **of)
    test_arms = [
        NONE,
        *shared_controls(list(chosen.values()), random=s.random_directions, shuffled=list(shuffled)),
    ]
    everything = vectors.with_directions(shuffled).clear_of_first()
    test = sweep(
        model, openings(config, "test"), test_arms, everything, folder=folder / "test", samples=s.samples, **common
    )
    # What a control direction costs in fluency is not asked: only its effect is.
    control = test["kind"].isin(["random", "shuffled"])
    scored = pd.concat([_scored(model, test[~control]), _scored(model, test[control], fluency=False)])
    scored = scored.reset_index(drop=True)
    write_table(scored, folder / "test.parquet")
    write_table(
        condition_table(scored[~scored["kind"].isin(["random", "shuffled"])], seed=config.seed), folder / "arms.parquet"
    )
    found = effects(scored, names, seed=config.seed)
    write_table(found.table, folder / "effects.parquet")
    write_table(effect_matrix(scored, names, seed=config.seed), folder / "matrix.parquet")
    claims = [*steering_claims(found, budget=bound), *claims]
    write_json(folder / "claims.json", [claim.model_dump(mode="json") for claim in claims])


def steering_arms(config: StudyConfig, n_layers: int) -> list[Condition]:
    """The grid in normalised units, and beside it the one in raw units where it is asked for."""
    s = config.steering
    layers, manner = steering_layers(config, n_layers), _MANNER[s.operation]
    found = [NONE]
    for sink in s.sink:
        prefix = f"sink {sink:g} " if sink else ""
        found += grid(config.emotions, layers, s.alphas, prefix=prefix, first=sink, **manner)[1:]
    raw = steering_layers(config, n_layers, raw=True)
    if raw:
        found += grid(config.emotions, raw, s.raw_alphas, prefix="raw ", units="raw")[1:]
    return found


def _dressed(config: StudyConfig, vectors: SteeringVectors, neutral: Tensor, first: Tensor) -> SteeringVectors:
    """With the contrast that is asked for, with what clamps count from, and clear of the attention sink."""
    if config.steering.contrast == "rest":
        vectors = vectors.against_rest(config.emotions)
    return vectors.with_neutral(neutral).with_first(first).clear_of_first()


def _compare(
    context: Context, folder: Path, chosen: list[Condition], own: SteeringVectors, common: dict[str, Any]
) -> None:
    """Every fitted direction set at the chosen places and strengths: equal norm, same openings, same draws."""
    config = context.config
    # Directions of other site kinds are not in the residual stream, where the injection is.
    sets = {
        f"{extractor}.{pooling}": DirectionSet.load(
            context.path("directions") / f"{extractor}.resid_post.{pooling}.json"
        )
        for extractor, pooling in config.directions.pairs()
    }
    arms = [NONE]
    for name in sets:
        for condition in chosen:
            key = f"{name} {condition.emotion}"
            arms.append(replace(condition, name=key, direction=key))
    assert own.neutral is not None
    assert own.first is not None
    vectors = replace(own, unit={}, lengths={})
    for name, found in sets.items():
        raw = {label: found.vectors[i] for i, label in enumerate(found.labels)}
        part = _dressed(config, SteeringVectors.from_raw(raw, own.norms), own.neutral, own.first)
        vectors = replace(vectors, unit={**vectors.unit, **{f"{name} {k}": rows for k, rows in part.unit.items()}})
    rows = openings(config, "validation", config.steering.compare_prompts)
    written = sweep(context.model, rows, arms, vectors, folder=folder / "comparison", **common)
    table = condition_table(_scored(context.model, written), seed=config.seed)
    table = table[table["kind"] == "emotion"].reset_index(drop=True)
    split = table["condition"].str.split(" ").str[0].str.split(".")
    write_table(table.assign(extractor=split.str[0], pooling=split.str[1]), folder / "comparison.parquet")


def _steering_set(context: Context) -> DirectionSet:
    from emotion_circuits.study.stations import load_chosen_set

    return load_chosen_set(context.folder, "steering")


def _scored(model: LanguageModel, table: pd.DataFrame, *, fluency: bool = True) -> pd.DataFrame:
    return score_sweep(table, [evaluator(name) for name in _JUDGES], Fluency(model) if fluency else None)


def _evaluators() -> list[dict[str, Any]]:
    """Each evaluator's accuracy on labelled held-out text, shown beside the scores it gives."""
    judges: list[Evaluator] = [evaluator(name, cache=False) for name in _JUDGES]
    return [v.model_dump(mode="json") for judge in judges for v in validate_on_bundled(judge)]


STEERING = Stage("steering", "Steering and its controls", 3, ("directions",), _inputs, _run)
