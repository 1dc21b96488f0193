"""What all parts of the station's work need, and how each writes and scores texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from emotion_circuits.evaluation import Fluency, judges_of
from emotion_circuits.model import LanguageModel, Sampling
from emotion_circuits.prompts import Prompt
from emotion_circuits.record.station import Context
from emotion_circuits.stations.steering.settings import SteeringSettings
from emotion_circuits.stations.steering.steered import SteeredRun
from emotion_circuits.stations.tuning.folder import TuningFolder
from emotion_circuits.stations.tuning.settings import TuningSettings
from emotion_circuits.steering import (
    Condition,
    SteeringVectors,
    score_sweep,
    sweep,
)
from emotion_circuits.steering.prompting import examples_for

__all__ = ["Work"]


@dataclass(eq=False)
class Work:
    """What all parts of the work need.

    Attributes:
        context: of the station.
        folder: its own.
        run: that it goes on from.
        own: its settings.
        model: as it is, without an adapter.
        value: that is compared.
        vectors: the run's, and the one that was trained where there is one.
        openings: that are reported on.
    """

    context: Context
    folder: TuningFolder
    run: SteeredRun
    own: TuningSettings
    model: LanguageModel
    value: str
    vectors: SteeringVectors
    openings: list[Prompt]

    @property
    def chosen(self) -> Condition:
        """The run's condition for the value."""
        return self.run.chosen[self.value]

    @property
    def seed(self) -> int:
        """Of every draw."""
        return self.context.config.seed

    def written(
        self, name: str, model: LanguageModel, prompts: Sequence[Prompt], arms: Sequence[Condition], *,
        vectors: SteeringVectors | None = None, samples: int | None = None, shots: int = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """Texts of one model; the folder holds them when it is asked again."""
        s, phrases = self.run.config.of(SteeringSettings), self.run.about.attribute.prompting
        words = phrases if any(arm.kind == "prompting" for arm in arms) else None
        return sweep(
            model, prompts, arms, vectors or self.vectors, folder=self.folder.sweep(name),
            sampling=Sampling(max_new_tokens=s.max_new_tokens, temperature=s.temperature), samples=samples or self.own.samples,
            seed=self.seed, batch_rows=s.batch_rows, phrases=words, engine=self.context.engine,
            examples={self.value: examples_for(self.value, words, shots)} if words is not None and shots else None,
        )  # fmt: skip

    def scored(self, table: pd.DataFrame, *, fluency: bool = True) -> pd.DataFrame:
        """With what every judge says, and the perplexity under the plain model."""
        return score_sweep(table, judges_of(self.run.about.attribute), Fluency(self.model) if fluency else None)
