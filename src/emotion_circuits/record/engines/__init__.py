"""The seam between what is computed and where: an engine only schedules.

A *part* is a piece of work that is computed, kept and lost as one. What any part of a piece of work takes is one
:class:`Compute`: a function of a module, what all parts share, and the model. Engines differ in where they call it,
never in what comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.model import LanguageModel
from emotion_circuits.model.replicas import at_once, torch_threads

__all__ = ["ENGINES", "Compute", "Engine", "Part", "engine"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class Part:
    """A piece of work that is computed, kept and lost as one.

    Attributes:
        index: its place among the parts.
        key: hash of the work and of the task: its name, wherever it is computed.
        task: what of the work it is, in JSON: rows, nodes, names …
    """

    index: int
    key: str
    task: Any


@dataclass(frozen=True, eq=False)
class Compute(Generic[Result]):
    """How any part of a piece of work is computed.

    Attributes:
        function: ``function(model, ground, task)``, of a module's top level, so that another process finds it by name. Its
            result is a dictionary of tensors or a table, and depends on nothing but its arguments.
        payload: what all parts share; can be pickled.
        model: what it runs on. An engine that computes elsewhere loads it again there; ``None``: no model is needed.
        prepare: ``prepare(model, payload)``, of a module's top level: gives the ``ground`` that parts stand on (a base run
            that all of them change), once for every place where parts are computed. Without it the ground is the payload.
        beside: whether a processor with several cores does best with several parts beside one another, each on cores of
            its own (decoding), instead of all cores on one (long batches).
        threads: of torch, that a part is computed with; how products are summed depends on it. ``None``: not settled yet.
        memory: bytes that a part takes which brings its own model (:func:`resources.memory_of` of its blueprint);
            ``None``: not known. An engine that shares machines reserves it; where there is a model, its size says it.
    """

    function: Callable[[Any, Any, Any], Result]
    payload: Any
    model: LanguageModel | None = None
    prepare: Callable[[Any, Any], Any] | None = None
    beside: bool = False
    threads: int | None = None
    memory: int | None = None

    def settled(self, parts: int) -> Compute[Result]:
        """With the threads of a part settled, from the number of all parts of the work.

        Never from how many of them are left, nor from how many workers there are: a part's bytes must not tell.
        """
        if self.threads is not None:
            return self
        shared = min(at_once(self.model.device), parts) if self.beside and self.model is not None else 1
        return replace(self, threads=torch.get_num_threads() // max(shared, 1))

    def ground(self, model: LanguageModel | None) -> Any:
        """What parts stand on, with the given model in the place of :attr:`model`."""
        if self.prepare is None:
            return self.payload
        with torch_threads(self.threads):
            return self.prepare(model, self.payload)

    def part(self, model: LanguageModel | None, ground: Any, task: Any) -> Result:
        """What comes of one part."""
        with torch_threads(self.threads):
            return self.function(model, ground, task)


class Engine(Protocol):
    """Where parts are computed."""

    def run(self, compute: Compute[Result], parts: Sequence[Part]) -> Iterator[tuple[Part, Result]]:
        """Compute every part, and hand each over as soon as it is done, in any order.

        Args:
            compute: how.
            parts: which; each is handed over exactly once.

        Raises:
            EmotionCircuitsError: a part cannot be computed here, or failed by its inputs. What was handed over before stays
                with the caller; what runs is dropped.
        """

    def close(self) -> None:
        """End what it holds (processes, jobs, sessions); a later run begins anew."""


ENGINES = ("inline", "processes", "ray", "slurm")


def engine(name: str = "inline", *, workers: int | None = None, options: Mapping[str, Any] | None = None) -> Engine:
    """An engine by its name; close it when all work is done.

    Args:
        name: ``inline`` (this process), ``processes`` (worker processes of this machine), ``ray`` (this machine or a cluster of
            Ray; extra ``ray``) or ``slurm`` (jobs of Slurm; extra ``slurm``).
        workers: how many at once; by default as many as the cores hold, each with the threads of this process, or as the
            cluster has room for.
        options: of ``ray`` (:class:`~emotion_circuits.record.engines.resources.RayOptions`) and ``slurm``
            (:class:`~emotion_circuits.record.engines.resources.SlurmOptions`), as values or as text.

    Raises:
        EmotionCircuitsError: an unknown name or option, workers where there are none, or an extra that is not installed.
    """
    if name not in ENGINES:
        raise EmotionCircuitsError(f"engine {name!r} is unknown; choose from {', '.join(ENGINES)}")
    if name == "inline" and workers is not None:
        raise EmotionCircuitsError(
            "the engine 'inline' has no workers: leave them out, or choose 'processes', 'ray' or 'slurm'"
        )
    if name in ("inline", "processes") and options:
        raise EmotionCircuitsError(
            f"the engine {name!r} has no options, got {', '.join(options)}; 'ray' and 'slurm' have some"
        )
    if name == "inline":
        from emotion_circuits.record.engines.inline import Inline

        return Inline()
    if name == "processes":
        from emotion_circuits.record.engines.processes import Processes

        return Processes(workers)
    if name == "ray":
        from emotion_circuits.record.engines.ray import Ray

        return Ray(workers, options)
    from emotion_circuits.record.engines.slurm import Slurm

    return Slurm(workers, options)
