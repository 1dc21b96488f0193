"""What the steering station leaves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from emotion_circuits.evaluation.blind import BlindKey
from emotion_circuits.record.folder import CHOICE, JsonFile, StationFolder, TableFile
from emotion_circuits.record.notes import is_there
from emotion_circuits.stations.steering import tables

if TYPE_CHECKING:
    from emotion_circuits.steering import Condition, LabelledRows, SteeringVectors

__all__ = ["Choice", "Evaluators", "Labels", "SteeringFolder"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Choice(_Record):
    """What was chosen on validation openings.

    Attributes:
        objective: what was made largest.
        openings: on how many.
        chosen: per emotion the condition's fields, see :class:`emotion_circuits.steering.Condition`.
        none_within_bound: emotions for which no condition was within the bound.
        source: where the directions are from, ``sentences`` or ``replies``.
        unwritten: emotions that the model, asked for them, wrote too few replies of, with how many came out.
    """

    objective: str
    openings: int
    chosen: dict[str, dict[str, Any]]
    none_within_bound: tuple[str, ...]
    source: Literal["sentences", "replies"] = "sentences"
    unwritten: dict[str, int] = {}

    def conditions(self) -> dict[str, Condition]:
        """The chosen condition of each emotion that has one."""
        from emotion_circuits.steering import Condition

        return {emotion: Condition.from_json(fields) for emotion, fields in self.chosen.items()}


class Evaluators(_Record):
    """How good the evaluators are.

    Attributes:
        rows: one per evaluator and labelled set, see :class:`emotion_circuits.evaluation.base.Validation`.
    """

    rows: tuple[dict[str, Any], ...]


class Labels(_Record):
    """What a person said of the blind sample.

    Attributes:
        given: label by id.
    """

    given: dict[str, str]


class SteeringFolder(StationFolder):
    """Tables of the choice and of the test, the vectors as they were injected, and the sweeps' folders.

    ``blind``, ``labels`` and ``labelled`` come from a person, after the run (:mod:`emotion_circuits.stations.steering.blind`).
    """

    station = "steering"
    validation = TableFile(tables.VALIDATION)
    grid = TableFile(tables.GRID)
    sources = TableFile(tables.SOURCES)
    replies = TableFile(tables.REPLIES)
    doses = TableFile(tables.DOSES)
    comparison = TableFile(tables.COMPARISON)
    test = TableFile(tables.TEST)
    arms = TableFile(tables.ARMS)
    effects = TableFile(tables.EFFECTS)
    tokens = TableFile(tables.TOKENS)
    against = TableFile(tables.AGAINST)
    matrix = TableFile(tables.MATRIX)
    labelled = TableFile(tables.LABELLED)
    choice = JsonFile(CHOICE, Choice)
    evaluators = JsonFile("evaluators.json", Evaluators)
    blind = JsonFile("blind.json", BlindKey)
    labels = JsonFile("labels.json", Labels)

    def sweep(self, name: str) -> Path:
        """Folder of a sweep: ``validation``, ``comparison``, ``test``, ``null``, or of chat ``replies 0`` and so on."""
        return self.path / name

    @property
    def _replies(self) -> Path:
        return self.path / "replies.safetensors"

    def save_replies(self, rows: LabelledRows) -> None:
        """Keep the states of the replies that directions were fitted on."""
        rows.save(self._replies)

    def reply_rows(self) -> LabelledRows:
        """The states of the replies that directions were fitted on.

        Raises:
            EmotionCircuitsError: they are damaged, or were changed, or are gone.
        """
        from emotion_circuits.steering import LabelledRows

        return LabelledRows.load(self._replies)

    @property
    def _vectors(self) -> Path:
        return self.path / "vectors.safetensors"

    def save_vectors(self, vectors: SteeringVectors) -> None:
        """Keep the directions as they are injected."""
        vectors.save(self._vectors)

    def vectors(self) -> SteeringVectors | None:
        """The directions as they were injected; ``None`` where the station has not come so far.

        Raises:
            EmotionCircuitsError: they are damaged, or were changed, or are gone.
        """
        from emotion_circuits.steering import SteeringVectors

        return SteeringVectors.load(self._vectors) if is_there(self._vectors) else None
