"""What writing and judging steered texts costs; an upper bound, since a text may end early and a reply not come out as asked."""

from __future__ import annotations

from dataclasses import replace

from emotion_circuits.model import Blueprint
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.speed import BATCH_TOKENS, Speed, token_ids
from emotion_circuits.record.station import Estimate
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.directions.settings import possible_settings
from emotion_circuits.stations.steering.finding import (
    LINES_KEPT,
    PLACES_KEPT,
    REFINED,
    SCREENED,
    WEAKER,
    finds,
    looked_at,
    screened_places,
)
from emotion_circuits.stations.steering.plan import (
    arms_at,
    fitted_on,
    null_openings,
    openings,
    raw_arms,
    steering_arms,
    ways_of_asking,
)
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.steering import Condition, shared_controls, taken_apart

__all__ = ["estimate", "writing"]

_TEMPLATE = 16
"""Tokens that a chat template adds to a request, about: a model's blueprint does not render."""


def estimate(config: StudySettings, model: Blueprint, speed: Speed) -> Estimate:
    """Tokens, seconds and bytes of the station, see :mod:`emotion_circuits.record.speed`."""
    s, emotions = config.of(SteeringSettings), studied(config).values
    grid, looking = steering_arms(config, model.n_layers), {}
    if finds(config):
        first, values = screened_places(config, model.n_layers), looked_at(emotions)
        grid = [*arms_at(config, first[: PLACES_KEPT * len(WEAKER)], emotions), *raw_arms(config, model.n_layers)]
        looking = {
            "screen": (1 + len(first) * len(values), SCREENED * (s.validation_samples or s.samples), 1.0),
            "refine": (1 + 2 * LINES_KEPT * len(values), REFINED * (s.validation_samples or s.samples), 1.0),
        }
    # Which conditions win is not known yet: one place for all emotions, or two among them, or one each.
    places = [arm for arm in grid if arm.emotion == emotions[0] and arm.units == "norm"]
    chosen: list[Condition] = []
    for k, emotion in enumerate(emotions):
        at = {"always": 0, "equal": min(k, 1), "never": k}[s.share_places]
        like = places[at % len(places)]
        chosen.append(replace(like, emotion=emotion, name=f"{emotion} chosen"))
    n_random, n_shuffled = s.nulls(len(chosen))
    shuffled = [f"shuffled {i}" for i in range(n_shuffled)]
    controls = shared_controls(chosen, random=n_random, shuffled=shuffled)
    null = sum(arm.kind in ("random", "shuffled") for arm in controls)
    arms = 1 + len(controls) - null + sum(len(taken_apart(condition)) for condition in chosen)
    compared = 1 + len(possible_settings(config).pairs()) * len(emotions) if s.compare_prompts else 0
    choosing = s.validation_samples or s.samples
    parts = {
        **looking,
        "validation": (len(grid), len(openings(config, "validation")) * choosing, 1.0),
        "test": (arms, len(openings(config, "test")) * s.samples, 1.0),
        # Their fluency is not read.
        "null": (null, len(null_openings(config)) * s.samples, 0.0),
        "comparison": (compared, s.compare_prompts * choosing, 1.0),
    }
    states = 0
    if s.chat:
        # Every source is tried by itself.
        tried = {name: part for name, part in parts.items() if name in ("screen", "refine", "validation")}
        parts |= {f"{name} {source}": part for source in s.source_names[1:] for name, part in tried.items()}
        if "replies" in s.source_names:
            asked = len(fitted_on(config)) * s.reply_samples
            parts["replies"] = (ways_of_asking(config) * len(studied(config).labels), asked, 1.0)
            states = parts["replies"][0] * asked * model.n_layers * model.d_model * 8
    texts = [p.text for p in (*openings(config, "validation"), *openings(config, "test"))]
    opening = sum(map(len, token_ids(model, texts))) / len(texts) + (_TEMPLATE if s.chat else 0)
    tokens = seconds = size = 0.0
    for count, texts_each, judged in parts.values():
        part = writing(count * texts_each, opening, s, speed, judged=judged)
        tokens, seconds, size = tokens + part.tokens, seconds + part.seconds, size + part.bytes
    vectors = (len(emotions) + 2) * model.n_layers * model.d_model * 4
    return Estimate(round(tokens), seconds, round(size + vectors + states + 260_000))


def writing(rows: int, opening: float, s: SteeringSettings, speed: Speed, *, judged: float = 1.0) -> Estimate:
    """What it costs to write so many texts and to judge them.

    Args:
        rows: texts.
        opening: tokens of an opening, on average.
        s: how they are written.
        speed: of the machine.
        judged: share of the texts whose fluency is read.
    """
    read = rows * judged * s.max_new_tokens
    seconds = speed.decode(rows, s.batch_rows, s.max_new_tokens) + speed.forward(rows * opening, rows / s.batch_rows)
    seconds += speed.forward(read, read / BATCH_TOKENS) + read * (speed.unembed + speed.choose)
    # Judging a text, and its share of the bootstrap tables.
    seconds += rows * 4e-3 * speed.host
    return Estimate(rows * (opening + s.max_new_tokens) + read, seconds, rows * 190)
