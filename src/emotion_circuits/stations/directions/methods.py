"""How directions were fitted and judged, in sentences for a paper."""

from __future__ import annotations

from typing import Any

from emotion_circuits.language import N_, say
from emotion_circuits.stations.directions.folder import DirectionsFolder
from emotion_circuits.stations.directions.settings import DirectionsSettings

__all__ = ["FITTED", "methods"]

FITTED = {
    "mean_difference": N_("the difference of means [@marks2024; @turner2023]"),
    "token": N_("the difference of means at the words that name the value"),
    "paired": N_("the mean difference within groups"),
    "pca": N_("the first principal axis of paired differences [@zou2023]"),
    "denoised": N_("the difference of means without the leading principal components of neutral states"),
    "lda": N_("linear discriminants with a shrunk covariance [@fisher1936; @ledoit2004]"),
    "logistic": N_("multinomial logistic regression [@pedregosa2011]"),
}
"""Extractors in words."""


def methods(folder: DirectionsFolder, manifest: dict[str, Any]) -> tuple[str, ...]:
    """Ways of fitting, the choice, what stands beside the figures."""
    own, choice = DirectionsSettings.model_validate(manifest["config"]["directions"]), folder.choice.read()
    return (
        say(
            "One direction per value and layer was fitted by {extractors}.",
            extractors=say("; ").join(say(FITTED[name]) if name in FITTED else name for name in own.extractors),
        ),
        say(
            "Direction set and layer were chosen on validation sentences ({set}, layer {layer}), and so was a reader that "
            "averages the scores of {members} of them.",
            set=choice.single, layer=choice.layer, members=len(choice.reader),
        ),
        say(
            "Beside every figure stand {draws} repetitions on labels shuffled within groups, random directions, and a "
            "baseline that knows words alone (word and character n-grams, and the model's static word embeddings), tuned "
            "like the reader on the same sentences.",
            draws=own.null_draws,
        ),
    )  # fmt: skip
