"""What the directions station can be asked."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from emotion_circuits.prompts import load_prompts
from emotion_circuits.record.settings import Pooling, ResidualKind, Settings, StudySettings
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.capture.settings import CaptureSettings

__all__ = ["DirectionsSettings", "check_fitted", "consistent"]


class DirectionsSettings(Settings):
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
        from emotion_circuits.directions import EXTRACTORS

        unknown = [e for e in extractors if e not in EXTRACTORS]
        if unknown or not extractors:
            raise ValueError(f"unknown: {', '.join(unknown) or 'none given'}; choose from {', '.join(EXTRACTORS)}")
        return extractors

    def pairs(self) -> list[tuple[str, str]]:
        """Every extractor with every pooling it can be fitted on."""
        return [(e, p) for e in self.extractors for p in self.poolings if e != "token" or p == "emotion"]


def unmarked(config: StudySettings) -> tuple[str, ...]:
    """Values of which no training sentence has marked words."""
    about = studied(config)
    marked = {p.label for p in load_prompts(about.fit, split="train", labels=about.values) if p.spans}
    return tuple(value for value in about.values if value not in marked)


def possible_settings(config: StudySettings) -> DirectionsSettings:
    """What can be fitted of what is asked for: nothing on emotion words where a value has none marked."""
    own = config.of(DirectionsSettings)
    if "emotion" not in own.poolings or not unmarked(config):
        return own
    return own.model_copy(update={"poolings": tuple(p for p in own.poolings if p != "emotion")})


def check_fitted(config: StudySettings, key: str, name: str) -> None:
    """Refuse a direction set, ``EXTRACTOR.POOLING``, that the directions station does not fit.

    Args:
        config: of the study.
        key: the setting that names it.
        name: of the set.
    """
    fitted = config.of(DirectionsSettings).pairs()
    extractor, _, pooling = name.partition(".")
    if (extractor, pooling) not in fitted:
        known = ", ".join(f"{e}.{p}" for e, p in fitted)
        raise ValueError(f"{key}: {name!r} is not EXTRACTOR.POOLING of what is fitted ({known})")


def consistent(config: StudySettings) -> None:
    """Refuse directions at states that are not captured, and a steering set that is not fitted."""
    own, captured = config.of(DirectionsSettings), config.of(CaptureSettings)
    check_fitted(config, "directions.steering", own.steering)
    missing = set(own.poolings) - set(captured.poolings)
    if missing:
        raise ValueError(
            f"directions.poolings: {', '.join(sorted(missing))} not among capture.poolings ({', '.join(captured.poolings)})"
        )
    if set(own.kinds) - set(captured.kinds) or "resid_post" not in own.kinds:
        raise ValueError(
            f"directions.kinds: {', '.join(own.kinds)} must hold resid_post and be among capture.kinds "
            f"({', '.join(captured.kinds)})"
        )
