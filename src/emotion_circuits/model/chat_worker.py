"""Renders a chat template in a process of its own: ``python -P chat_worker.py [--kept]``, requests on standard input.

A template comes with a model and is a program: it may ask for ten gigabytes or for ever. This file imports nothing of the
package and nothing heavy, so that little memory is needed beside the limit. What it offers a template is what transformers
offers it.
"""

import datetime
import json
import os
import select
import signal
import sys
import time
from typing import Any

import jinja2
from jinja2.ext import Extension
from jinja2.ext import loopcontrols as LoopControls  # noqa: N812
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(Extension):
    """``{% generation %}`` marks what an assistant wrote; it is shown as it is."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_shown"), [], [], body).set_lineno(line)

    def _shown(self, caller: Any) -> Any:
        return caller()


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _rendered(request: dict[str, Any]) -> list[str]:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, LoopControls]
    )
    environment.filters["tojson"] = _json
    environment.globals["raise_exception"] = _raise
    today = request.get("today")
    now = datetime.datetime.now() if today is None else datetime.datetime.fromisoformat(today)
    environment.globals["strftime_now"] = now.strftime
    template = environment.from_string(request["template"])
    found = []
    for messages in request["conversations"]:
        parts, length = [], 0
        for part in template.generate(
            messages=messages, tools=None, documents=None, add_generation_prompt=True, **request["special"]
        ):
            length += len(part)
            if length > request["characters"]:
                raise jinja2.TemplateError(f"it writes more than {request['characters']:,} characters")
            parts.append(part)
        found.append("".join(parts))
    return found


def _limit(memory: int, seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits; the caller's time limit holds there too
        return
    for what, wanted in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        _, hard = resource.getrlimit(what)
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):  # macOS refuses some
            continue


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """``{"texts": […]}`` or ``{"error": …}``, within the request's limits, which stay this process's."""
    _limit(request["memory"], request["seconds"])
    try:
        return {"texts": _rendered(request)}
    except MemoryError:
        return {"error": f"it needs more than {request['memory'] >> 20} MiB"}
    except RecursionError:
        return {"error": "it is nested without end"}
    except Exception as error:  # a template can raise anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return {"error": first if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {first}"}


def _forked(request: dict[str, Any]) -> bytes:
    """The answer of a fork of this process, which ends with it; nothing of a template is left here.

    Where it gives none, ``{"code": …}`` of its end, or ``{"late": true}``.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as out:
                out.write(json.dumps(_answer(request)).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    until, found = time.monotonic() + request["seconds"], b""
    with os.fdopen(reading, "rb", buffering=0) as answer:
        while (left := until - time.monotonic()) > 0 and select.select([answer], [], [], left)[0]:
            part = answer.read(1 << 16)
            if not part:
                break
            found += part
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return b'{"late": true}'
    _, status = os.waitpid(child, 0)
    return found if found and status == 0 else json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode()


def main() -> None:
    """Answer one request; with ``--kept`` one per line, each in a fork, until there are no more."""
    if sys.argv[1:] == ["--kept"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl+C is for the program, which closes this one's input
        for line in sys.stdin.buffer:
            sys.stdout.buffer.write(_forked(json.loads(line)) + b"\n")
            sys.stdout.buffer.flush()
        return
    sys.stdout.buffer.write(json.dumps(_answer(json.loads(sys.stdin.buffer.read()))).encode())


if __name__ == "__main__":
    main()
