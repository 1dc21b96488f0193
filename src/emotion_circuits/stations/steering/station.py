"""Choose a condition on validation openings, report it on test openings beside its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Fluency, judge_of, judges_of, labelled_text, validate_on_bundled
from emotion_circuits.model import LanguageModel, Sampling
from emotion_circuits.prompts import Prompt, prompts_sha256
from emotion_circuits.record.station import Context
from emotion_circuits.record.studied import Studied
from emotion_circuits.stations.directions.folder import DirectionsFolder, set_name
from emotion_circuits.stations.directions.settings import possible_settings
from emotion_circuits.stations.steering.claims import bound_claims, steering_claims, token_claims
from emotion_circuits.stations.steering.finding import finds, found_places, looked_at
from emotion_circuits.stations.steering.folder import Choice, Evaluators, SteeringFolder
from emotion_circuits.stations.steering.judge import judge_draft
from emotion_circuits.stations.steering.plan import (
    arms_at,
    fitted_on,
    null_openings,
    openings,
    raw_arms,
    reported_corpus,
    steering_arms,
    steering_layers,
)
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.stations.steering.sources import (
    Source,
    Tried,
    best_of,
    dressed,
    null_rows,
    phrases_of,
    source_table,
    sources_of,
)
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
    score_sweep,
    shared_controls,
    sweep,
    taken_apart,
    token_effects,
)
from emotion_circuits.steering.replies import LEAST

__all__ = ["inputs", "run"]


_OF_CHAT = {"texts", "sources", "reply_samples"}
"""Settings that say nothing of openings."""


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the openings, the layers, the seed and the judges."""
    config, about, s = context.config, context.about, context.config.of(SteeringSettings)
    n_layers = context.model.n_layers
    written = {split: openings(config, split) for split in ("validation", "test")}
    return {
        "steering": {
            **s.model_dump(mode="json", exclude=None if s.chat else _OF_CHAT),
            "test_openings": reported_corpus(config),
            **{f"{split}_prompts": len(rows) for split, rows in written.items()},
        },
        "openings": [prompts_sha256(rows) for rows in (*written.values(), null_openings(config))],
        "layers": [steering_layers(config, n_layers), steering_layers(config, n_layers, raw=True)],
        "seed": config.seed,
        "judges": {name: judge_of(about.attribute, name, cache=False).version for name in about.attribute.judges},
        "metrics": about.attribute.metrics,
        "prompting": _asked(about),
        **_chat(context),
        **_written_in(context),
    }


def _chat(context: Context) -> dict[str, Any]:
    """Of chat, the instructions, the requests that replies are written to, and what of a reply is in its mean."""
    chat = context.about.attribute.chat
    if not context.config.of(SteeringSettings).chat or chat is None:
        return {}
    return {
        "chat": chat.model_dump(mode="json"),
        "requests": prompts_sha256(fitted_on(context.config)),
        "pooled": "all but sinks",
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
    about = context.about
    a, judge = about.attribute, about.judge
    common: dict[str, Any] = {
        "sampling": Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature),
        "seed": config.seed, "batch_rows": s.batch_rows, "engine": context.engine, "chat": s.chat,
    }  # fmt: skip
    choosing = {**common, "samples": s.validation_samples or s.samples}
    sources = sources_of(context, folder, common)
    every_source = [
        _tried(context, folder, source, choosing, f"{source.name} " if len(sources) > 1 else "")
        for source in sources
        if source.values
    ]
    if not every_source:
        raise EmotionCircuitsError(_nothing_written(sources[0]))
    taken = best_of(every_source, about.values)
    source, vectors = taken.source, taken.source.vectors
    folder.save_vectors(vectors)
    if s.chat:
        folder.sources.write(source_table(sources, every_source, about.values, taken))
    folder.validation.write(taken.scored)
    folder.grid.write(_latest(taken.table, taken.before[1]))
    written = _latest(taken.scored, taken.before[0])
    folder.doses.write(_doses(written[written["units"] == "norm"], source.values))
    bound = s.max_perplexity_ratio
    by_name = {arm.name: arm for arm in taken.arms}
    chosen = {c.emotion: by_name[c.condition] for c in taken.choices if c.condition is not None}
    names = {emotion: condition.name for emotion, condition in chosen.items()}
    absent = tuple(e for e in source.values if e not in chosen)
    folder.choice.write(
        Choice(
            objective=taken.choices[0].objective,
            openings=len(openings(config, "validation")),
            chosen={e: c.to_json() for e, c in chosen.items()},
            none_within_bound=absent,
            source=source.name,
            unwritten=_unwritten(source, about.values),
        )
    )
    folder.evaluators.write(Evaluators(rows=tuple(_evaluators(about))))
    trusted = judge_draft(about)
    normed = taken.table[taken.table["units"] == "norm"]
    claims = [trusted, *bound_claims(normed, absent, budget=bound)]
    if not chosen:
        folder.write_claims(corrected(claims))
        return
    if s.compare_prompts:
        _compare(context, folder, list(chosen.values()), vectors, choosing)

    n_random, n_shuffled = s.nulls(len(about.values))
    shuffled = null_rows(context, folder, source.name).shuffled(
        count=n_shuffled, seed=config.seed, contrast=s.contrast, reference=about.reference
    )
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
    common |= {"samples": s.samples, "phrases": phrases_of(context)}
    test, null = (
        sweep(
            model, prompts, [arm for arm, is_null in zip(every, drawn, strict=True) if is_null == nothing], everything,
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


def _tried(context: Context, folder: SteeringFolder, source: Source, choosing: dict[str, Any], called: str) -> Tried:
    """Places and strengths of one source on validation openings, and what would be chosen of them."""
    config, model, about = context.config, context.model, context.about
    s, judge, values = config.of(SteeringSettings), about.judge, source.values

    def tried(name: str, prompts: Sequence[Prompt], arms: Sequence[Condition]) -> pd.DataFrame:
        at = folder.sweep(f"{called}{name}")
        return _scored(model, about, sweep(model, prompts, arms, source.vectors, folder=at, **choosing))

    arms = [arm for arm in steering_arms(config, model.n_layers) if arm.emotion in (None, *values)]
    before: tuple[list[pd.DataFrame], list[pd.DataFrame]] = ([], [])
    if finds(config):
        some = looked_at(values)
        trial = found_places(
            config, model.n_layers, lambda name, rows, at: tried(name, rows, arms_at(config, at, some))
        )
        arms = [*arms_at(config, trial.places, values), *raw_arms(config, model.n_layers)]
        before = (trial.scored, trial.tables)
    scored = tried("validation", openings(config, "validation"), arms)
    table = condition_table(scored, judge=judge, seed=config.seed)
    # The grid in raw units is shown, not chosen from: its controls could not be shared, nor compared at equal norm.
    # Nor are places that were tried on a few openings on the way.
    normed, bound = table[table["units"] == "norm"], s.max_perplexity_ratio
    if s.share_places == "never":
        choices = [choose_condition(scored, e, judge=judge, budget=bound, table=normed) for e in values]
    else:
        slack = float("inf") if s.share_places == "always" else 1.0
        choices = choose_together(scored, values, judge=judge, budget=bound, slack=slack, table=normed)
    return Tried(source, arms, scored, table, choices, judge, before)


def _unwritten(source: Source, values: Sequence[str]) -> dict[str, int]:
    return {value: source.replies[value][1] for value in values if value not in source.values}


def _nothing_written(source: Source) -> str:
    came = ", ".join(f"{label} {count} of {asked}" for label, (asked, count) in source.replies.items())
    return (
        f"steering.sources: asked in words, the model wrote too few replies that the judge calls so ({came}; {LEAST} are needed, "
        "of the reference too); let directions come from sentences as well"
    )


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
    assert own.first is not None
    vectors = replace(own, unit={}, lengths={})
    for pair, found in sets.items():
        raw = {label: found.vectors[i] for i, label in enumerate(found.labels)}
        part = dressed(context, SteeringVectors.from_raw(raw, own.norms), context.about.values, own.first)
        vectors = replace(
            vectors, unit={**vectors.unit, **{f"{'.'.join(pair)} {k}": rows for k, rows in part.unit.items()}}
        )
    rows = openings(config, "validation", config.of(SteeringSettings).compare_prompts)
    written = sweep(context.model, rows, arms, vectors, folder=folder.sweep("comparison"), **common)
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
