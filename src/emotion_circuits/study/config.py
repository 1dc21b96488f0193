"""What a study asks for: profiles, YAML files and overrides, checked before any model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts.loading import validation_messages
from emotion_circuits.prompts.schema import EMOTIONS

__all__ = [
    "PROFILES",
    "CaptureConfig",
    "CircuitsConfig",
    "DirectionsConfig",
    "SteeringConfig",
    "StudyConfig",
    "load_config",
]


Pooling = Literal["last", "emotion", "mean", "weighted", "frame"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CaptureConfig(_Section):
    """Which states are recorded.

    Attributes:
        kinds: residual-stream site kinds.
        poolings: ``last`` (sentence end), ``emotion`` (emotion words), ``mean``, ``weighted``, ``frame`` (the state after
            the words " I feel").
        batch_tokens: tokens per forward pass (memory).
    """

    kinds: tuple[Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"], ...] = (
        "resid_post",
        "mlp_out",
    )
    poolings: tuple[Pooling, ...] = ("last", "emotion", "mean", "frame")
    batch_tokens: int = Field(default=1024, ge=16)


class DirectionsConfig(_Section):
    """How directions are fitted.

    Attributes:
        extractors: fitted on every pooling; the best on validation reads texts.
        poolings: states they are fitted on. Pooling ``emotion`` gives the token-based directions.
        steering: ``extractor.pooling`` of the directions that steer.
        null_draws: label shuffles and random directions beside each figure.
    """

    extractors: tuple[str, ...] = ("mean_difference", "lda")
    poolings: tuple[Pooling, ...] = ("last", "emotion", "mean", "frame")
    steering: str = "mean_difference.mean"
    null_draws: int = Field(default=20, ge=2)


class SteeringConfig(_Section):
    """Which conditions are written and how many texts each.

    Attributes:
        layers: relative depths in (0, 1) or layer numbers (whole numbers of 1 or more) to steer at, one at a time.
        alphas: strengths as a fraction of the layer's residual norm.
        validation_prompts: openings on which layer and alpha are chosen.
        test_prompts: openings on which the choice is reported.
        samples: texts per opening and condition.
        random_directions: random directions of the same norm beside each chosen condition.
        max_new_tokens: length of a continuation.
        temperature: sampling temperature; 0 is greedy.
        max_perplexity_ratio: fluency bound of the choice.
        batch_rows: rows written at once (memory).
    """

    layers: tuple[float, ...] = (0.4, 0.5)
    alphas: tuple[float, ...] = (0.1, 0.2, 0.3)
    validation_prompts: int = Field(default=12, ge=2)
    test_prompts: int = Field(default=31, ge=2)
    samples: int = Field(default=1, ge=1)
    random_directions: int = Field(default=20, ge=1)
    max_new_tokens: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.7, ge=0)
    max_perplexity_ratio: float = Field(default=1.5, gt=1)
    batch_rows: int = Field(default=96, ge=1)

    @field_validator("layers")
    @classmethod
    def _depths(cls, layers: tuple[float, ...]) -> tuple[float, ...]:
        for layer in layers:
            if layer < 0 or (layer >= 1 and layer != int(layer)):
                raise ValueError(f"{layer}: give a relative depth in [0, 1) or a whole layer number")
        return layers

    @field_validator("alphas")
    @classmethod
    def _positive(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if not alphas or any(not 0 < a <= 4 for a in alphas):
            raise ValueError("alphas are fractions of the residual norm above 0 and at most 4 (useful: 0.05 to 0.4)")
        return alphas


class CircuitsConfig(_Section):
    """How heads are screened and circuits are sought, on minimal pairs.

    Attributes:
        pairs: bundled set or JSONL file of minimal pairs.
        train_pairs: at most so many train pairs, on which parts are scored.
        validation_pairs: at most so many validation pairs, on which the circuit's size is chosen.
        test_pairs: at most so many test pairs, on which everything is reported.
        steps: points of the integrated gradients.
        edge_pairs: train pairs on which edges are estimated.
        exact: so many of the strongest heads and MLPs (by attribution on train) are noised exactly; null: all of them.
        sizes: circuit sizes tried.
        n_random: random orderings beside the faithfulness curve.
        samples: random circuits of the chosen size.
        roles: of how many heads the role is estimated.
        thorough: also joint effects, completeness, minimality and weights.
        emotion_heads: heads per emotion for the comparison of emotions, and patched while generating.
        generation_prompts: neutral openings on which texts are written with patched heads; 0: none.
        max_new_tokens: length of these texts.
        batch_rows: rows run at once (memory).
    """

    pairs: str = "pairs"
    train_pairs: int = Field(default=48, ge=8)
    validation_pairs: int = Field(default=16, ge=4)
    test_pairs: int = Field(default=24, ge=4)
    steps: int = Field(default=2, ge=1)
    edge_pairs: int = Field(default=4, ge=1)
    exact: int | None = Field(default=10, ge=3)
    sizes: int = Field(default=5, ge=3)
    n_random: int = Field(default=2, ge=1)
    samples: int = Field(default=10, ge=2)
    roles: int = Field(default=0, ge=0)
    thorough: bool = False
    emotion_heads: int = Field(default=10, ge=1)
    generation_prompts: int = Field(default=0, ge=0)
    max_new_tokens: int = Field(default=20, ge=1)
    batch_rows: int = Field(default=256, ge=1)


class StudyConfig(_Section):
    """A whole study.

    Attributes:
        model: bundled name, hub id, folder or GGUF file.
        revision: hub revision.
        device: ``cpu``, ``cuda`` …; default: what there is.
        dtype: parameter dtype; default by device.
        prompts: corpora (bundled names or JSONL files) directions are fitted and tested on.
        continuations: corpus of neutral openings.
        emotions: which labels are studied (``neutral`` is always the reference).
        seed: fixes everything that is drawn.
        capture: see :class:`CaptureConfig`.
        directions: see :class:`DirectionsConfig`.
        steering: see :class:`SteeringConfig`.
        circuits: see :class:`CircuitsConfig`.
    """

    model: str = "smollm2-135m"
    revision: str | None = None
    device: str | None = None
    dtype: Literal["float32", "bfloat16", "float16", "float64"] | None = None
    prompts: tuple[str, ...] = ("core", "implicit", "scenarios")
    continuations: str = "continuations"
    emotions: tuple[str, ...] = EMOTIONS
    seed: int = Field(default=0, ge=0)
    capture: CaptureConfig = CaptureConfig()
    directions: DirectionsConfig = DirectionsConfig()
    steering: SteeringConfig = SteeringConfig()
    circuits: CircuitsConfig = CircuitsConfig()

    @field_validator("emotions")
    @classmethod
    def _some_emotions(cls, emotions: tuple[str, ...]) -> tuple[str, ...]:
        if not emotions or len(set(emotions)) != len(emotions) or "neutral" in emotions:
            raise ValueError("name at least one emotion, each once, and not 'neutral', which is the reference")
        return emotions

    @model_validator(mode="after")
    def _poolings_captured(self) -> StudyConfig:
        missing = set(self.directions.poolings) - set(self.capture.poolings)
        extractor, _, pooling = self.directions.steering.partition(".")
        if extractor not in self.directions.extractors or pooling not in self.directions.poolings:
            raise ValueError(
                f"directions.steering: {self.directions.steering!r} is not EXTRACTOR.POOLING of what is fitted "
                f"({', '.join(self.directions.extractors)} on {', '.join(self.directions.poolings)})"
            )
        if missing:
            raise ValueError(
                f"directions.poolings: {', '.join(sorted(missing))} not among capture.poolings "
                f"({', '.join(self.capture.poolings)})"
            )
        return self


_BASELINE_CIRCUITS: dict[str, Any] = {
    "train_pairs": 120,
    "validation_pairs": 54,
    "test_pairs": 54,
    "steps": 5,
    "edge_pairs": 16,
    "exact": None,
    "sizes": 12,
    "n_random": 5,
    "samples": 40,
    "roles": 12,
    "thorough": True,
    "generation_prompts": 16,
}

PROFILES: dict[str, dict[str, Any]] = {
    "quick": {},
    "baseline": {
        "directions": {"null_draws": 100, "extractors": ("mean_difference", "paired", "denoised", "lda", "logistic")},
        "steering": {
            "layers": (0.3, 0.4, 0.5, 0.6, 0.7),
            "alphas": (0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
            "validation_prompts": 16,
            "samples": 2,
        },
        "circuits": _BASELINE_CIRCUITS,
    },
    "extended": {
        "directions": {
            "null_draws": 500,
            "extractors": ("mean_difference", "paired", "pca", "denoised", "lda", "logistic"),
        },
        "steering": {
            "layers": tuple(i / 10 for i in range(1, 10)),
            "alphas": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4),
            "validation_prompts": 31,
            "samples": 4,
            "max_new_tokens": 30,
        },
        "circuits": {
            **_BASELINE_CIRCUITS,
            "train_pairs": 190,
            "steps": 10,
            "edge_pairs": 60,
            "n_random": 20,
            "samples": 100,
            "roles": 30,
            "generation_prompts": 31,
        },
    },
}
"""Differences from the defaults of :class:`StudyConfig`."""


def load_config(
    profile: str = "quick", *, file: Path | None = None, overrides: dict[str, Any] | None = None
) -> StudyConfig:
    """A profile, changed by a YAML file, changed by overrides (``{"steering.samples": 2}``).

    Raises:
        EmotionCircuitsError: unknown profile, unreadable YAML, unknown keys or impossible values, each named.
    """
    if profile not in PROFILES:
        raise EmotionCircuitsError(f"no profile {profile!r}; choose from {', '.join(PROFILES)}")
    values: dict[str, Any] = _deep_merge({}, PROFILES[profile])
    where = f"profile {profile}"
    if file is not None:
        where = str(file)
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise EmotionCircuitsError(f"{file}: cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise EmotionCircuitsError(f"{file}: is not YAML: {error}") from error
        if content is not None and not isinstance(content, dict):
            raise EmotionCircuitsError(f"{file}: must hold keys and values, e.g. 'model: smollm2-135m'")
        values = _deep_merge(values, content or {})
    for key, value in (overrides or {}).items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = _deep_merge(values, nested)
    try:
        return StudyConfig.model_validate(values)
    except ValidationError as error:
        raise EmotionCircuitsError(f"{where}: " + "; ".join(_explain(error))) from error


def _explain(error: ValidationError) -> list[str]:
    messages = []
    for item, text in zip(error.errors(), validation_messages(error), strict=True):
        if item["type"] == "extra_forbidden":
            section: Any = StudyConfig
            for part in item["loc"][:-1]:
                section = section.model_fields[part].annotation
            text = f"{'.'.join(map(str, item['loc']))}: unknown key; known: {', '.join(section.model_fields)}"
        messages.append(text)
    return messages


def _deep_merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = _deep_merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
