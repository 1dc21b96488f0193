"""Parts computed by actors of Ray, on this machine or on a cluster.

An actor keeps the model it has loaded between parts, holds the cores, cards and memory that a part needs, and hands back
bytes. It writes no file. One that is lost with its process or its node costs the part it was computing; another takes its
place, where Ray has room for it.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, TypeVar

import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import cannot_write, make_folder
from emotion_circuits.record.engines import Compute, Part
from emotion_circuits.record.engines.pool import LostError, Pool
from emotion_circuits.record.engines.resources import GIB, RayOptions, Resources, options_of
from emotion_circuits.record.engines.working import ATTEMPTS, SEEN, Bench, Order, refuse_other_versions, unshared
from emotion_circuits.temporaries import held_file

__all__ = ["Ray"]

Result = TypeVar("Result")

_PATIENCE = 60
"""Seconds after which it is said that no worker is up yet; said again after each as many."""

_log = logging.getLogger(__name__)


class _Actor:
    """A worker: an actor that has one part at a time."""

    def __init__(self, ray: Any, actor: Any, mark: Path | None) -> None:
        self._ray, self._actor, self._order = ray, actor, ""
        self.up: Future[Any] = actor.greet.remote(None if mark is None else str(mark), SEEN).future()

    def send(self, order: Order, part: Part) -> Future[bytes]:
        """As :meth:`emotion_circuits.record.engines.pool.Worker.send`."""
        written = None if self._order == order.name else order.written
        future: Future[bytes] = self._actor.answer.remote(order.name, written, part.task).future()
        self._order = order.name
        return future

    def answer(self, done: Future[Any]) -> Any:
        """As :meth:`emotion_circuits.record.engines.pool.Worker.answer`."""
        try:
            return done.result()
        except self._ray.exceptions.RayTaskError:
            raise  # of a worker that cannot begin; errors of parts come back packed
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise LostError(_how(error)) from error

    def end(self) -> None:
        """End the actor at once, whatever it is doing."""
        if self._ray.is_initialized():
            self._ray.kill(self._actor, no_restart=True)


class Ray(Pool[_Actor]):
    """Actors of Ray, started when they are first needed; on this machine, a session of Ray with them.

    Args:
        workers: how many actors at most; by default as many as the cluster has room for when work begins.
        options: as :class:`emotion_circuits.record.engines.resources.RayOptions`.

    Raises:
        EmotionCircuitsError: Ray is not installed, an option or a number that cannot be.
    """

    def __init__(self, workers: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.options = options_of(RayOptions, "ray", options or {})
        if importlib.util.find_spec("ray") is None:
            raise EmotionCircuitsError("the engine 'ray' needs Ray: pip install 'emotion-circuits[ray]'")
        if workers is not None and workers < 1:
            raise EmotionCircuitsError(f"workers must be 1 or more, got {workers}")
        super().__init__(workers or 0)
        self._asked = workers
        self._ray: Any = None
        self._ours = False
        self._needed: Resources | None = None
        self._starting: list[_Actor] = []
        self._failed = 0
        self._mark: Path | None = None
        self._held_here = ExitStack()

    def run(self, compute: Compute[Result], parts: Sequence[Part]) -> Iterator[tuple[Part, Result]]:
        """As :meth:`emotion_circuits.record.engines.Engine.run`.

        Raises:
            EmotionCircuitsError: besides, the cluster cannot be reached, has other versions than this process or no room for a
                worker, the model cannot be loaded there, or the worker of one part was lost again and again.
        """
        if not parts:
            return
        self._connect()
        o = self.options
        needed = Resources.needed(compute, cpus=o.cpus, gpus=o.gpus, memory=o.memory)
        self._see_room(needed)
        if needed != self._needed:
            self._dismiss()
            self._needed = needed
        yield from super().run(compute, parts)

    def close(self) -> None:
        """End the actors, and the session of Ray that was begun for them; a later run starts others."""
        if self._ray is None:
            return
        self._dismiss()
        self._held_here.close()
        if self._ours:
            self._ray.shutdown()
        self._ray, self._needed, self._failed = None, None, 0

    def _dismiss(self) -> None:
        super().close()
        while self._starting:
            self._starting.pop().end()

    def _order(self, compute: Compute[Result]) -> Order:
        # Ray shows a worker the cards it was given and no other.
        return Order.of(compute, own_card=True)

    def _connect(self) -> None:
        if self._ray is not None and self._ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # A worker without a card would otherwise be told of by a warning.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray = importlib.import_module("ray")
        address = self.options.address
        if not ray.is_initialized():
            quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
            if address is None:
                where = "on this machine"
                given: dict[str, Any] = {
                    "address": "local",
                    "include_dashboard": False,
                    # Results lie in memory until they are fetched, one for each worker, and never on a disk.
                    "_system_config": {"automatic_object_spilling_enabled": False},
                }
                if sys.platform == "linux":
                    # Loopback: a machine that changes its network keeps its workers. Ray replaces 127.0.0.1.
                    given["_node_ip_address"] = "127.0.0.2"
            else:
                where, given = f"at {address}", {"address": address}
            try:
                with _signals_as_they_were():
                    ray.init(**given, **quiet)
            except Exception as error:
                raise EmotionCircuitsError(
                    f"Ray {where} cannot be reached: {_line(error)}. Begin one with 'ray start --head', or leave the option "
                    "address out for this machine alone"
                    if address is not None
                    else f"Ray cannot be started {where}: {_line(error)}; use the engine 'processes'"
                ) from error
            self._ours = True
        self._ray = ray
        if address is not None:
            folder = make_folder(self.options.folder.absolute())
            try:
                self._mark = self._held_here.enter_context(held_file(folder / "shared"))
            except OSError as error:
                raise cannot_write(folder, error) from error

    def _see_room(self, needed: Resources) -> None:
        """Settle the number of workers, and see that some node can hold one."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        rooms = [_room(node, needed) for node in nodes]
        self.workers = self._asked or max(sum(rooms), 1)
        held = self._held(needed)
        if any(_room(node, held) for node in nodes):
            return
        there = "; ".join(
            f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs, {node.get('memory', 0) / GIB:.1f} GiB"
            for node in nodes
        )
        words = f"no node has room for a worker, which needs {held} (there: {there or 'no node'})"
        if self._here:
            raise EmotionCircuitsError(f"Ray: {words}; lower the engine's options cpus, gpus or memory")
        _log.warning("Ray: %s; waiting for one", words)

    def _held(self, needed: Resources) -> Resources:
        """What an actor reserves: here no cores, as the number of workers says how many there are at once.

        They may share cores, as worker processes do.
        """
        return replace(needed, cpus=0) if self._here and self.options.cpus is None else needed

    @property
    def _here(self) -> bool:
        return self._ours and self.options.address is None

    def _hire(self, wanted: int, *, patiently: bool) -> _Actor | None:
        while len(self._starting) < wanted:
            self._starting.append(self._start())
        said = time.monotonic()
        while True:
            done = wait(
                [actor.up for actor in self._starting], timeout=1 if patiently else 0, return_when=FIRST_COMPLETED
            ).done
            for actor in [a for a in self._starting if a.up in done]:
                self._starting.remove(actor)
                try:
                    host, theirs, seen = actor.answer(actor.up)
                except LostError as error:
                    actor.end()
                    self._failed += 1
                    if self._failed >= ATTEMPTS:
                        raise EmotionCircuitsError(
                            f"Ray: {self._failed} workers {error} before they were up"
                        ) from error
                    self._starting.append(self._start())
                    continue
                except self._ray.exceptions.RayTaskError as error:
                    raise EmotionCircuitsError(
                        f"Ray: a worker cannot begin ({_line(error)}): install emotion-circuits on every node"
                    ) from error
                refuse_other_versions(theirs, f"Ray's node {host}")
                if not seen:
                    raise EmotionCircuitsError(
                        f"Ray's node {host} does not see what lies here. {unshared(self.options.folder.absolute())}"
                    )
                self._failed = 0
                return actor
            if not patiently:
                return None
            if time.monotonic() - said > _PATIENCE:
                said = time.monotonic()
                _log.warning("Ray has not begun any worker yet; each needs %s", self._needed)

    def _start(self) -> _Actor:
        assert self._needed is not None
        held = self._held(self._needed)
        options: dict[str, Any] = {"num_cpus": held.cpus, "num_gpus": held.gpus}
        if held.memory is not None:
            options["memory"] = held.memory
        # Ray would set it to the number of cores held; products outside torch are summed by it.
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(torch.get_num_threads()))}
        made = self._ray.remote(Bench).options(
            **options, max_restarts=0, max_task_retries=0, runtime_env={"env_vars": threads}
        )
        return _Actor(self._ray, made.remote(), self._mark)


@contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """Ray answers SIGTERM with an exit code of its own; who is ended by a signal should have ended by it."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _room(node: Mapping[str, float], needed: Resources) -> int:
    """How many workers a node holds."""
    wanted = {"CPU": needed.cpus, "GPU": needed.gpus, "memory": needed.memory}
    return int(min((node.get(what, 0) // amount for what, amount in wanted.items() if amount), default=1))


def _how(error: Exception) -> str:
    """What became of a worker, a predicate."""
    text = str(error)
    for sign, words in (
        ("memory", "was ended by Ray because memory was short"),
        ("node", "was lost with its node"),
    ):
        if f"{sign}_" in text.lower().split("worker exit detail")[0] or type(error).__name__.lower().startswith(sign):
            return words
    if type(error).__name__ == "ActorDiedError":
        return "was killed"
    return f"was lost ({type(error).__name__})"


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
