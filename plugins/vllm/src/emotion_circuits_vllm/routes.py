"""Routes beside vLLM's own: what can be steered with, and texts written from tokens, with what was done to each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from argparse import Namespace
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Annotated, Any

import vllm
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import State
from starlette.responses import JSONResponse, Response, StreamingResponse

from emotion_circuits_vllm import PROTOCOL
from emotion_circuits_vllm.asking import KEY
from emotion_circuits_vllm.shelf import Shelf

__all__ = ["Routes"]

ROOT = "/v1/emotion-circuits"


class _Task(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
    max_tokens: int = Field(ge=1)
    min_tokens: int = Field(default=0, ge=0)
    temperature: float = Field(default=0.0, ge=0, le=100, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    top_k: int = Field(default=0, ge=0)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    ends: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list, max_length=64)
    logprobs: int | None = Field(default=None, ge=0, le=20)
    steering: dict[str, Any] | None = None


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: Annotated[list[_Task], Field(min_length=1, max_length=1024)]


class Routes:
    """An endpoint plugin: ``GET /v1/emotion-circuits`` and ``POST /v1/emotion-circuits/write``."""

    name = "emotion_circuits"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add the routes."""
        app.add_api_route(ROOT, _about, methods=["GET"])
        app.add_api_route(f"{ROOT}/write", _write, methods=["POST"])

    async def init_state(self, engine_client: Any, state: State, args: Namespace) -> None:
        """Keep what the routes use."""
        state.emotion_circuits_engine = engine_client
        state.emotion_circuits_shelf = Shelf.of_environment()


def _no_vectors() -> Response:
    return JSONResponse({"error": {"message": "EMOTION_CIRCUITS_VECTORS names no vectors; nothing is steered"}}, 503)


async def _about(request: Request) -> Response:
    state = request.app.state
    shelf, engine = state.emotion_circuits_shelf, state.emotion_circuits_engine
    if shelf is None:
        return _no_vectors()
    model = engine.vllm_config.model_config
    return JSONResponse(
        {
            "object": "emotion-circuits", "protocol": PROTOCOL,
            "plugin": version("emotion-circuits-vllm"), "vllm": vllm.__version__,
            "model": model.model, "dtype": str(model.dtype), "layers": model.hf_text_config.num_hidden_layers,
            "width": model.get_hidden_size(), "max_tokens": model.max_model_len,
            "rows": engine.vllm_config.scheduler_config.max_num_seqs, "vectors": list(shelf.names()),
        }
    )  # fmt: skip


async def _write(request: Request) -> Response:
    try:
        body = _Body.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][:4])
        return JSONResponse({"error": {"message": f"{where}: {first['msg']}"}}, 400)
    if request.app.state.emotion_circuits_shelf is None:
        return _no_vectors()
    return StreamingResponse(_lines(request.app.state.emotion_circuits_engine, body), media_type="application/x-ndjson")


async def _lines(engine: Any, body: _Body) -> AsyncIterator[str]:
    """A line of JSON for every token of every text, and one at its end; if nobody reads them, the texts are given up."""
    news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    work = [asyncio.ensure_future(_text(engine, place, task, news)) for place, task in enumerate(body.tasks)]
    try:
        left = len(work)
        while left:
            line = await news.get()
            left -= "end" in line
            lines = [line]
            with contextlib.suppress(asyncio.QueueEmpty):
                while left:
                    lines.append(news.get_nowait())
                    left -= "end" in lines[-1]
            yield "".join(f"{json.dumps(one)}\n" for one in lines)
    finally:
        for one in work:
            one.cancel()


async def _text(engine: Any, place: int, task: _Task, news: asyncio.Queue[dict[str, Any]]) -> None:
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.sampling_params import RequestOutputKind

    try:
        params = SamplingParams(
            temperature=task.temperature, top_p=task.top_p, top_k=task.top_k, seed=task.seed, max_tokens=task.max_tokens,
            min_tokens=task.min_tokens, ignore_eos=True, stop_token_ids=list(task.ends), logprobs=task.logprobs, detokenize=False,
            output_kind=RequestOutputKind.DELTA, extra_args=None if task.steering is None else {KEY: json.dumps(task.steering)},
        )  # fmt: skip
        request = f"emotion-circuits-{uuid.uuid4().hex}"
        async for output in engine.generate({"prompt_token_ids": list(task.prompt)}, params, request):
            (one,) = output.outputs
            line: dict[str, Any] = {"task": place, "ids": list(one.token_ids)}
            if task.logprobs is not None and one.logprobs is not None:
                line["logprobs"] = [
                    [here[token].logprob, _most_probable(here, task.logprobs)]
                    for token, here in zip(one.token_ids, one.logprobs, strict=True)
                ]
            told = (output.kv_transfer_params or {}).get(KEY)
            if told is not None:
                line["steering"] = told
            if output.finished:
                line |= {"end": one.finish_reason, "steering": told, "from_cache": output.num_cached_tokens or 0}
                if one.finish_reason == "error":
                    line["error"] = (told or {}).get("still") or "the engine failed"
            await news.put(line)
    except (VLLMClientError, ValueError) as error:
        await news.put({"task": place, "ids": [], "end": "refused", "error": str(error)})
    except asyncio.CancelledError:
        raise
    except Exception as error:  # whoever waits for it gets an answer
        await news.put({"task": place, "ids": [], "end": "error", "error": f"{type(error).__name__}: {error}"})


def _most_probable(here: Any, count: int) -> list[tuple[int, float]]:
    ranked = sorted(here.items(), key=lambda pair: -pair[1].logprob)
    return [(int(token), float(one.logprob)) for token, one in ranked[:count]]
