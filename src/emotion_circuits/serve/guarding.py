"""What stands before every request: where it comes from, who sends it, how often, how much and how slowly."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from emotion_circuits.documents import UnreadableError, loads

__all__ = ["Bounds", "Guard", "ProblemError", "is_loopback", "json_body", "problem", "server_of"]

_OPEN = ("/healthz",)
_KEYLESS = ("/", "/studio")
"""The page that asks for a key can bear none; it and its files, the same for everybody, hold nothing of a run."""
_LOCAL = ("localhost", "127.0.0.1", "[::1]", "::1")
_HEADERS_S = 10
"""Seconds for the head of a connection's first request; one that says nothing is closed."""


@dataclass(frozen=True)
class Bounds:
    """Limits of a request.

    Attributes:
        body: bytes of it.
        seconds: in which a body must have come.
        per_minute: requests of one key or address.
    """

    body: int = 1 << 20
    seconds: float = 10.0
    per_minute: int = 600


class ProblemError(Exception):
    """An answer that says what is wrong with a request, as OpenAI's do."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", param: str | None = None,
        code: str | None = None, headers: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def problem(error: ProblemError) -> Response:
    """It as a response."""
    return JSONResponse(error.body, error.status, error.headers)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    return host in _LOCAL or host.startswith("127.")


class Guard:
    """Middleware; answers ``/healthz`` without a key, so that whoever watches the server needs none, and the studio's files.

    Args:
        app: what it stands before.
        key: that requests must bear; ``None``: none.
        bounds: of a request.
        loopback: whether the server listens to this machine only: then a page that a browser shows under another name is
            refused, which is how a foreign page would reach it.
        counted: told of every answer: method, path, status and seconds.
    """

    def __init__(
        self, app: ASGIApp, *, key: str | None, bounds: Bounds, loopback: bool,
        counted: Callable[[str, str, int, float], None],
    ) -> None:  # fmt: skip
        self.counted = counted
        self.app, self.key, self.bounds, self.loopback = app, key, bounds, loopback
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 499

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, receive, sending)
        except ProblemError as error:
            await problem(error)(scope, receive, sending)
        finally:
            self.counted(scope["method"], scope["path"], status, time.monotonic() - start)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self.loopback and not is_loopback(name):
            raise ProblemError(403, f"this server answers to this machine only, not to the name {name!r}"[:200])
        origin = headers.get("origin")
        if origin is not None and origin.split("://", 1)[-1] != host:
            raise ProblemError(403, "pages of other origins are not answered", code="forbidden_origin")
        if scope["path"] in _OPEN:
            return
        path, given = scope["path"], headers.get("authorization", "")
        keyless = path in _KEYLESS or path.startswith("/studio/")
        if (
            self.key is not None
            and not keyless
            and not hmac.compare_digest(given.encode(), f"Bearer {self.key}".encode())
        ):
            raise ProblemError(
                401, "a valid API key is required: Authorization: Bearer KEY", kind="authentication_error",
                code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"},
            )  # fmt: skip
        self._count((scope.get("client") or ("",))[0])
        if int(headers.get("content-length") or 0) > self.bounds.body:
            raise _too_large(self.bounds)

    def _count(self, who: str) -> None:
        now, rate = time.monotonic(), self.bounds.per_minute / 60
        left, then = self._buckets.pop(who, (float(self.bounds.per_minute), now))
        left = min(self.bounds.per_minute, left + (now - then) * rate)
        self._buckets[who] = (max(left - 1, 0), now)
        if len(self._buckets) > 10_000:
            self._buckets.popitem(last=False)
        if left < 1:
            raise ProblemError(
                429, f"more than {self.bounds.per_minute} requests a minute", kind="rate_limit_error",
                code="rate_limit_exceeded", headers={"Retry-After": str(max(1, round((1 - left) / rate)))},
            )  # fmt: skip


def _too_large(bounds: Bounds) -> ProblemError:
    return ProblemError(413, f"the body is larger than {bounds.body:,} bytes", code="body_too_large")


async def json_body(request: Request, bounds: Bounds) -> Any:
    """The body as JSON, within its bounds.

    Raises:
        ProblemError: another kind of content, too large, too slow, or not JSON by the rules of :mod:`emotion_circuits.documents`.
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        # A page of another origin can send everything else without asking first.
        raise ProblemError(415, "the body must be JSON: Content-Type: application/json")
    whole = await _whole_body(request, bounds)
    try:
        return loads(whole)
    except UnreadableError as error:
        raise ProblemError(400, f"the body {error.message} (line {error.line})") from error
    except ValueError as error:
        raise ProblemError(400, f"the body is not JSON: {error}") from error


async def _whole_body(request: Request, bounds: Bounds) -> bytes:
    parts, size, more = [], 0, True
    end = asyncio.get_running_loop().time() + bounds.seconds
    while more:
        try:
            async with asyncio.timeout_at(end):
                message = await request.receive()
        except TimeoutError:
            # A busy server may look late: what lies here by now has come, and only what does not is refused.
            try:
                async with asyncio.timeout_at(end):
                    message = await request.receive()
            except TimeoutError as error:
                raise ProblemError(
                    408, f"the body did not come within {bounds.seconds:g} s", headers={"Connection": "close"}
                ) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > bounds.body:
            raise _too_large(bounds)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


class Prompt11(H11Protocol):
    """HTTP/1.1 that closes a connection whose first request's head does not come in time."""

    def connection_made(self, transport: Any) -> None:
        """Start the clock."""
        super().connection_made(transport)
        self._clock = self.loop.call_later(_HEADERS_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop it."""
        self._clock.cancel()
        super().connection_lost(exc)

    def _too_slow(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


def server_of(app: ASGIApp, *, host: str, port: int) -> uvicorn.Server:
    """A server of an app, not yet running, which waits for no slow client and tells nothing of itself.

    Args:
        app: what answers.
        host: to listen at.
        port: to listen at.
    """
    config = uvicorn.Config(
        app, host=host, port=port, http=Prompt11, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, limit_concurrency=512, timeout_keep_alive=10, timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=16_384, proxy_headers=False,
    )  # fmt: skip
    return uvicorn.Server(config)
