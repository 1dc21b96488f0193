"""Choose a condition on validation openings, report it on test openings beside its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from torch import Tensor

from emotion_circuits.evaluation import Fluency, judge_of, judges_of, labelled_text, validate_on_bundled
from emotion_circuits.model import LanguageModel, Sampling, writing_model
from emotion_circuits.prompts import Prompt, load_prompts, prompts_sha256
from emotion_circuits.record.station import Context
from emotion_circuits.record.studied import Studied
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.directions.folder import DirectionsFolder, set_name
from emotion_circuits.stations.directions.settings import possible_settings
from emotion_circuits.stations.steering.claims import bound_claims, steering_claims, token_claims
from emotion_circuits.stations.steering.finding import finds, found_places, looked_at
from emotion_circuits.stations.steering.folder import Choice, Evaluators, SteeringFolder
from emotion_circuits.stations.steering.judge import judge_draft
from emotion_circuits.stations.steering.plan import (
    arms_at,
    null_openings,
    openings,
    raw_arms,
    reported_corpus,
    steering_arms,
    steering_layers,
)
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.statistics import corrected
from emotion_circuits.steering import (
    NONE,
    Condition,
    SteeringVectors,
    beside_controls,
    choose_condition,
    choose_together,
    condition_table,
    dose_response,
    effect_matrix,
    effects,
    examples_for,
    first_token_mean,
    neutral_mean,
    score_sweep,
    shared_controls,
    shuffled_directions,
    sweep,
    taken_apart,
    token_effects,
)

__all__ = ["inputs", "run"]


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the openings, the layers, the seed and the judges."""
    config, about = context.config, context.about
    n_layers = context.model.n_layers
    written = {split: openings(config, split) for split in ("validation", "test")}
    return {
        "steering": {
            **config.of(SteeringSettings).model_dump(mode="json"),
            "test_openings": reported_corpus(config),
            **{f"{split}_prompts": len(rows) for split, rows in written.items()},
        },
        "openings": [prompts_sha256(rows) for rows in (*written.values(), null_openings(config))],
        "layers": [steering_layers(config, n_layers), steering_layers(config, n_layers, raw=True)],
        "seed": config.seed,
        "judges": {name: judge_of(about.attribute, name, cache=False).version for name in about.attribute.judges},
        "metrics": about.attribute.metrics,
        "prompting": _asked(about),
        **_written_in(context),
    }


def _written_in(context: Context) -> dict[str, Any]:
    """The dtype of writing, where it is another than that of the capture, which has a key of its own; and another writer."""
    model = context.model
    if context.writer is not None:
        return {"writer": context.writer.identity(model)}
    return {} if model.writes in (None, model.dtype) else {"writing_dtype": str(model.writes)}


def _asked(about: Studied) -> dict[str, Any] | None:
    """What prompting arms ask with, the sentences shown among it."""
    phrases = about.attribute.prompting
    if phrases is None:
        return None
    return {**phrases.model_dump(mode="json"), "examples": {v: examples_for(v, phrases) for v in about.values}}


def run(context: Context, folder: SteeringFolder) -> None:
    """Choose on validation openings, write the test openings once, judge both."""
    config, model, s = context.config, context.model, context.config.of(SteeringSettings)
    writer = writing_model(model)
    about = context.about
    a, judge = about.attribute, about.judge
    directions = context.of(DirectionsFolder).chosen_set()
    store = context.of(CaptureFolder).store()
    of: dict[str, Any] = {"kind": directions.kind, "pooling": directions.pooling, "reference": about.reference}
    neutral = neutral_mean(store, **of)
    assert about.choose is not None
    first = first_token_mean(model, [p.text for p in load_prompts(about.choose, split="train")])
    vectors = _dressed(context, SteeringVectors.from_directions(directions), neutral, first)
    folder.save_vectors(vectors)
    common: dict[str, Any] = {
        "sampling": Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature),
        "seed": config.seed, "batch_rows": s.batch_rows, "engine": context.engine,
    }  # fmt: skip
    choosing = {**common, "samples": s.validation_samples or s.samples}

    def tried(name: str, prompts: Sequence[Prompt], arms: Sequence[Condition]) -> pd.DataFrame:
        return _scored(model, about, sweep(writer, prompts, arms, vectors, folder=folder.sweep(name), **choosing))

    arms, trial = steering_arms(config, model.n_layers), None
    if finds(config):
        values = looked_at(about.values)
        trial = found_places(
            config, model.n_layers, lambda name, rows, at: tried(name, rows, arms_at(config, at, values))
        )
        arms = [*arms_at(config, trial.places, about.values), *raw_arms(config, model.n_layers)]
    scored = tried("validation", openings(config, "validation"), arms)
    table = condition_table(scored, judge=judge, seed=config.seed)
    folder.validation.write(scored)
    folder.grid.write(_latest(table, () if trial is None else trial.tables))
    written = _latest(scored, () if trial is None else trial.scored)
    folder.doses.write(_doses(written[written["units"] == "norm"], about.values))
    bound = s.max_perplexity_ratio
    # The grid in raw units is shown, not chosen from: its controls could not be shared, nor compared at equal norm.
    # Nor are places that were tried on a few openings on the way.
    normed = table[table["units"] == "norm"]
    if s.share_places == "never":
        choices = [choose_condition(scored, e, judge=judge, budget=bound, table=normed) for e in about.values]
    else:
        slack = float("inf") if s.share_places == "always" else 1.0
        choices = choose_together(scored, about.values, judge=judge, budget=bound, slack=slack, table=normed)
    by_name = {arm.name: arm for arm in arms}
    chosen = {c.emotion: by_name[c.condition] for c in choices if c.condition is not None}
    names = {emotion: condition.name for emotion, condition in chosen.items()}
    absent = tuple(e for e in about.values if e not in chosen)
    folder.choice.write(
        Choice(
            objective=choices[0].objective,
            openings=len(openings(config, "validation")),
            chosen={e: c.to_json() for e, c in chosen.items()},
            none_within_bound=absent,
        )
    )
    folder.evaluators.write(Evaluators(rows=tuple(_evaluators(about))))
    trusted = judge_draft(about)
    claims = [trusted, *bound_claims(normed, absent, budget=bound)]
    if not chosen:
        folder.write_claims(corrected(claims))
        return
    if s.compare_prompts:
        _compare(context, folder, list(chosen.values()), vectors, choosing)

    n_random, n_shuffled = s.nulls(len(about.values))
    shuffled = shuffled_directions(store, count=n_shuffled, seed=config.seed, contrast=s.contrast, **of)
    every = [
        NONE,
        *shared_controls(
            list(chosen.values()),
            random=n_random,
            shuffled=list(shuffled),
            prompting=a.prompting is not None,
        ),
        *(half for condition in chosen.values() for half in taken_apart(condition).values()),
    ]
    everything = vectors.with_directions(shuffled).clear_of_first()
    drawn = [arm.kind in ("random", "shuffled") for arm in every]
    common |= {"samples": s.samples, "phrases": a.prompting}
    test, null = (
        sweep(
            writer, prompts, [arm for arm, is_null in zip(every, drawn, strict=True) if is_null == nothing], everything,
            folder=folder.sweep(name), **common,
        )
        for name, prompts, nothing in (
            ("test", openings(config, "test"), False), ("null", null_openings(config), True),
        )
    )  # fmt: skip
    # What a direction of nothing costs in fluency is not asked: only its effect is.
    scored = pd.concat([_scored(model, about, test), _scored(model, about, null, fluency=False)], ignore_index=True)
    folder.test.write(scored)
    folder.arms.write(
        condition_table(scored[~scored["kind"].isin(["random", "shuffled"])], judge=judge, seed=config.seed)
    )
    found = effects(scored, names, sides=a.metrics, judge=judge, seed=config.seed)
    folder.effects.write(found.table)
    folder.against.write(beside_controls(found.table, scored, sides=a.metrics, judge=judge))
    folder.matrix.write(effect_matrix(scored, names, a.labels, seed=config.seed))
    tokens = token_effects(scored, chosen, sides=a.metrics, judge=judge, seed=config.seed)
    if len(tokens):
        folder.tokens.write(tokens)
    folder.write_claims(
        corrected([*steering_claims(found, budget=bound, given=trusted.id), *token_claims(tokens), *claims])
    )


def _latest(last: pd.DataFrame, before: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows of every condition, from the last table that has it: those tried on more openings come later."""
    kept = last
    for table in reversed(before):
        kept = pd.concat([table[~table["condition"].isin(set(kept["condition"]))], kept], ignore_index=True)
    return kept


_DOSES = {"probability of the emotion": "p_{}", "VADER": "vader", "nats per token": "nats"}


def _doses(scored: pd.DataFrame, emotions: Sequence[str]) -> pd.DataFrame:
    """Dose and response of every metric; where a sink acts alone (alpha 0), that stands at alpha 0, not unsteered text."""
    found = [
        dose_response(scored, emotion, column.format(emotion)).assign(metric=metric, emotion=emotion)
        for metric, column in _DOSES.items()
        for emotion in emotions
        if column.format(emotion) in scored
    ]
    every = pd.concat(found, ignore_index=True)
    return every.drop_duplicates(["metric", "emotion", "layers", "how", "alpha"], keep="last", ignore_index=True)


def _dressed(context: Context, vectors: SteeringVectors, neutral: Tensor, first: Tensor) -> SteeringVectors:
    """With the contrast that is asked for, with what clamps count from, and clear of the attention sink."""
    if context.config.of(SteeringSettings).contrast == "rest":
        vectors = vectors.against_rest(context.about.values, context.about.reference)
    return vectors.with_neutral(neutral).with_first(first).clear_of_first()


def _compare(
    context: Context, folder: SteeringFolder, chosen: list[Condition], own: SteeringVectors, common: dict[str, Any]
) -> None:
    """Every fitted direction set at the chosen places and strengths: equal norm, same openings, same draws."""
    config, fitted = context.config, context.of(DirectionsFolder)
    # Directions of other site kinds are not in the residual stream, where the injection is.
    sets = {pair: fitted.load_set(set_name(".".join(pair))) for pair in possible_settings(config).pairs()}
    arms, of = [NONE], {}
    for pair in sets:
        for condition in chosen:
            key = f"{'.'.join(pair)} {condition.emotion}"
            arms.append(replace(condition, name=key, direction=key))
            of[key] = pair
    assert own.neutral is not None
    assert own.first is not None
    vectors = replace(own, unit={}, lengths={})
    for pair, found in sets.items():
        raw = {label: found.vectors[i] for i, label in enumerate(found.labels)}
        part = _dressed(context, SteeringVectors.from_raw(raw, own.norms), own.neutral, own.first)
        vectors = replace(
            vectors, unit={**vectors.unit, **{f"{'.'.join(pair)} {k}": rows for k, rows in part.unit.items()}}
        )
    rows = openings(config, "validation", config.of(SteeringSettings).compare_prompts)
    written = sweep(writing_model(context.model), rows, arms, vectors, folder=folder.sweep("comparison"), **common)
    table = condition_table(_scored(context.model, context.about, written), judge=context.about.judge, seed=config.seed)
    table = table[table["kind"] == "emotion"].reset_index(drop=True)
    extractors, poolings = zip(*(of[name] for name in table["condition"]), strict=True)
    folder.comparison.write(table.assign(extractor=extractors, pooling=poolings))


def _scored(model: LanguageModel, about: Studied, table: pd.DataFrame, *, fluency: bool = True) -> pd.DataFrame:
    return score_sweep(table, judges_of(about.attribute), Fluency(model) if fluency else None)


def _evaluators(about: Studied) -> list[dict[str, Any]]:
    """Each judge's accuracy on labelled held-out text, where there is any, shown beside the scores it gives."""
    a = about.attribute
    judges = [judge for judge in judges_of(a) if labelled_text(judge.axis, a) is not None]
    return [v.model_dump(mode="json") for judge in judges for v in validate_on_bundled(judge, a)]
