"""What a study asks for: profiles, YAML files and overrides, checked before any model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from emotion_circuits.directions import EXTRACTORS
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.prompts import load_attribute
from emotion_circuits.prompts.attribute import DEFAULT_ATTRIBUTE
from emotion_circuits.prompts.loading import explain

__all__ = [
    "PROFILES",
    "CaptureConfig",
    "CircuitsConfig",
    "DirectionsConfig",
    "SteeringConfig",
    "StudyConfig",
    "TraceConfig",
    "load_config",
]


Pooling = Literal["last", "emotion", "mean", "weighted", "frame"]
ResidualKind = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]


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

    kinds: tuple[ResidualKind, ...] = ("resid_post",)
    poolings: tuple[Pooling, ...] = ("last", "emotion", "mean", "frame")
    batch_tokens: int = Field(default=1024, ge=16)


class DirectionsConfig(_Section):
    """How directions are fitted.

    Attributes:
        extractors: fitted on every pooling (``token`` on pooling ``emotion`` only); the best on validation is reported.
        poolings: states they are fitted on. Pooling ``emotion`` gives the token-based directions.
        kinds: captured site kinds at which they are fitted; the residual stream leaving each block by default.
        reading: extractors that compete for the reader of new texts.
        steering: ``extractor.pooling`` of the directions that steer.
        geometry: cosines with intervals at the chosen layer of each extractor, or at ``all`` layers (slow for probes);
            the steering directions get all layers always.
        null_draws: label shuffles and random directions beside each figure.
    """

    extractors: tuple[str, ...] = ("mean_difference", "token", "paired", "pca", "denoised", "lda", "logistic")
    poolings: tuple[Pooling, ...] = ("last", "emotion", "mean", "frame")
    kinds: tuple[ResidualKind, ...] = ("resid_post",)
    reading: tuple[str, ...] = ("mean_difference", "lda")
    steering: str = "mean_difference.mean"
    geometry: Literal["chosen", "all"] = "chosen"
    null_draws: int = Field(default=20, ge=2)

    @field_validator("extractors", "reading")
    @classmethod
    def _known(cls, extractors: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [e for e in extractors if e not in EXTRACTORS]
        if unknown or not extractors:
            raise ValueError(f"unknown: {', '.join(unknown) or 'none given'}; choose from {', '.join(EXTRACTORS)}")
        return extractors

    def pairs(self) -> list[tuple[str, str]]:
        """Every extractor with every pooling it can be fitted on."""
        return [(e, p) for e in self.extractors for p in self.poolings if e != "token" or p == "emotion"]


class TraceConfig(_Section):
    """What is traced: who writes an emotion at the last token, who looks at its words, who reads it.

    Attributes:
        directions: ``extractor.pooling`` of the directions traced, at their best layer on validation.
        set: corpus whose sentences are averaged (needs marked emotion words for attention); null: the attribute's.
        groups: groups of sentences per split; components are chosen on validation and reported on test.
        null_draws: directions of shuffled labels beside the real one.
        top: components claimed per emotion and question.
        text: a sentence that is traced alone and drawn; by default the first test sentence of the first emotion.
    """

    directions: str = "mean_difference.last"
    set: str | None = None
    groups: int = Field(default=24, ge=8)
    null_draws: int = Field(default=10, ge=2)
    top: int = Field(default=3, ge=1)
    text: str | None = None


Depth = Annotated[float, Field(ge=0)]


class SteeringConfig(_Section):
    """Which conditions are written and how many texts each.

    Attributes:
        layers: relative depths in [0, 1) or layer numbers (whole numbers of 1 or more) to steer at. A list inside the
            list is a group of layers that are steered together, each with the whole alpha.
        alphas: strengths as a fraction of the layer's residual norm.
        contrast: directions of the emotion minus ``neutral``, or minus the ``rest`` (the mean of all other labels), which
            leaves out what all emotions share.
        operation: ``add`` the direction, or ``clamp`` the projection on it: alpha is then where it is held, counted from
            the mean of neutral sentences. Neither touches the first token.
        sink: with ``add``: strengths at the first token, as fractions of its own length. That token is an attention
            sink; what is added to it reaches every later token at little cost in fluency.
        raw_layers: layers of a second grid in raw units, ``residual += alpha * emotion_vector``; none by default.
        raw_alphas: its strengths.
        share_places: ``always``: emotions take one place and strength that is within the bound for all of them, where
            there is one, and so share its random directions; ``equal``: only where it cannot be told from their best
            one; ``never``: each emotion takes its own best.
        validation_prompts: openings on which place and strength are chosen; beyond the validation split's they come
            from the train split, since nothing is fitted on openings.
        test_prompts: openings on which the choice is reported.
        test_openings: corpus whose test split they come from; null: the attribute's; ``held``: its held ones.
        samples: texts per opening and condition.
        validation_samples: the same where conditions are chosen and direction sets compared; null: ``samples``. A large
            grid is chosen from well enough with one.
        random_directions: random directions of the same norm beside each chosen condition.
        shuffled_directions: directions fitted on shuffled labels beside each chosen condition.
        compare_prompts: openings (chosen like ``validation_prompts``) on which all fitted direction sets and raw-unit
            strengths are compared at the chosen place; 0 leaves the comparison out.
        max_new_tokens: length of a continuation.
        temperature: sampling temperature; 0 is greedy.
        max_perplexity_ratio: fluency bound of the choice.
        batch_rows: rows written at once (memory); on a CPU several such batches are written beside one another.
    """

    layers: tuple[Depth | tuple[Depth, ...], ...] = (0.55,)
    contrast: Literal["neutral", "rest"] = "rest"
    operation: Literal["add", "clamp"] = "add"
    sink: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.05,)
    alphas: tuple[float, ...] = (0.1,)
    raw_layers: tuple[Depth | tuple[Depth, ...], ...] = ()
    raw_alphas: tuple[float, ...] = (-2, -1, -0.5, 0.5, 1, 2)
    share_places: Literal["always", "equal", "never"] = "always"
    validation_prompts: int = Field(default=62, ge=2)
    test_prompts: int = Field(default=36, ge=2)
    test_openings: str | None = None
    samples: int = Field(default=1, ge=1)
    validation_samples: int | None = Field(default=None, ge=1)
    random_directions: int = Field(default=20, ge=1)
    shuffled_directions: int = Field(default=0, ge=0)
    compare_prompts: int = Field(default=0, ge=0)
    max_new_tokens: int = Field(default=20, ge=1)
    temperature: float = Field(default=0.7, ge=0)
    max_perplexity_ratio: float = Field(default=1.5, gt=1)
    batch_rows: int = Field(default=128, ge=1)

    @field_validator("layers", "raw_layers")
    @classmethod
    def _depths(cls, layers: tuple[Any, ...]) -> tuple[Any, ...]:
        for group in layers:
            for layer in group if isinstance(group, tuple) else (group,):
                if layer >= 1 and layer != int(layer):
                    raise ValueError(f"{layer}: give a relative depth in [0, 1) or a whole layer number")
            if isinstance(group, tuple) and not group:
                raise ValueError("an empty group of layers")
        return layers

    @model_validator(mode="after")
    def _sink_is_added_to(self) -> SteeringConfig:
        if not self.sink or (self.operation != "add" and any(self.sink)):
            raise ValueError("sink: give at least one strength, and only 0 with operation 'clamp'")
        return self

    @field_validator("alphas")
    @classmethod
    def _positive(cls, alphas: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        least = 0 if any(info.data.get("sink", ())) else 1e-9
        if not alphas or any(not least <= a <= 4 for a in alphas):
            raise ValueError(
                "alphas are fractions of the residual norm above 0 and at most 4 (useful: 0.05 to 0.4); 0 where 'sink' acts"
            )
        return alphas


class CircuitsConfig(_Section):
    """How heads are screened and circuits are sought, on minimal pairs.

    Attributes:
        pairs: bundled set or JSONL file of minimal pairs; null: the attribute's.
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

    pairs: str | None = None
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
        attribute: what is studied: a bundled attribute or a YAML file. What follows of corpora and values is the
            attribute's where it is null.
        prompts: corpora (bundled names or JSONL files) directions are fitted and tested on.
        continuations: corpus of neutral openings.
        emotions: which of the attribute's values are studied, in this order.
        seed: fixes everything that is drawn.
        capture: see :class:`CaptureConfig`.
        directions: see :class:`DirectionsConfig`.
        steering: see :class:`SteeringConfig`.
        trace: see :class:`TraceConfig`.
        circuits: see :class:`CircuitsConfig`.
    """

    model: str = "smollm2-135m"
    revision: str | None = None
    device: str | None = None
    dtype: Literal["float32", "bfloat16", "float16", "float64"] | None = None
    attribute: str = DEFAULT_ATTRIBUTE
    prompts: tuple[str, ...] | None = None
    continuations: str | None = None
    emotions: tuple[str, ...] | None = None
    seed: int = Field(default=0, ge=0)
    capture: CaptureConfig = CaptureConfig()
    directions: DirectionsConfig = DirectionsConfig()
    steering: SteeringConfig = SteeringConfig()
    trace: TraceConfig = TraceConfig()
    circuits: CircuitsConfig = CircuitsConfig()

    @model_validator(mode="after")
    def _poolings_captured(self) -> StudyConfig:
        missing = set(self.directions.poolings) - set(self.capture.poolings)
        fitted = self.directions.pairs()
        for key, name in (
            ("directions.steering", self.directions.steering),
            ("trace.directions", self.trace.directions),
        ):
            extractor, _, pooling = name.partition(".")
            if (extractor, pooling) not in fitted:
                known = ", ".join(f"{e}.{p}" for e, p in fitted)
                raise ValueError(f"{key}: {name!r} is not EXTRACTOR.POOLING of what is fitted ({known})")
        if missing:
            raise ValueError(
                f"directions.poolings: {', '.join(sorted(missing))} not among capture.poolings "
                f"({', '.join(self.capture.poolings)})"
            )
        absent = set(self.directions.kinds) - set(self.capture.kinds)
        if absent or "resid_post" not in self.directions.kinds:
            raise ValueError(
                f"directions.kinds: {', '.join(self.directions.kinds)} must hold resid_post and be among capture.kinds "
                f"({', '.join(self.capture.kinds)})"
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
    "plan": {
        # The research plan's grid, in its raw units and beside them in normalised ones; seven strengths with 0.
        "steering": {
            "layers": (3, 5, 7, 9, 11),
            "contrast": "neutral",
            "sink": (0.0,),
            "alphas": (0.05, 0.1, 0.2, 0.4),
            "raw_layers": (3, 5, 7, 9, 11),
            "raw_alphas": (-2, -1, -0.5, 0.5, 1, 2),
            "share_places": "equal",
        },
    },
    "baseline": {
        "capture": {"kinds": ("resid_post", "mlp_out")},
        "directions": {"null_draws": 100, "geometry": "all", "kinds": ("resid_post", "mlp_out")},
        "trace": {"null_draws": 20, "groups": 34},
        "steering": {
            "layers": (0.52, 0.55),
            "sink": (0.03, 0.05, 0.08),
            "alphas": (0.1, 0.13),
            "test_openings": "held",
            "samples": 2,
            "share_places": "never",
            "validation_prompts": 62,
            "shuffled_directions": 20,
            "compare_prompts": 31,
        },
        "circuits": _BASELINE_CIRCUITS,
    },
    "extended": {
        "capture": {"kinds": ("resid_post", "mlp_out")},
        "directions": {"null_draws": 500, "geometry": "all", "kinds": ("resid_post", "mlp_out")},
        "trace": {"null_draws": 50, "groups": 34},
        "steering": {
            "layers": tuple(i / 10 for i in range(1, 10)),
            "sink": (0.0, 0.03, 0.05, 0.08, 0.12),
            "alphas": (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
            "raw_layers": (3, 5, 7, 9, 11),
            "share_places": "never",
            "validation_prompts": 62,
            "shuffled_directions": 20,
            "compare_prompts": 62,
            "samples": 4,
            "validation_samples": 1,
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
        EmotionCircuitsError: unknown profile, unreadable YAML, unknown keys or impossible values, each named; an attribute
            that cannot be read, or emotions that it does not have.
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
        config = StudyConfig.model_validate(values)
    except ValidationError as error:
        raise EmotionCircuitsError(f"{where}: " + "; ".join(explain(error, StudyConfig))) from error
    attribute = load_attribute(config.attribute)
    try:
        attribute.some(config.emotions)
    except EmotionCircuitsError as error:
        raise EmotionCircuitsError(f"{where}: emotions: {error}") from error
    return config


def _deep_merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in change.items():
        old = merged.get(key)
        merged[key] = _deep_merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
