"""What a study is about: its attribute, with the study's own settings put over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emotion_circuits.prompts import Attribute, load_attribute
from emotion_circuits.prompts.contrast import compared_with, labels_of
from emotion_circuits.record.settings import StudySettings

__all__ = ["Studied", "studied", "studied_in"]


@dataclass(frozen=True)
class Studied:
    """The values of a study and the texts that its stations share; what one station alone reads, it resolves itself.

    Attributes:
        attribute: what is studied, whole: judges know all of its labels.
        values: those that are studied.
        fit: corpora directions are fitted and tested on.
        choose: openings on which conditions are chosen; ``None`` where there are none.
    """

    attribute: Attribute
    values: tuple[str, ...]
    fit: tuple[str, ...]
    choose: str | None

    @property
    def reference(self) -> str | None:
        """Label that every direction starts from; ``None``: each value starts from the mean of the others."""
        return self.attribute.reference

    @property
    def labels(self) -> tuple[str, ...]:
        """The values that are studied, then the reference where there is one."""
        return labels_of(self.values, self.reference)

    def compared_with(self, value: str) -> tuple[str, ...]:
        """Labels of the sentences a value is compared with."""
        return compared_with(value, self.values, self.reference)

    @property
    def judge(self) -> str:
        """The judge that decides."""
        return self.attribute.judges[0]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return {
            "values": list(self.values),
            "fit": list(self.fit),
            "choose": self.choose,
            "attribute": self.attribute.model_dump(mode="json"),
        }


def studied(config: StudySettings) -> Studied:
    """What a configuration asks to study.

    Raises:
        EmotionCircuitsError: no such attribute, or values that it does not have.
    """
    a = load_attribute(config.attribute)
    return Studied(
        attribute=a,
        values=a.some(config.emotions),
        fit=config.prompts if config.prompts is not None else a.corpora.fit,
        choose=config.continuations or (None if a.openings is None else a.openings.choose),
    )


def studied_in(manifest: Mapping[str, Any]) -> Studied:
    """What a finished run studied, from its manifest alone: the attribute's file may have changed since."""
    kept = manifest["studied"]
    return Studied(
        attribute=Attribute.model_validate(kept["attribute"]),
        values=tuple(kept["values"]),
        fit=tuple(kept["fit"]),
        choose=kept["choose"],
    )
