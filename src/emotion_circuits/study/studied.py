"""What a study is about: its attribute, with the study's own settings put over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emotion_circuits.evaluation import refuse_unfit
from emotion_circuits.prompts import Attribute, load_attribute
from emotion_circuits.study.config import StudyConfig

__all__ = ["HELD", "Studied", "studied", "studied_in"]

HELD = "held"
"""``steering.test_openings`` may name the attribute's held openings so, whatever their corpus is called."""


@dataclass(frozen=True)
class Studied:
    """The values of a study and the texts it uses.

    Attributes:
        attribute: what is studied, whole: judges know all of its labels.
        values: those that are studied.
        fit: corpora directions are fitted and tested on.
        trace: corpus that is traced.
        choose: openings on which conditions are chosen.
        report: openings on whose test split the choice is reported.
        pairs: minimal pairs; ``None`` where there are none.
    """

    attribute: Attribute
    values: tuple[str, ...]
    fit: tuple[str, ...]
    trace: str
    choose: str
    report: str
    pairs: str | None

    @property
    def reference(self) -> str:
        """Label that every direction starts from."""
        return self.attribute.reference

    @property
    def labels(self) -> tuple[str, ...]:
        """The values that are studied, then the reference."""
        return (*self.values, self.reference)

    @property
    def judge(self) -> str:
        """The judge that decides."""
        return self.attribute.judges[0]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        return {
            "values": list(self.values),
            "fit": list(self.fit),
            "trace": self.trace,
            "choose": self.choose,
            "report": self.report,
            "pairs": self.pairs,
            "attribute": self.attribute.model_dump(mode="json"),
        }

    def refuse_unfit(self) -> None:
        """Refuse an attribute whose texts are not there or whose judges do not know its values.

        Raises:
            EmotionCircuitsError: naming every problem.
        """
        a = self.attribute
        corpora = a.corpora.model_copy(update={"fit": self.fit, "trace": self.trace})
        openings = a.openings.model_copy(update={"choose": self.choose, "report": self.report, "held": None})
        refuse_unfit(
            a.model_copy(
                update={"corpora": corpora, "openings": openings, "pairs": self.pairs, "classifier": _kept(a)}
            ),
            self.values,
        )


def _kept(attribute: Attribute) -> Any:
    """The classifier's own corpora, which a study's other corpora do not change."""
    return attribute.classifier.model_copy(update={"fit": attribute.classifier_corpora()})


def studied(config: StudyConfig) -> Studied:
    """What a configuration asks to study.

    Raises:
        EmotionCircuitsError: no such attribute, or emotions that it does not have.
    """
    a = load_attribute(config.attribute)
    report = config.steering.test_openings
    if report == HELD:
        report = a.openings.held
    return Studied(
        attribute=a,
        values=a.some(config.emotions),
        fit=config.prompts if config.prompts is not None else a.corpora.fit,
        trace=config.trace.set or a.corpora.trace,
        choose=config.continuations or a.openings.choose,
        report=report or a.openings.report,
        pairs=config.circuits.pairs or a.pairs,
    )


def studied_in(manifest: Mapping[str, Any]) -> Studied:
    """What a finished run studied, from its manifest alone.

    Runs of earlier versions name corpora and emotions in their configuration; they are of the bundled attribute.
    """
    kept = manifest.get("studied")
    if kept is None:
        return studied(StudyConfig.model_validate(manifest["config"]))
    return Studied(
        attribute=Attribute.model_validate(kept["attribute"]),
        values=tuple(kept["values"]),
        fit=tuple(kept["fit"]),
        trace=kept["trace"],
        choose=kept["choose"],
        report=kept["report"],
        pairs=kept["pairs"],
    )
