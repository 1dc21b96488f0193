"""Models whose truth is known, and what the instrument finds on them."""

from emotion_circuits.planted.calibration import calibrate, difficulty_curve
from emotion_circuits.planted.generators import GENERATORS, generators_of
from emotion_circuits.planted.models import Generator, PlantedModel, RejectedError
from emotion_circuits.planted.records import (
    Best,
    Calibration,
    ChosenMethod,
    DifficultyPoint,
    FalseClaims,
    GeneratorRecord,
    MethodRecord,
    Rate,
)
from emotion_circuits.planted.spec import PlantedSpec
from emotion_circuits.planted.staged import plant

__all__ = [
    "GENERATORS",
    "Best",
    "Calibration",
    "ChosenMethod",
    "DifficultyPoint",
    "FalseClaims",
    "Generator",
    "GeneratorRecord",
    "MethodRecord",
    "PlantedModel",
    "PlantedSpec",
    "Rate",
    "RejectedError",
    "calibrate",
    "difficulty_curve",
    "generators_of",
    "plant",
]
