"""Many studies and what they share: points, and stations that gather over them."""

from emotion_circuits.survey.config import SurveyConfig, load_survey, presets
from emotion_circuits.survey.points import Gathering, Point, gatherings, points_of
from emotion_circuits.survey.running import SurveyResult, run_survey

__all__ = [
    "Gathering",
    "Point",
    "SurveyConfig",
    "SurveyResult",
    "gatherings",
    "load_survey",
    "points_of",
    "presets",
    "run_survey",
]
