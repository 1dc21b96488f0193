"""Models whose truth is known, and what the instrument finds on them."""

from emotion_circuits.planted.calibration import calibrate, difficulty_curve
from emotion_circuits.planted.models import PlantedModel, plant
from emotion_circuits.planted.records import Best, Calibration, DifficultyPoint, FalseClaims, MethodRecord, Rate
from emotion_circuits.planted.spec import PlantedSpec

__all__ = [
    "Best",
    "Calibration",
    "DifficultyPoint",
    "FalseClaims",
    "MethodRecord",
    "PlantedModel",
    "PlantedSpec",
    "Rate",
    "calibrate",
    "difficulty_curve",
    "plant",
]
