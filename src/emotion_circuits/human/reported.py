"""What people read in a run's texts, as the run's report tells it: beside its own claims, under the same questions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.analysing import ANALYSIS, Analysis
from emotion_circuits.human.page import read_by_people
from emotion_circuits.human.records import Study, open_study, sha256
from emotion_circuits.human.words import ASPECTS, KINDS
from emotion_circuits.report.study_page import Further
from emotion_circuits.sealing import read_sealed
from emotion_circuits.stations.steering.folder import SteeringFolder

__all__ = ["people_of", "study_in"]


def study_in(run: Path) -> Path | None:
    """The analysed study of people in a run's own folder, where there is one."""
    own = run / "human"
    return own if (own / ANALYSIS).is_file() else None


def people_of(run: Path, study: Path) -> Further:
    """The claims and sections of a study of people, for the report of the run whose texts they read.

    Args:
        run: folder of a finished run.
        study: folder of a study that was analysed.

    Raises:
        EmotionCircuitsError: no study there, or not analysed yet; or its texts are not this run's.
    """
    opened = open_study(study)
    remedy = f"emotion-circuits human analyse {study}"
    if not (study / ANALYSIS).is_file():
        raise EmotionCircuitsError(f"{study}: its ratings were not analysed yet: {remedy}")
    found = Analysis.model_validate(read_sealed(study / ANALYSIS, remedy))
    _refuse_other_texts(run, study, opened)
    return Further(found.claims, KINDS, ASPECTS, partial(read_by_people, found))


def _refuse_other_texts(run: Path, study: Path, opened: Study) -> None:
    # By the texts, not by the folder's name: a run may have been moved, or steered anew since.
    folder = SteeringFolder.of(run)
    own = {sha256(str(text)) for text in folder.test.read()["text"]} if folder.test.exists() else set()
    strange = [source for source in opened.key.texts.values() if source.arm != "tuned" and source.sha256 not in own]
    if strange:
        raise EmotionCircuitsError(
            f"{study}: {len(strange)} of its {len(opened.key.texts)} texts are not among those that {run} wrote; it was made of "
            f"{opened.key.run}"
        )
