"""Run the model over the study's sentences."""

from __future__ import annotations

from typing import Any

from emotion_circuits.activations import capture, left_out
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import weights_sha256
from emotion_circuits.prompts import Prompt, load_prompts, prompts_sha256
from emotion_circuits.record.settings import StudySettings
from emotion_circuits.record.station import Context
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.capture.folder import CaptureFolder
from emotion_circuits.stations.capture.settings import CaptureSettings

__all__ = ["inputs", "run", "study_prompts"]


def study_prompts(config: StudySettings) -> list[Prompt]:
    """The sentences of a study: its corpora, restricted to its values and the reference.

    Raises:
        EmotionCircuitsError: a label without sentences in a split: nothing could be fitted, chosen or reported.
    """
    about = studied(config)
    rows = load_prompts(about.fit, labels=about.labels)
    for split, named in (("train", "training"), ("validation", "validation"), ("test", "test")):
        present = {row.label for row in rows if row.split == split}
        if missing := [label for label in about.labels if label not in present]:
            raise EmotionCircuitsError(
                f"prompts {', '.join(about.fit)}: no {named} sentence is labelled {', '.join(missing)}; add some"
            )
    return rows


def inputs(context: Context) -> dict[str, Any]:
    """The settings, the model's weights and the sentences."""
    model = context.model
    return {
        "capture": context.config.of(CaptureSettings).model_dump(mode="json"),
        "model": [model.name, model.revision, weights_sha256(model), str(model.dtype), model.device.type],
        "prompts": prompts_sha256(study_prompts(context.config)),
    }


def run(context: Context, folder: CaptureFolder) -> None:
    """Capture, or go on with an interrupted capture."""
    own = context.config.of(CaptureSettings)
    store = capture(
        context.model,
        study_prompts(context.config),
        folder.path,
        kinds=own.kinds,
        pooling=own.poolings,
        batch_tokens=own.batch_tokens,
        reference=context.about.reference,
        engine=context.engine,
    )
    folder.sinks.write(left_out(store))
