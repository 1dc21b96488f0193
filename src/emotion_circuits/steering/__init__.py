"""Injection into the residual stream: conditions, sweeps, and what they did to the text."""

from emotion_circuits.steering.apart import FIRST_ONLY, REST_ONLY, taken_apart, token_effects
from emotion_circuits.steering.conditions import NONE, Condition, check_conditions, controls, grid, shared_controls
from emotion_circuits.steering.contrasting import LabelledRows, shuffled_labels
from emotion_circuits.steering.effects import (
    Effects,
    beside_controls,
    dose_response,
    effect_matrix,
    effects,
    plain_loss,
)
from emotion_circuits.steering.injecting import interventions_for
from emotion_circuits.steering.labelled import labelled_shares
from emotion_circuits.steering.prompting import examples_for, few_shot_examples, prompted
from emotion_circuits.steering.scoring import BUDGET, REGIMES, condition_table, score_sweep
from emotion_circuits.steering.selecting import Choice, choose_condition, choose_together, pareto
from emotion_circuits.steering.sweeping import sweep
from emotion_circuits.steering.vectors import (
    SteeringVectors,
    first_token_mean,
    neutral_mean,
    random_direction,
    shuffled_directions,
    vectors_from_store,
)
from emotion_circuits.steering.view import SweepView

__all__ = [
    "BUDGET",
    "FIRST_ONLY",
    "NONE",
    "REGIMES",
    "REST_ONLY",
    "Choice",
    "Condition",
    "Effects",
    "LabelledRows",
    "SteeringVectors",
    "SweepView",
    "beside_controls",
    "check_conditions",
    "choose_condition",
    "choose_together",
    "condition_table",
    "controls",
    "dose_response",
    "effect_matrix",
    "effects",
    "examples_for",
    "few_shot_examples",
    "first_token_mean",
    "grid",
    "interventions_for",
    "labelled_shares",
    "neutral_mean",
    "pareto",
    "plain_loss",
    "prompted",
    "random_direction",
    "score_sweep",
    "shared_controls",
    "shuffled_directions",
    "shuffled_labels",
    "sweep",
    "taken_apart",
    "token_effects",
    "vectors_from_store",
]
