"""Named studies: differences from the default settings."""

from __future__ import annotations

from typing import Any

__all__ = ["PROFILES"]

_BASELINE_CIRCUITS: dict[str, Any] = {
    "train_pairs": 120,
    "validation_pairs": 54,
    "test_pairs": 54,
    "steps": 5,
    "edge_pairs": 16,
    "exact": None,
    "sizes": 12,
    "n_random": 5,
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
    "chat": {
        # Steering of chat alone: what sentences tell about directions, and replies of the length that a chat's are.
        "leave_out": ("trace", "circuits"),
        "steering": {"texts": "chat", "max_new_tokens": 40},
    },
    "baseline": {
        "capture": {"kinds": ("resid_post", "mlp_out")},
        "directions": {"null_draws": 100, "geometry": "all", "kinds": ("resid_post", "mlp_out")},
        "trace": {"null_draws": 500, "groups": 34},
        "steering": {
            "layers": (0.52, 0.55),
            "sink": (4.0, 6.0, 10.0),
            "alphas": (0.1, 0.13),
            "test_openings": "held",
            "samples": 2,
            "share_places": "never",
            "null_prompts": 18,
            "compare_prompts": 31,
        },
        "circuits": _BASELINE_CIRCUITS,
    },
    "extended": {
        "capture": {"kinds": ("resid_post", "mlp_out")},
        "directions": {"null_draws": 500, "geometry": "all", "kinds": ("resid_post", "mlp_out")},
        "trace": {"null_draws": 999, "groups": 34},
        "steering": {
            "layers": tuple(i / 10 for i in range(1, 10)),
            "sink": (0.0, 4.0, 6.0, 10.0, 15.0),
            "alphas": (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4),
            "raw_layers": (3, 5, 7, 9, 11),
            "share_places": "never",
            "null_prompts": 18,
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
            "samples": 199,
            "roles": 30,
            "generation_prompts": 31,
        },
    },
}
"""By name; ``quick`` is the defaults."""
