"""``emotion-circuits serve``: an OpenAI-compatible server that steers with the directions of a run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emotion_circuits.cli.completing import MODELS, offering
from emotion_circuits.cli.shared import (
    Device,
    Dtype,
    JsonFlag,
    Pickle,
    Revision,
    VllmPython,
    long_running,
    model_of,
    note,
    prefix_of,
    show_json,
)
from emotion_circuits.errors import EmotionCircuitsError

if TYPE_CHECKING:
    from emotion_circuits.model import LanguageModel
    from emotion_circuits.model.vllm import Service
    from emotion_circuits.serve.engine import Limits

KEY = "EMOTION_CIRCUITS_API_KEY"


def serve(
    run: Annotated[
        list[Path],
        typer.Option(
            help="Folder of a finished run, whose directions and ranges are served; repeat for others of the model. NAME=FOLDER "
            "gives it a name, and its values are called NAME.VALUE then."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="The run's model, where it lies elsewhere.", autocompletion=offering(MODELS))
    ] = None,
    host: Annotated[str, typer.Option(help=f"Address to listen at; beyond this machine the key {KEY} is required.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at; 0: a free one.")] = 8000,
    rows: Annotated[int, typer.Option(min=1, max=1024, help="Texts written at once.")] = 32,
    tokens: Annotated[
        int, typer.Option(min=16, help="Tokens of all texts written at once, prompts included.")
    ] = 16_384,
    queue: Annotated[int, typer.Option(min=0, help="Texts that may wait; beyond it requests are answered 429.")] = 64,
    seconds: Annotated[float, typer.Option(min=1, help="Time that a request may take.")] = 120,
    per_minute: Annotated[int, typer.Option(min=1, help="Requests of one client in a minute.")] = 600,
    engine: Annotated[
        Literal["embedded", "vllm"],
        typer.Option(help="What writes: the model in this program, or vLLM, started in an environment of its own."),
    ] = "embedded",
    vllm_python: VllmPython = None,
    device: Device = None,
    dtype: Dtype = None,
    revision: Revision = None,
    allow_pickle: Pickle = False,
    as_json: JsonFlag = False,
) -> None:
    """Serve a model whose tone can be set: /v1/completions and /v1/chat/completions as OpenAI's clients call them, and /studio.

    The body's "steering" names values of the run and doses; the answer says what was done. A key in the environment variable
    EMOTION_CIRCUITS_API_KEY is required of every request.

    Values of several runs can be set together, each at a dose of its own run. Runs whose values are called alike need names.

    Example: emotion-circuits serve --run runs/demo
    """
    try:
        from emotion_circuits.serve.engine import Limits
        from emotion_circuits.serve.guarding import Bounds
        from emotion_circuits.serve.serving import server, service_of
    except ImportError as error:
        raise EmotionCircuitsError(
            f"serving needs the extra 'serve' ({error}): pip install 'emotion-circuits[serve]'"
        ) from error
    from emotion_circuits.model import load_model
    from emotion_circuits.model.vllm import python_of

    # Said before a model is loaded.
    if engine == "embedded" and vllm_python is not None:
        raise EmotionCircuitsError("--vllm-python goes with --engine vllm")
    place = python_of(vllm_python) if engine == "vllm" else None
    titles, runs = zip(*map(_titled, run), strict=True)
    with long_running():
        name, revision = _shared(runs, model, revision)
        loaded = load_model(
            name, device=device, dtype=dtype, revision=revision, allow_pickle=allow_pickle, prefix=prefix_of(runs[0])
        )
    limits = Limits(rows=rows, tokens=tokens, queue=queue, seconds=seconds)
    key = os.environ.get(KEY) or None
    bounds = Bounds(per_minute=per_minute)
    with ExitStack() as held:
        vllm = None if place is None else held.enter_context(_vllm(loaded, place, limits))
        service = held.enter_context(
            service_of(loaded, runs, titles=titles, host=host, key=key, limits=limits, bounds=bounds, vllm=vllm)
        )
        made = server(service, host=host, port=port)
        try:
            sock = made.config.bind_socket()
        except SystemExit as error:
            raise EmotionCircuitsError(
                f"--port {port}: cannot listen at {host}:{port}; is something else there?"
            ) from error
        with sock:
            root, values = f"http://{host}:{sock.getsockname()[1]}", service.served.names
            url, studio = f"{root}/v1", f"{root}/studio"
            if as_json:
                show_json({"model": service.name, "url": url, "studio": studio, "values": list(values)})
                sys.stdout.flush()
            note(f"serving {service.name} at {url}, values: {', '.join(values)}; in a browser: {studio}")
            made.run(sockets=[sock])


def _titled(run: Path) -> tuple[str, Path]:
    """``NAME=FOLDER`` apart; a folder that is there is none, whatever it is called."""
    title, sign, folder = str(run).partition("=")
    if not sign or run.exists():
        return "", run
    if not re.fullmatch(r"\w[\w-]{0,63}", title) or not folder:
        raise EmotionCircuitsError(
            f"--run {run}: a run is given a name as NAME=FOLDER; a name has letters, digits, '_' and '-' only"
        )
    return title, Path(folder)


def _shared(runs: Sequence[Path], model: str | None, revision: str | None) -> tuple[str, str | None]:
    """The model of all runs, read with the same prefix."""
    found = [(*model_of(run, model, revision), prefix_of(run)) for run in runs]
    for run, other in zip(runs, found, strict=True):
        if other != found[0]:
            first, second = (f"{name}, prefix {prefix}" for name, _, prefix in (found[0], other))
            raise EmotionCircuitsError(f"--run {run}: was made with {second}, {runs[0]} with {first}; serve them apart")
    return found[0][:2]


def _vllm(model: LanguageModel, python: Path | str, limits: Limits) -> Service:
    """A vLLM of the model, not started yet."""
    from emotion_circuits.model.vllm import Service, identity_of

    dtype = str(model.writes or model.dtype).removeprefix("torch.")
    found = identity_of(python, dtype)
    note(f"starting vLLM {found.vllm} in {dtype}")
    return Service(python, model, dtype=dtype, rows=limits.rows, longest=limits.tokens)
