"""Texts from a vLLM that our plugin is in: tasks go out, rows come back token by token, with proof of what was done to them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from emotion_circuits.documents import UnreadableError, loads
from emotion_circuits.errors import EmotionCircuitsError, WritingError
from emotion_circuits.language import say
from emotion_circuits.model.gauging import Touched
from emotion_circuits.model.language_model import LanguageModel
from emotion_circuits.model.stepping import Row, Task, Token
from emotion_circuits.model.vllm.edits import edits_of, name_of, save_directions

__all__ = ["PROTOCOL", "Asking", "Client", "News"]

PROTOCOL = 1
"""Of the plugin that is understood."""

ROOT = "/v1/emotion-circuits"
News = Callable[[int, Token | None, Row], None]
"""``(which task, token, row)`` for every token, and with ``None`` when the row has ended."""


@dataclass(frozen=True)
class Client:
    """A service that runs.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        key: that requests bear.
        folder: in which it looks for vectors.
        seconds: that it may be silent.
    """

    url: str
    key: str
    folder: Path
    seconds: float = 600.0

    def about(self) -> dict[str, Any]:
        """What it is: ``protocol plugin vllm model dtype layers width max_tokens rows vectors``.

        Raises:
            OSError: nobody answers yet.
            EmotionCircuitsError: somebody else does.
        """
        with contextlib.closing(self._connection(10.0)) as connection:
            connection.request("GET", ROOT, headers=self._headers())
            answer = connection.getresponse()
            found = _parsed(answer.read(), self.url)
            if answer.status != 200:
                raise EmotionCircuitsError(f"{self.url}: {answer.status}: {_message(found)}")
        if found.get("protocol") != PROTOCOL:
            raise EmotionCircuitsError(
                say(
                    "{url}: the plugin of this vLLM speaks version {theirs} of the protocol, and {ours} is understood; install "
                    "emotion-circuits-vllm of this release",
                    url=self.url,
                    theirs=found.get("protocol"),
                    ours=PROTOCOL,
                )
            )
        return found

    def _connection(self, seconds: float) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}


class Asking:
    """One request: some tasks that are written together.

    Args:
        client: of the service.
        model: whose texts these are; its tokenizer is used by the thread that calls :meth:`run`.
        tasks: to be written. They watch no states: none come back.
        idle: a text of which no token is chosen is an answer, too.

    Raises:
        EmotionCircuitsError: a task that vLLM cannot carry.
    """

    def __init__(self, client: Client, model: LanguageModel, tasks: Sequence[Task], *, idle: bool = False) -> None:
        self.client, self.model, self.tasks, self.idle = client, model, list(tasks), idle
        self.rows = [Row(task) for task in self.tasks]
        self._edits = [edits_of(task.interventions, len(task.ids)) for task in self.tasks]
        self._ended = [False] * len(self.tasks)
        self._socket: socket.socket | None = None
        self.gone = False
        for task in self.tasks:
            if task.watch:
                raise EmotionCircuitsError(say("vLLM hands out no states, so that nothing is read token by token"))

    def cancel(self) -> None:
        """It is not wanted any more; from any thread. The service gives its texts up."""
        self.gone = True
        held = self._socket
        if held is not None:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

    def run(self, news: News) -> list[Row]:
        """Have them written.

        Args:
            news: told of every token, and of every end.

        Raises:
            EmotionCircuitsError: the service refused them, or is not there.
        """
        every = [i for task in self.tasks for i in task.interventions]
        name = save_directions(every, self.model.n_layers, self.client.folder)
        try:
            self._exchange(name, news)
        except (OSError, http.client.HTTPException) as error:
            if not self.gone:
                raise WritingError(
                    say("vLLM does not answer any more ({error})", error=error or type(error).__name__)
                ) from error
        finally:
            if name is not None:
                (self.client.folder / f"{name}.safetensors").unlink(missing_ok=True)
        for place, row in enumerate(self.rows):
            if not self._ended[place]:
                row.reason = "cancelled" if self.gone else "error"
                row.error = "" if self.gone else say("vLLM broke off")
                self._ended[place] = True
                news(place, None, row)
        return self.rows

    def _exchange(self, name: str | None, news: News) -> None:
        body = json.dumps({"tasks": [self._task(place, name) for place in range(len(self.tasks))]}).encode()
        with contextlib.closing(self.client._connection(self.client.seconds)) as connection:
            connection.connect()
            self._socket = connection.sock
            if self.gone:
                return
            connection.request("POST", f"{ROOT}/write", body, self.client._headers())
            answer = connection.getresponse()
            if answer.status != 200:
                said = _message(_parsed(answer.read(), self.client.url))
                raise EmotionCircuitsError(say("vLLM refused the texts: {why}", why=said))
            for line in answer:
                self._take(_parsed(line, self.client.url), news)
                if all(self._ended):
                    return

    def _task(self, place: int, name: str | None) -> dict[str, Any]:
        task, how = self.tasks[place], self.tasks[place].sampling
        said: dict[str, Any] = {
            "prompt": [int(i) for i in task.ids], "max_tokens": how.max_new_tokens,
            "min_tokens": min(how.min_new_tokens, how.max_new_tokens), "temperature": how.temperature, "top_p": how.top_p,
            "top_k": how.top_k, "ends": [int(i) for i in self.model.eos_ids], "logprobs": task.logprobs,
        }  # fmt: skip
        if how.temperature:
            said["seed"] = 1 + task.seed % (2**31 - 1)  # vLLM's draws look at low bits only; never 0
        if self._edits[place]:
            said["steering"] = {
                "vectors": name,
                "edits": self._edits[place],
                "idle": self.idle,
                "follow": bool(task.stop),
            }
        return said

    def _take(self, line: Mapping[str, Any], news: News) -> None:
        place = int(line["task"])
        if self._ended[place]:
            return
        row, ends = self.rows[place], set(self.model.eos_ids)
        told = line.get("logprobs") or [None] * len(line["ids"])
        for token, known in zip(line["ids"], told, strict=True):
            if row.reason is not None:
                break
            written = Token(int(token))
            if known is not None:
                written = Token(int(token), logprob=float(known[0]), top=tuple((int(i), float(p)) for i, p in known[1]))
            before = len(row.tokens)
            row.add(written, int(token) in ends, self.model.tokenizer)
            if len(row.tokens) > before:
                news(place, row.tokens[-1], row)
        if "end" not in line and row.reason is None:
            return
        self._prove(place, line)
        if row.reason is None:
            row.reason, row.error = (
                "error",
                line.get("error") or say("vLLM ended the text early ({why})", why=line["end"]),
            )
        self._ended[place] = True
        news(place, None, row)

    def _prove(self, place: int, line: Mapping[str, Any]) -> None:
        """Take over what was done to a text; one that was not steered, though it was to be, is an error."""
        row, report = self.rows[place], line.get("steering")
        if line.get("end") in ("error", "refused"):
            row.reason, row.error = "error", str(line.get("error"))
        elif self._edits[place] and not isinstance(report, Mapping):
            row.reason, row.error = "error", say("vLLM says nothing of what was done to the text")
        elif report is not None and report.get("still"):
            row.reason, row.error = "error", str(report["still"])
        touched = {(one["vector"], one["layer"]): _touched(one) for one in (report or {}).get("touched", ())}
        row.touched = [
            touched.get((name_of(along.direction), along.site.layer), Touched()) for along in self.tasks[place].along
        ]


def _touched(one: Mapping[str, Any]) -> Touched:
    n, norm, first = int(one["tokens"]), float(one["norm"]), one.get("first_token")
    return Touched(
        n, (one["projection_before"] or 0.0) * n * norm, (one["projection_after"] or 0.0) * n * norm,
        int(first is not None), first["projection_before"] * norm if first else 0.0,
        first["projection_after"] * norm if first else 0.0,
    )  # fmt: skip


def _parsed(raw: bytes, url: str) -> dict[str, Any]:
    try:
        found = loads(raw.decode(errors="replace"))
    except UnreadableError as error:
        raise EmotionCircuitsError(f"{url}: {raw[:100]!r}") from error
    return found if isinstance(found, dict) else {}


def _message(found: Mapping[str, Any]) -> str:
    error = found.get("error")
    return str(error.get("message") if isinstance(error, Mapping) else error or found)[:500]
