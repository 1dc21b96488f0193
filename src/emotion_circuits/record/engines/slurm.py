"""Parts computed by job arrays of Slurm (through submitit), on file systems that this machine and the nodes share.

A job computes some parts one after the other with the model it has loaded, and leaves what came of each in a folder of
orders; this process takes it from there, and alone keeps it. A job that is lost costs the part it was computing: the
parts that it had not handed over are ordered anew.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import json
import logging
import math
import os
import re
import secrets
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, TypeVar

import torch

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.paths import make_folder, replacing
from emotion_circuits.record.engines import Compute, Part
from emotion_circuits.record.engines.resources import GIB, Resources, SlurmOptions, options_of
from emotion_circuits.record.engines.working import (
    ATTEMPTS,
    SEEN,
    Bench,
    Order,
    given_up,
    refuse_other_versions,
    unpacked,
    unshared,
    versions,
)

__all__ = ["Slurm"]

Result = TypeVar("Result")

_AT_ONCE = 8
"""Jobs at once where nobody says how many."""

_BEAT = 5.0
"""Seconds between signs of life of this process."""


@dataclass(frozen=True)
class _Times:
    """In seconds.

    Attributes:
        poll: between looks at the folder.
        seen: that a file may take to be seen on another machine.
        deaf: without a sign of life of the process that sent a job, after which the job ends: nobody takes what it computes.
    """

    poll: float
    seen: float
    deaf: float


_TIMES = {"slurm": _Times(2, SEEN, 600), "local": _Times(0.2, 2, 60)}

ORDER, ALIVE, BEGUN, RESULT, TAKEN = "order", "alive", "begun-", "result-", "taken-"
"""What lies in a folder of orders: the order, the sign of life, a mark of each job that has read the order, results, and marks
of results that were taken."""

_log = logging.getLogger(__name__)


class Slurm:
    """Job arrays of Slurm.

    Args:
        workers: how many jobs at once; 8 by default.
        options: as :class:`emotion_circuits.record.engines.resources.SlurmOptions`.

    Raises:
        EmotionCircuitsError: submitit is not installed, an option or a number that cannot be.
    """

    def __init__(self, workers: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        self.options = options_of(SlurmOptions, "slurm", options or {})
        if importlib.util.find_spec("submitit") is None:
            raise EmotionCircuitsError("the engine 'slurm' needs submitit: pip install 'emotion-circuits[slurm]'")
        if self.options.cluster == "slurm" and shutil.which("sbatch") is None:
            raise EmotionCircuitsError(
                "the engine 'slurm' sends jobs with 'sbatch', which this machine does not have: run this on a login node"
            )
        if workers is not None and workers < 1:
            raise EmotionCircuitsError(f"workers must be 1 or more, got {workers}")
        self.workers = workers or _AT_ONCE

    def run(self, compute: Compute[Result], parts: Sequence[Part]) -> Iterator[tuple[Part, Result]]:
        """As :meth:`emotion_circuits.record.engines.Engine.run`.

        Raises:
            EmotionCircuitsError: besides, the folder is not shared with the nodes, jobs cannot be sent or cannot begin, the model
                cannot be loaded there, or the job of one part was lost again and again.
        """
        if not parts:
            return
        o = self.options
        order = Order.of(compute, own_card=True)
        needed = Resources.needed(compute, cpus=o.cpus, gpus=o.gpus, memory=o.memory)
        logs = make_folder(o.folder.absolute() / "logs")
        with _orders(o.folder.absolute()) as place:
            with replacing(place / ORDER) as temporary:
                temporary.write_bytes(order.written)
            sending = _Sending(self, order.name, place, logs, needed)
            left, lost = {part.index: part for part in parts}, Counter[int]()
            waiting = self._shares(compute, parts)
            jobs: dict[_Job, None] = {}
            try:
                while left:
                    if room := len(waiting) if o.cluster == "slurm" else min(self.workers - len(jobs), len(waiting)):
                        jobs |= dict.fromkeys(sending.send(waiting[:room]))
                        del waiting[:room]
                    # First what has ended, then what has arrived: nothing that a job left behind is missed.
                    ended = [job for job in jobs if job.ended()]
                    quiet = True
                    for part, packed in _arrived(place, left):
                        quiet = False
                        del left[part.index]
                        yield part, unpacked(packed)
                    for job in ended:
                        missing = [part for part in job.share if part.index in left]
                        if missing and (how := job.how_it_ended()) is None:
                            continue  # what it left may be on its way
                        del jobs[job]
                        if not missing:
                            continue
                        # They are computed in order: the first one missing is the one that was being computed.
                        first = missing[0]
                        lost[first.index] += 1
                        if lost[first.index] >= ATTEMPTS:
                            remedy = f", or allow more time; logs are in {logs}"
                            if not job.begun():
                                remedy += f". {unshared(o.folder)}"
                            raise given_up(first, lost[first.index], f"(job {job.name}) {how}", remedy)
                        _log.warning("job %s of part %d %s; the part is computed again", job.name, first.index, how)
                        waiting.append(missing)
                    if quiet:
                        time.sleep(_TIMES[o.cluster].poll)
            finally:
                # Jobs of this machine see by themselves that the folder is gone; submitit would end them with a traceback.
                if o.cluster == "slurm":
                    for job in jobs:
                        job.cancel()

    def close(self) -> None:
        """Nothing is held between pieces of work."""

    def _shares(self, compute: Compute[Any], parts: Sequence[Part]) -> list[list[Part]]:
        """The parts of each job."""
        # Parts that bring their own models take long, and gain nothing from one that is loaded.
        size = self.options.parts_per_job or (1 if compute.memory is not None else math.ceil(len(parts) / self.workers))
        count = math.ceil(len(parts) / size)
        return [list(parts[first::count]) for first in range(count)]


class _Sending:
    """Sends jobs of one piece of work."""

    def __init__(self, engine: Slurm, order: str, place: Path, logs: Path, needed: Resources) -> None:
        self._order, self._place, o = order, place, engine.options
        self._cluster = o.cluster
        submitit = importlib.import_module("submitit")
        given: dict[str, Any] = {
            "name": "emotion-circuits",
            "timeout_min": o.time,
            "cpus_per_task": math.ceil(needed.cpus),
            "slurm_array_parallelism": engine.workers,
            # Products outside torch are summed by it; a job would otherwise take the cores that it holds.
            "slurm_setup": [f"export OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', torch.get_num_threads())}"],
        }
        if needed.gpus:
            given["gpus_per_node"] = math.ceil(needed.gpus)
        if needed.memory is not None:
            given["mem_gb"] = needed.memory / GIB
        for name in ("partition", "account", "qos"):
            if (value := getattr(o, name)) is not None:
                given[f"slurm_{name}"] = value
        self._executor = submitit.AutoExecutor(folder=logs, cluster=o.cluster)
        self._executor.update_parameters(**given)

    def send(self, shares: Sequence[list[Part]]) -> list[_Job]:
        """Send jobs, one for each share, as one array.

        Raises:
            EmotionCircuitsError: Slurm does not take them.
        """
        tokens = [secrets.token_hex(8) for _ in shares]
        tasks = [[(part.index, part.task) for part in share] for share in shares]
        try:
            sent = self._executor.map_array(
                functools.partial(_work, str(self._place), self._order, _TIMES[self._cluster]), tokens, tasks
            )
        except Exception as error:
            raise EmotionCircuitsError(f"Slurm does not take the jobs: {_line(str(error))}") from error
        return [_Job(job, share, self._place, token) for job, share, token in zip(sent, shares, tokens, strict=True)]


class _Job:
    """A job that was sent, with its share of the parts."""

    def __init__(self, job: Any, share: list[Part], place: Path, token: str) -> None:
        self._job, self.share, self._mark, self._since = job, share, place / f"{BEGUN}{token}", 0.0
        self.name = str(job.job_id)

    def ended(self) -> bool:
        """Whether it has ended, well or not.

        Raises:
            EmotionCircuitsError: it has other versions than this process.
        """
        done = bool(self._job.done())
        if done and not self._since:
            self._since = time.monotonic()
            if self.begun():
                theirs = loads(self._mark.read_text(encoding="utf-8"))
                refuse_other_versions(theirs["versions"], f"job {self.name} on {theirs['host']}")
        return done

    def begun(self) -> bool:
        """Whether it has read the order."""
        return self._mark.exists()

    def how_it_ended(self) -> str | None:
        """What became of a job that left out some parts, a predicate; ``None``: they may not be seen yet.

        Raises:
            EmotionCircuitsError: it could not begin, or what it wrote is not seen here.
        """
        if not self._job.paths.result_pickle.exists():
            return f"ended without a result ({self._job.state})"
        failure = self._job.exception()
        if failure is not None:
            why = _line(str(failure).split("\n----------------------\n")[-2:][0])
            if not self.begun():
                raise EmotionCircuitsError(
                    f"job {self.name} could not begin: {why}; its logs are {self._job.paths.stderr}"
                )
            return f"ended with {why}"
        if time.monotonic() - self._since < SEEN:
            return None
        raise EmotionCircuitsError(
            f"job {self.name} has finished, but its results are not seen. {unshared(self._mark.parent)}"
        )

    def cancel(self) -> None:
        """End it at once."""
        self._job.cancel(check=False)


def _line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"


@contextmanager
def _orders(folder: Path) -> Iterator[Path]:
    """A folder that jobs take their order from and leave results in, with a sign of life while it is needed."""
    place = make_folder(folder / f"orders-{secrets.token_hex(8)}")
    stop = Event()

    def live() -> None:
        while not stop.is_set():
            with suppress(OSError):
                (place / ALIVE).touch()
            stop.wait(_BEAT)

    Thread(target=live, daemon=True).start()
    try:
        yield place
    finally:
        stop.set()
        shutil.rmtree(place, ignore_errors=True)


def _arrived(place: Path, left: Mapping[int, Part]) -> Iterator[tuple[Part, bytes]]:
    """Results that are there and whole; on a network a file may be seen before all of it is."""
    # A listing, as a name that was once asked for and missing may be taken for missing for a minute.
    for path in sorted(place.iterdir()):
        found = re.fullmatch(rf"{RESULT}(\d+)", path.name)
        part = left.get(int(found[1])) if found else None
        if part is None:
            continue
        data = path.read_bytes()
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            continue
        # A job that Slurm begins again must not compute it again.
        (place / f"{TAKEN}{part.index}").touch()
        path.unlink()
        yield part, data[32:]


# -- in a job ----------------------------------------------------------------------------------------------------------


def _work(place_: str, order: str, times: _Times, token: str, tasks: list[tuple[int, Any]]) -> None:
    """Compute a share of the parts, one after the other."""
    place = Path(place_)
    written = _order_in(place, order, times.seen)
    _end_when_nobody_waits(place, times)
    with replacing(place / f"{BEGUN}{token}") as temporary:
        temporary.write_text(json.dumps({"host": socket.gethostname(), "versions": versions()}), encoding="utf-8")
    stopped = importlib.import_module("submitit").core.utils.UncompletedJobError
    bench = Bench()
    for index, task in tasks:
        result = place / f"{RESULT}{index}"
        if result.exists() or (place / f"{TAKEN}{index}").exists():
            continue
        packed = bench.answer(order, written, task, unless=(stopped,))
        if not place.exists():
            return
        with replacing(result) as temporary:
            temporary.write_bytes(hashlib.sha256(packed).digest() + packed)


def _order_in(place: Path, name: str, patience: float) -> bytes:
    until = time.monotonic() + patience
    while True:
        with suppress(OSError):
            written = (place / ORDER).read_bytes()
            if hashlib.sha256(written).hexdigest() == name:
                return written
        if time.monotonic() > until:
            raise EmotionCircuitsError(f"{place} is not seen on {socket.gethostname()}. {unshared(place.parent)}")
        time.sleep(1)


def _end_when_nobody_waits(place: Path, times: _Times) -> None:
    """End this process when the one that sent the job has gone or gives no sign of life; by this machine's clock alone."""

    def watch() -> None:
        last, since = 0.0, time.monotonic()
        while place.exists() and time.monotonic() - since < times.deaf:
            time.sleep(times.poll)
            with suppress(OSError):
                now = (place / ALIVE).stat().st_mtime
                if now != last:
                    last, since = now, time.monotonic()
        os._exit(1)

    Thread(target=watch, daemon=True).start()
