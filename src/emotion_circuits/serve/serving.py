"""Put a server together from a run, and run it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

from emotion_circuits.directions import Reader
from emotion_circuits.directions.reading import READER_FILE
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.evaluation import Evaluator
from emotion_circuits.model import LanguageModel, writing_model
from emotion_circuits.model.replicas import replica
from emotion_circuits.model.vllm import Client
from emotion_circuits.serve.app import ReadsFor, Service, make_app
from emotion_circuits.serve.engine import Engine, Limits
from emotion_circuits.serve.guarding import Bounds, is_loopback, server_of
from emotion_circuits.serve.tone_desk import Desk
from emotion_circuits.serve.vectors import shelved
from emotion_circuits.serve.vllm_engine import VllmEngine

__all__ = ["server", "service_of"]


@contextlib.contextmanager
def service_of(
    model: LanguageModel,
    runs: Sequence[Path],
    *,
    titles: Sequence[str] = (),
    host: str = "127.0.0.1",
    key: str | None = None,
    limits: Limits | None = None,
    bounds: Bounds | None = None,
    judge: Evaluator | None = None,
    vllm: Client | None = None,
) -> Iterator[Service]:
    """A service of finished runs, its engine at work inside the ``with`` block.

    Args:
        model: the runs'.
        runs: their folders.
        titles: what each is called, empty where it has no name; by default none has.
        host: that will be listened at.
        key: that requests must bear.
        limits: of the engine.
        bounds: of a request.
        judge: that reads texts for ``/v1/tone``; by default the one that decides for what a run studied.
        vllm: a vLLM of the model, which writes in the place of this program's own engine.

    Raises:
        EmotionCircuitsError: an address beyond this machine without a key; a run that cannot be served, or another model's; a
            value that two runs have.
    """
    if not is_loopback(host) and not key:
        raise EmotionCircuitsError(
            f"--host {host}: others than this machine reach it, so a key is required; set EMOTION_CIRCUITS_API_KEY"
        )
    if key is not None and (len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key):
        raise EmotionCircuitsError("the API key needs 8 or more printable ASCII characters without spaces")
    served = shelved(runs, titles)
    writer = writing_model(model) if vllm is None else model
    for one in served.runs:
        one.vectors.check_fits(writer)
    places = {
        run / "directions": one
        for run, one in zip(runs, served.runs, strict=True)
        if (run / "directions" / READER_FILE).is_file()
    }
    # The engine's thread runs the model at all times; texts are read by modules of their own with the same weights.
    reading = replica(model) if places else model
    readers = tuple(ReadsFor(Reader.load(reading, place), served.called_of(one)) for place, one in places.items())
    encoder = replica(writer)
    # Before the engine is at work: a replica of a model at work would have its hooks.
    scoring = replica(model)
    with Engine(writer, limits) if vllm is None else VllmEngine(writer, vllm, limits) as engine:
        desk = Desk(writer, served, scoring, encoder, engine, threading.Lock(), judge)
        yield Service(
            writer,
            encoder,
            served,
            engine,
            readers,
            Path(model.name).name,
            desk,
            key,
            bounds or Bounds(),
            loopback=is_loopback(host),
        )


def server(service: Service, *, host: str, port: int) -> uvicorn.Server:
    """A server of a service, not yet running.

    Args:
        service: what answers.
        host: to listen at.
        port: to listen at.
    """
    return server_of(make_app(service), host=host, port=port)
