"""Parts computed in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from emotion_circuits.model import LanguageModel
from emotion_circuits.model.replicas import in_parallel
from emotion_circuits.record.engines import Compute, Part

__all__ = ["Inline"]

Result = TypeVar("Result")


class Inline:
    """This process: one part after the other, or several beside one another where the work gains from it."""

    def run(self, compute: Compute[Result], parts: Sequence[Part]) -> Iterator[tuple[Part, Result]]:
        """As :meth:`emotion_circuits.record.engines.Engine.run`."""
        if not parts:
            return
        model, ground = compute.model, compute.ground(compute.model)
        if compute.beside and model is not None:

            def work(mine: LanguageModel, part: Part) -> Result:
                return compute.function(mine, ground, part.task)

            for index, result in in_parallel(model, work, parts, threads=compute.threads):
                yield parts[index], result
            return
        for part in parts:
            yield part, compute.part(model, ground, part.task)

    def close(self) -> None:
        """Nothing is held."""
