"""The HTTP interface: OpenAI's completions and chat, with ``steering`` in the body and in the answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from fastapi import FastAPI, Request
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from emotion_circuits.directions import Reader
from emotion_circuits.errors import EmotionCircuitsError, WritingError
from emotion_circuits.language import LANGUAGES, speaking
from emotion_circuits.model import LanguageModel, Sampling, Site
from emotion_circuits.model.chat import chat_prompts, has_chat_template, spoken
from emotion_circuits.model.generation import row_seed
from emotion_circuits.model.stepping import Row, Task, Token
from emotion_circuits.model.token_texts import token_text
from emotion_circuits.serve.bodies import ChatBody, CompletionBody, ReadingsBody, ToneBody
from emotion_circuits.serve.engine import Engine, FullError, Ticket, Writes
from emotion_circuits.serve.guarding import Bounds, Guard, ProblemError, json_body, problem
from emotion_circuits.serve.metrics import Metrics
from emotion_circuits.serve.offering import offered
from emotion_circuits.serve.pages import add_studio
from emotion_circuits.serve.steering import Plan, plan
from emotion_circuits.serve.tone_desk import Desk, GoneError, LateError
from emotion_circuits.serve.vectors import Shelf

__all__ = ["ReadsFor", "Service", "make_app"]

Body = TypeVar("Body", bound=BaseModel)
_log = logging.getLogger("emotion_circuits.serve")


@dataclass(frozen=True, eq=False)
class ReadsFor:
    """A reader, and what its values are called here.

    Attributes:
        reader: of a run.
        called: by value, as the reader calls it.
    """

    reader: Reader
    called: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """What its scores are of, in the reader's order."""
        return [self.called.get(value, value) for value in self.reader.labels[:-1]]


@dataclass(eq=False)
class Service:
    """What a server has.

    Attributes:
        model: that writes; its tokenizer belongs to the engine's thread.
        encoder: a replica whose tokenizer reads requests, one at a time: how special tokens are read is a state of a tokenizer,
            which plain text and chats want otherwise.
        served: what it is steered with.
        engine: at work.
        readers: read texts, each the values of a run; on a replica of the model; none where no run has one.
        name: of the model in answers.
        key: that requests must bear.
        bounds: of a request.
        loopback: whether the server listens to this machine only.
        desk: answers requests for a tone.
    """

    model: LanguageModel
    encoder: LanguageModel
    served: Shelf
    engine: Writes
    readers: tuple[ReadsFor, ...]
    name: str
    desk: Desk
    key: str | None = None
    bounds: Bounds = field(default_factory=Bounds)
    loopback: bool = True
    metrics: Metrics = field(default_factory=Metrics)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def encoding(self) -> threading.Lock:
        """Held while the encoder is used."""
        return self.desk.encoding


@dataclass(eq=False)
class _Job:
    """One text of an answer, and what is done to it."""

    task: Task
    plan: Plan
    sent: str = ""
    row: Row | None = None
    tokens: list[Token] = field(default_factory=list)


def make_app(service: Service) -> FastAPI:
    """The application.

    Args:
        service: what it answers with.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    def counted(method: str, path: str, status: int, seconds: float) -> None:
        path = path if path in _PATHS else "other"
        service.metrics.requests[path, status] += 1
        # What was asked or written stands in no log.
        _log.info("%s %s %d %.0f ms", method, path, status, 1000 * seconds)

    add_studio(app)
    app.add_middleware(Guard, key=service.key, bounds=service.bounds, loopback=service.loopback, counted=counted)

    @app.exception_handler(ProblemError)
    async def _problem(_request: Request, error: ProblemError) -> Response:
        return problem(error)

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        return problem(ProblemError(error.status_code, str(error.detail)))

    @app.get("/healthz")
    async def _health() -> Response:
        return JSONResponse(
            {"status": "ok"} if service.engine.alive else {"status": "failed"}, 200 if service.engine.alive else 503
        )

    @app.get("/metrics")
    async def _metrics() -> Response:
        gauges = {"running": service.engine.running, "waiting": service.engine.waiting}
        return PlainTextResponse(service.metrics.text(gauges), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models")
    async def _models() -> Response:
        without = service.served.unranged | service.served.unwritten
        one = {
            "id": service.name, "object": "model", "created": 0, "owned_by": "emotion-circuits",
            "steering": {
                v: {"validated": [0, 1], "measured": r.measured, "layers": list(r.condition.layers)}
                for v, r in service.served.ranges.items()
            } | {v: {"validated": None, "reason": why} for v, why in without.items()},
            "chat": has_chat_template(service.model),
        }  # fmt: skip
        return _json({"object": "list", "data": [one]})

    @app.get("/v1/steering")  # not async: names may need a catalogue, which takes a second to read
    def _steering() -> Response:
        about = {
            "model": service.name,
            "chat": has_chat_template(service.model),
            "readings": bool(service.readers) and isinstance(service.engine, Engine),
        }
        return _json({"object": "steering", **about, **offered(service.served, whole_path=service.loopback)})

    @app.post("/v1/completions")
    async def _completions(request: Request) -> Response:
        body = await _read(service, request, CompletionBody)
        jobs = await run_in_threadpool(_spoken, request, _completion_jobs, service, body)
        return await _answer(service, request, body, jobs, _Completion)

    @app.post("/v1/chat/completions")
    async def _chat(request: Request) -> Response:
        body = await _read(service, request, ChatBody)
        jobs = await run_in_threadpool(_spoken, request, _chat_jobs, service, body)
        return await _answer(service, request, body, jobs, _Chat)

    @app.post("/v1/readings")
    async def _readings(request: Request) -> Response:
        body = await _read(service, request, ReadingsBody)
        if not service.readers:
            raise ProblemError(400, _UNREAD)
        try:
            async with service.reading:
                rows = await run_in_threadpool(_scored, service.readers, list(body.input))
        except EmotionCircuitsError as error:
            raise ProblemError(400, str(error), param="input") from error
        return _json({"object": "list", "model": service.name, "data": rows})

    @app.post("/v1/tone")
    async def _tone(request: Request) -> Response:
        return await _toned(service, request, await _read(service, request, ToneBody))

    return app


_PATHS = (
    "/healthz", "/metrics", "/v1/models", "/v1/steering", "/v1/completions", "/v1/chat/completions", "/v1/readings",
    "/v1/tone", "/studio",
)  # fmt: skip


_UNREAD = "no run that is served has a reader of texts"


def _scored(readers: Sequence[ReadsFor], texts: list[str]) -> list[dict[str, Any]]:
    """By text the score of every value, and what each reader calls it; the first reader's label stands alone as well."""
    rows: list[dict[str, Any]] = [{"index": i, "label": "", "labels": [], "scores": {}} for i in range(len(texts))]
    for one in readers:
        reader = one.reader
        for row, found in zip(rows, reader.read(texts).to_dict("records"), strict=True):
            label = one.called.get(found["label"], found["label"])
            row["label"] = row["label"] or label
            row["labels"].append(label)
            scores = [_number(found[f"score_{v}"]) for v in reader.labels[:-1]]
            row["scores"] |= dict(zip(one.names, scores, strict=True))
    return rows


def _json(value: Any, status: int = 200) -> Response:
    return Response(
        json.dumps(_finite(value), ensure_ascii=False, allow_nan=False), status, media_type="application/json"
    )


def _finite(value: Any) -> Any:
    """Without NaN, which JSON has not."""
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | None:
    return float(value) if abs(value) < float("inf") else None


async def _read(service: Service, request: Request, kind: type[Body]) -> Body:
    given = await json_body(request, service.bounds)
    try:
        body = kind.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = ".".join(str(part) for part in first["loc"][:3])
        what = f"{param}: {first['msg']}" if param else str(first["msg"])
        raise ProblemError(400, what, param=param or None, code=str(first["type"])) from error
    asked = getattr(body, "model", None)
    if asked not in (None, service.name):
        raise ProblemError(
            404, f"there is no model {asked!r}; there is: {service.name}", param="model", code="model_not_found"
        )
    return body


def _spoken(request: Request, jobs: Callable[[Service, Body], list[_Job]], service: Service, body: Body) -> list[_Job]:
    """Jobs whose warnings are in the language that the client asks for first."""
    asked = request.headers.get("accept-language", "")[:35].split(",")[0].split(";")[0].split("-")[0].strip().lower()
    with speaking(asked if asked in LANGUAGES else "en"):
        return jobs(service, body)


# -- what is to be written -----------------------------------------------------------------------------------------------


def _jobs(
    service: Service,
    body: CompletionBody | ChatBody,
    prompts: Sequence[tuple[Sequence[int], Sequence[int] | None]],
    length: int,
    *,
    chat: bool,
) -> list[_Job]:
    how = Sampling(max_new_tokens=length, temperature=body.temperature, top_p=body.top_p)
    seed = body.seed if body.seed is not None else secrets.randbits(48)
    watch: tuple[Site, ...] = ()
    if body.readings:
        if not service.readers:
            raise ProblemError(400, _UNREAD, param="readings")
        if not isinstance(service.engine, Engine):
            raise ProblemError(400, "the engine 'vllm' hands out no states, so that no token is read", param="readings")
        members = [member for one in service.readers for member in one.reader.members]
        watch = tuple(dict.fromkeys(Site(d.kind, layer) for d, layer in members))  # type: ignore[arg-type]
    jobs = []
    for number, (ids, said) in enumerate(prompts):
        made = plan(service.model, service.served, body.steering, tokens=len(ids), spoken=said, chat=chat)
        for sample in range(body.n):
            task = Task(
                ids=ids, sampling=how, seed=row_seed(seed, number, sample), interventions=made.interventions,
                stop=body.stop, along=made.along, logprobs=body.top, watch=watch, live=body.stream,
            )  # fmt: skip
            jobs.append(_Job(task, made))
    return jobs


def _completion_jobs(service: Service, body: CompletionBody) -> list[_Job]:
    try:
        with service.encoding:
            rows = service.encoder.encode(list(body.prompt), room=body.max_tokens).ids
        if any(len(row) <= len(service.model.prefix) for row in rows):
            raise EmotionCircuitsError("prompt: an empty text has no tokens to continue")
        return _jobs(service, body, [(row, None) for row in rows], body.max_tokens, chat=False)
    except EmotionCircuitsError as error:
        raise ProblemError(400, str(error)) from error


def _chat_jobs(service: Service, body: ChatBody) -> list[_Job]:
    model = service.encoder
    if not has_chat_template(model):
        raise ProblemError(400, f"{service.name} has no chat template; use /v1/completions", code="no_chat_template")
    turns = [{"role": "system" if m.role == "developer" else m.role, "content": m.text} for m in body.messages]
    try:
        (text,) = chat_prompts(model, [turns])
        with service.encoding:
            encoded = model.encode([text], add_special_tokens=False, room=body.length)
        said = spoken(text, [turn["content"] for turn in turns], encoded.offsets[0])
        return _jobs(service, body, [(encoded.ids[0], said)], body.length, chat=True)
    except EmotionCircuitsError as error:
        raise ProblemError(400, str(error)) from error


# -- the answer ----------------------------------------------------------------------------------------------------------


async def _answer(
    service: Service, request: Request, body: CompletionBody | ChatBody, jobs: list[_Job], shape: type[_Shape]
) -> Response:
    loop = asyncio.get_running_loop()
    news: asyncio.Queue[tuple[int, Token | None, Row]] = asyncio.Queue()

    def listener(place: int, token: Token | None, row: Row) -> None:
        try:
            loop.call_soon_threadsafe(news.put_nowait, (place, token, row))
        except RuntimeError:  # the server is gone
            return

    try:
        ticket = service.engine.submit([job.task for job in jobs], listener)
    except EmotionCircuitsError as error:
        raise ProblemError(400, str(error)) from error
    except FullError as error:
        raise _full(error) from error
    made = shape(service, body, jobs)
    events = _events(service, ticket, jobs, news)
    if body.stream:
        return StreamingResponse(_streamed(made, events, ticket), media_type="text/event-stream", headers=_NO_STORE)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        work = asyncio.ensure_future(_drained(events))
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            return Response(status_code=499)
        work.result()
    finally:
        gone.cancel()
        ticket.cancel()
    return _json(made.whole())


async def _toned(service: Service, request: Request, body: ToneBody) -> Response:
    """The agent at work in a thread of its own, until it has an answer or nobody waits for one."""
    loop, gone = asyncio.get_running_loop(), threading.Event()
    done: asyncio.Future[dict[str, Any]] = loop.create_future()

    def settle(found: dict[str, Any] | None, error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(found or {})

    def work() -> None:
        found, failed = None, None
        try:
            found = service.desk.answer(body, gone)
        except Exception as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the server is gone
            loop.call_soon_threadsafe(settle, found, failed)

    threading.Thread(target=work, name="emotion-circuits tone", daemon=True).start()
    left = asyncio.ensure_future(_disconnected(request))
    try:
        both: set[asyncio.Future[Any]] = {done, left}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            done.cancel()
            return Response(status_code=499)
        found = done.result()
    except WritingError as error:
        raise ProblemError(500, str(error), kind="server_error", code="generation_failed") from error
    except EmotionCircuitsError as error:
        raise ProblemError(400, str(error)) from error
    except FullError as error:
        raise _full(error) from error
    except LateError as error:
        limit = service.engine.limits.seconds
        raise ProblemError(
            504,
            f"it took longer than {limit:g} s; ask for fewer tries or shorter texts",
            kind="server_error",
            code="timeout",
        ) from error
    except GoneError:
        return Response(status_code=499)
    finally:
        left.cancel()
        gone.set()
    service.metrics.tokens["written"] += sum(text["tokens"] for tried in found["tries"] for text in tried["texts"])
    return _json({"object": "tone", "model": service.name, **found})


def _full(error: FullError) -> ProblemError:
    return ProblemError(
        429, str(error), kind="rate_limit_error", code="queue_full", headers={"Retry-After": str(error.seconds)}
    )


_NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _drained(events: AsyncIterator[tuple[int, Token | None, str]]) -> None:
    async for _ in events:
        pass


async def _events(
    service: Service, ticket: Ticket, jobs: list[_Job], news: asyncio.Queue[tuple[int, Token | None, Row]]
) -> AsyncIterator[tuple[int, Token | None, str]]:
    """``(which, token, new text)``, the token ``None`` at the end of a text; raises where a text failed."""
    start, open_ = time.monotonic(), len(jobs)
    first = True
    while open_:
        place, token, row = await news.get()
        job = jobs[place]
        if token is not None:
            if first:
                service.metrics.took("first_token_seconds", time.monotonic() - start)
                first = False
            job.tokens.append(token)
            job.sent += token.text
            yield place, token, token.text
            continue
        open_ -= 1
        job.row = row
        if row.reason == "cancelled":
            limit = service.engine.limits.seconds
            why = f"it took longer than {limit:g} s" if ticket.late else "it was cancelled"
            raise ProblemError(504, why, kind="server_error", code="timeout")
        if row.reason == "error":
            raise ProblemError(500, row.error, kind="server_error", code="generation_failed")
        still = job.plan.still([row])
        if still is not None:
            service.metrics.unmoved += 1
            raise ProblemError(
                500, f"steering.{still}: the text's projection on the direction did not move, so that this would be an unsteered "
                "answer", kind="server_error", code="steering_failed",
            )  # fmt: skip
        yield place, None, row.text[len(job.sent) :] if job.task.live else ""
    service.metrics.took("request_seconds", time.monotonic() - start)
    service.metrics.tokens["read"] += sum(len(job.task.ids) for job in jobs)
    service.metrics.tokens["written"] += sum(len(job.tokens) for job in jobs)


async def _streamed(
    shape: _Shape, events: AsyncIterator[tuple[int, Token | None, str]], ticket: Ticket
) -> AsyncIterator[str]:
    try:
        for chunk in shape.opening():
            yield _sse(chunk)
        async for place, token, text in events:
            yield _sse(shape.piece(place, token, text))
        yield _sse(shape.closing())
        yield "data: [DONE]\n\n"
    except ProblemError as error:
        yield _sse(error.body)
    finally:
        ticket.cancel()


def _sse(value: Any) -> str:
    return f"data: {json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)}\n\n"


class _Shape:
    """How an answer is laid out."""

    object_name = ""
    chunk_name = ""

    def __init__(self, service: Service, body: CompletionBody | ChatBody, jobs: list[_Job]) -> None:
        self.service, self.body, self.jobs = service, body, jobs
        self.head = {
            "id": f"{'chatcmpl' if isinstance(self, _Chat) else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()), "model": service.name,
        }  # fmt: skip

    def choice(self, place: int) -> dict[str, Any]:
        """A finished text."""
        raise NotImplementedError

    def delta(self, text: str) -> dict[str, Any]:
        """A piece of one."""
        raise NotImplementedError

    def told(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        """Log-probabilities of tokens."""
        raise NotImplementedError

    def whole(self) -> dict[str, Any]:
        """The answer at once."""
        choices = [self.choice(place) for place in range(len(self.jobs))]
        return {**self.head, "object": self.object_name, "choices": choices, "usage": self._usage(), **self._steering()}

    def opening(self) -> list[dict[str, Any]]:
        """Chunks before the first token."""
        return []

    def piece(self, place: int, token: Token | None, text: str) -> dict[str, Any]:
        """A chunk."""
        choice: dict[str, Any] = {
            "index": place, **self.delta(text), "finish_reason": None,
            "logprobs": self.told([token]) if token is not None and self.body.top is not None else None,
        }  # fmt: skip
        row = self.jobs[place].row
        if token is None and row is not None:
            choice["finish_reason"] = row.reason
        elif token is not None and self.body.readings:
            choice["readings"] = self._readings([token])
        return {**self.head, "object": self.chunk_name, "choices": [choice]}

    def closing(self) -> dict[str, Any]:
        """The chunk behind all texts: what steering did, and where it is wanted what was used."""
        usage = {"usage": self._usage()} if self.body.stream_options and self.body.stream_options.include_usage else {}
        return {**self.head, "object": self.chunk_name, "choices": [], **usage, **self._steering()}

    def _usage(self) -> dict[str, int]:
        n = max(self.body.n, 1)
        read = sum(len(job.task.ids) for job in self.jobs[::n])
        wrote = sum(len(job.tokens) for job in self.jobs)
        return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}

    def _steering(self) -> dict[str, Any]:
        rows = [job.row for job in self.jobs if job.row is not None]
        return {"steering": self.jobs[0].plan.report(rows)}

    def _readings(self, tokens: Sequence[Token]) -> list[dict[str, Any]]:
        """By token the score of every value, as ``/v1/readings`` gives a text; above 0 is beyond the threshold."""
        rows: list[dict[str, Any]] = [{"token": self._token(t.id), "scores": {}} for t in tokens]
        for one in self.service.readers if tokens else ():
            reader = one.reader
            total = torch.zeros(len(tokens), len(reader.labels) - 1, dtype=torch.float64)
            for (directions, layer), scale in zip(
                reader.members, reader.scales or (1.0,) * len(reader.members), strict=True
            ):
                states = torch.stack([t.states[Site(directions.kind, layer)] for t in tokens])  # type: ignore[arg-type]
                total += directions.scores(states.cpu(), layer) / scale
            for row, found in zip(rows, (total / len(reader.members)).tolist(), strict=True):
                row["scores"] |= dict(zip(one.names, found, strict=True))
        return rows

    def _token(self, token: int) -> str:
        with self.service.encoding:
            return token_text(self.service.encoder.tokenizer, token)


class _Completion(_Shape):
    object_name = chunk_name = "text_completion"

    def choice(self, place: int) -> dict[str, Any]:
        job = self.jobs[place]
        assert job.row is not None
        found = {
            "index": place, "text": job.row.text, "finish_reason": job.row.reason,
            "logprobs": self.told(job.tokens) if self.body.top is not None else None,
        }  # fmt: skip
        return found | ({"readings": self._readings(job.tokens)} if self.body.readings else {})

    def delta(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def told(self, tokens: Sequence[Token]) -> dict[str, Any]:
        names = [self._token(t.id) for t in tokens]
        offsets = [sum(map(len, names[:i])) for i in range(len(names))]
        return {
            "tokens": names, "token_logprobs": [t.logprob for t in tokens], "text_offset": offsets,
            "top_logprobs": [{self._token(i): p for i, p in t.top} for t in tokens] if self.body.top else None,
        }  # fmt: skip


class _Chat(_Shape):
    object_name, chunk_name = "chat.completion", "chat.completion.chunk"

    def choice(self, place: int) -> dict[str, Any]:
        job = self.jobs[place]
        assert job.row is not None
        found = {
            "index": place, "message": {"role": "assistant", "content": job.row.text, "refusal": None},
            "finish_reason": job.row.reason, "logprobs": self.told(job.tokens) if self.body.top is not None else None,
        }  # fmt: skip
        return found | ({"readings": self._readings(job.tokens)} if self.body.readings else {})

    def opening(self) -> list[dict[str, Any]]:
        role = {"delta": {"role": "assistant", "content": ""}, "finish_reason": None, "logprobs": None}
        return [
            {**self.head, "object": self.chunk_name, "choices": [{"index": i, **role} for i in range(len(self.jobs))]}
        ]

    def delta(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text} if text else {}}

    def told(self, tokens: Sequence[Token]) -> dict[str, Any]:
        def one(token: int, logprob: float | None) -> dict[str, Any]:
            name = self._token(token)
            return {"token": name, "logprob": logprob, "bytes": list(name.encode())}

        return {
            "content": [{**one(t.id, t.logprob), "top_logprobs": [one(i, p) for i, p in t.top]} for t in tokens],
            "refusal": None,
        }
