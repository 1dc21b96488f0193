"""The steering stage: choose a condition on validation openings, report it on test openings beside its controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from emotion_circuits.directions import DirectionSet
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import EmotionClassifier, Fluency, VaderSentiment, evaluator
from emotion_circuits.evaluation.validating import validate_on_bundled
from emotion_circuits.model import LanguageModel, Sampling
from emotion_circuits.paths import replacing, write_json
from emotion_circuits.prompts import LABELS, Prompt, load_prompts, prompts_sha256
from emotion_circuits.steering import (
    NONE,
    Condition,
    SteeringVectors,
    choose_condition,
    condition_table,
    controls,
    effect_matrix,
    effects,
    grid,
    score_sweep,
    steering_claims,
    sweep,
)
from emotion_circuits.study.config import StudyConfig
from emotion_circuits.study.running import Context, Stage

__all__ = ["STEERING", "openings", "steering_layers"]


def steering_layers(config: StudyConfig, n_layers: int) -> tuple[int, ...]:
    """Layer numbers: relative depths become the nearest layer, whole numbers are taken as they are.

    Raises:
        EmotionCircuitsError: a layer the model does not have.
    """
    found = []
    for layer in config.steering.layers:
        number = round(layer * (n_layers - 1)) if layer < 1 else int(layer)
        if number >= n_layers:
            raise EmotionCircuitsError(
                f"steering.layers: {number} is not a layer of this model, which has 0 to {n_layers - 1}"
            )
        found.append(number)
    return tuple(dict.fromkeys(found))


def openings(config: StudyConfig, split: str) -> list[Prompt]:
    """The neutral openings of a split that this study uses.

    Raises:
        EmotionCircuitsError: the corpus has fewer than asked for.
    """
    wanted = config.steering.validation_prompts if split == "validation" else config.steering.test_prompts
    rows = load_prompts(config.continuations, split=split)
    if len(rows) < wanted:
        raise EmotionCircuitsError(
            f"steering.{split}_prompts: {wanted} asked for, {config.continuations} has {len(rows)} in its {split} split"
        )
    # Spread over the corpus, whose rows stand by kind.
    return [rows[i * len(rows) // wanted] for i in range(wanted)]


def _inputs(context: Context) -> dict[str, Any]:
    config = context.config
    judged = set(config.emotions) - set(LABELS)
    if judged:
        raise EmotionCircuitsError(
            f"emotions: the emotion classifier knows {', '.join(LABELS)}, not {', '.join(sorted(judged))}"
        )
    return {
        "steering": config.steering.model_dump(mode="json"),
        "openings": [prompts_sha256(openings(config, split)) for split in ("validation", "test")],
        "layers": list(steering_layers(config, context.model.n_layers)),
        "seed": config.seed,
        "classifier": EmotionClassifier().version,
    }


def _run(context: Context, folder: Path) -> None:
    config, model = context.config, context.model
    directions = _steering_set(context)
    vectors = SteeringVectors.from_directions(directions)
    s = config.steering
    sampling = Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature)
    common: dict[str, Any] = {
        "sampling": sampling, "samples": s.samples, "seed": config.seed, "batch_rows": s.batch_rows,
    }  # fmt: skip

    arms = grid(config.emotions, steering_layers(config, model.n_layers), s.alphas)
    written = sweep(model, openings(config, "validation"), arms, vectors, folder=folder / "validation", **common)
    scored = _scored(model, written)
    table = condition_table(scored, seed=config.seed)
    _write(scored, folder / "validation.parquet")
    _write(table, folder / "grid.parquet")
    choices = {e: choose_condition(scored, e, budget=s.max_perplexity_ratio, table=table) for e in config.emotions}
    chosen = {e: c.condition for e, c in choices.items() if c.condition is not None}
    by_name = {arm.name: arm for arm in arms}
    write_json(
        folder / "choice.json",
        {
            "objective": next(iter(choices.values())).objective,
            "chosen": {e: by_name[name].to_json() for e, name in chosen.items()},
            "none_within_bound": [e for e in config.emotions if e not in chosen],
        },
    )
    if not chosen:
        write_json(folder / "claims.json", [])
        return

    test_arms: list[Condition] = [NONE]
    for emotion, name in chosen.items():
        others = [other for other in config.emotions if other != emotion]
        test_arms += [by_name[name], *controls(by_name[name], random=s.random_directions, others=others)]
    test = sweep(model, openings(config, "test"), test_arms, vectors, folder=folder / "test", **common)
    # What a random direction costs in fluency is not asked: only its effect is.
    random = test["kind"] == "random"
    scored = pd.concat([_scored(model, test[~random]), _scored(model, test[random], fluency=False)], ignore_index=True)
    _write(scored, folder / "test.parquet")
    _write(condition_table(scored[scored["kind"] != "random"], seed=config.seed), folder / "arms.parquet")
    found = effects(scored, chosen, seed=config.seed)
    _write(found.table, folder / "effects.parquet")
    _write(effect_matrix(scored, chosen, seed=config.seed), folder / "matrix.parquet")
    write_json(folder / "claims.json", [claim.model_dump(mode="json") for claim in steering_claims(found)])
    write_json(folder / "evaluators.json", _evaluators())


def _steering_set(context: Context) -> DirectionSet:
    from emotion_circuits.study.stations import load_chosen_set

    return load_chosen_set(context.folder, "steering")


def _scored(model: LanguageModel, table: pd.DataFrame, *, fluency: bool = True) -> pd.DataFrame:
    judges = [evaluator("emotion"), evaluator("vader")]
    return score_sweep(table, judges, Fluency(model) if fluency else None)


def _evaluators() -> list[dict[str, Any]]:
    """Each evaluator's accuracy on labelled held-out text, shown beside the scores it gives."""
    found = [v for judge in (EmotionClassifier(), VaderSentiment()) for v in validate_on_bundled(judge)]
    return [v.model_dump(mode="json") for v in found]


def _write(frame: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary, index=False)


STEERING = Stage("steering", "Steering and its controls", 1, ("directions",), _inputs, _run)
