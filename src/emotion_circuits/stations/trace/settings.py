"""What the trace station can be asked."""

from __future__ import annotations

from pydantic import Field

from emotion_circuits.language import N_
from emotion_circuits.prompts import Prompt, evenly_by_group, load_prompts
from emotion_circuits.record.folder import NotMeasured
from emotion_circuits.record.settings import Settings, StudySettings
from emotion_circuits.record.studied import studied
from emotion_circuits.stations.directions.settings import check_fitted

__all__ = ["TraceSettings", "consistent", "lacks", "traced_corpus", "traced_sentences"]

LEAST = 8
"""Groups of sentences of a split without which nothing is traced."""
FEW = N_("{corpus} has {groups} groups of sentences in its {split} split, a trace needs {least}")


class TraceSettings(Settings):
    """What is traced: who writes an emotion at the last token, who looks at its words, who reads it.

    Attributes:
        directions: ``extractor.pooling`` of the directions traced, at their best layer on validation.
        set: corpus whose sentences are averaged (needs marked emotion words for attention); null: the attribute's.
        groups: groups of sentences per split; components are chosen on validation and reported on test.
        null_draws: directions of shuffled labels beside the real one, each of which chooses its own components. No p is below
            1/(null_draws + 1): a single effect among ``values x top`` claims needs 20 draws for each of them. Null: 200, or
            that many where it is more.
        top: components claimed per emotion and question.
        text: a sentence that is traced alone and drawn; by default the first test sentence of the first emotion.
    """

    directions: str = "mean_difference.last"
    set: str | None = None
    groups: int = Field(default=24, ge=8)
    null_draws: int | None = Field(default=None, ge=2)
    top: int = Field(default=3, ge=1)
    text: str | None = None

    def draws(self, values: int) -> int:
        """Directions of shuffled labels, for so many values."""
        return max(200, 20 * values * self.top) if self.null_draws is None else self.null_draws


def traced_corpus(config: StudySettings) -> str:
    """Corpus that is traced."""
    return config.of(TraceSettings).set or studied(config).attribute.traced


def traced_sentences(config: StudySettings, split: str) -> list[Prompt]:
    """Sentences of the traced corpus in the study's values, of some groups spread over the corpus."""
    rows = load_prompts(traced_corpus(config), labels=studied(config).labels, split=split)
    return evenly_by_group(rows, config.of(TraceSettings).groups)


def lacks(config: StudySettings) -> NotMeasured | None:
    """Enough groups of sentences in the traced corpus."""
    for split in ("validation", "test"):
        groups = len({p.group for p in traced_sentences(config, split)})
        if groups < LEAST:
            values = {
                "corpus": traced_corpus(config), "groups": str(groups), "split": split, "least": str(LEAST),
            }  # fmt: skip
            return NotMeasured(reason=FEW, values=values)
    return None


def consistent(config: StudySettings) -> None:
    """Refuse to trace directions that are not fitted."""
    check_fitted(config, "trace.directions", config.of(TraceSettings).directions)
