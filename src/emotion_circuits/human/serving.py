"""Raters' pages from a server: one secret link per rater, answers kept as they come."""

from __future__ import annotations

import secrets
from pathlib import Path

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.human.reading import Given, answer_problem
from emotion_circuits.human.records import Design
from emotion_circuits.human.sheet import page_html, policy
from emotion_circuits.human.storing import Store
from emotion_circuits.sealing import read_sealed, write_sealed
from emotion_circuits.serve.guarding import Bounds, Guard, ProblemError, json_body, problem

__all__ = ["LINKS", "links_of", "make_app"]

LINKS = "links.json"
_BOUNDS = Bounds(body=1 << 16, per_minute=1200)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    language: str = Field(pattern=r"^[a-z]{2}$")
    consent: str = Field(min_length=1, max_length=40)
    item: str
    answer: dict[str, str | int]
    seconds: float = Field(ge=0, allow_inf_nan=False)
    at: str = Field(min_length=1, max_length=40)


def links_of(folder: Path, design: Design) -> dict[str, str]:
    """Rater → secret part of their link; drawn once per study and kept in ``links.json``.

    Args:
        folder: of the study.
        design: of the study.

    Raises:
        EmotionCircuitsError: the file is damaged, or another study's.
    """
    path = folder / LINKS
    remedy = "delete it, and new links are made (old ones lead nowhere then)"
    if path.is_file():
        found = read_sealed(path, remedy)
        links = found.get("links") if isinstance(found, dict) and found.get("study") == design.name else None
        if not isinstance(links, dict) or set(links) != set(design.forms):
            raise EmotionCircuitsError(f"{path}: holds no links of this study; {remedy}")
        return {str(rater): str(link) for rater, link in links.items()}
    links = {rater: secrets.token_urlsafe(18) for rater in design.forms}
    write_sealed(path, {"study": design.name, "links": links})
    path.chmod(0o600)
    return links


def make_app(design: Design, store: Store, links: dict[str, str], *, loopback: bool = True) -> FastAPI:
    """The application.

    Args:
        design: of the study.
        store: of its answers.
        links: of :func:`links_of`.
        loopback: whether it listens to this machine only.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    raters = {link: rater for rater, link in links.items()}
    headers = {
        "Content-Security-Policy": policy(connects=True) + "; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    # Links are secret: no path stands in a log.
    app.add_middleware(Guard, key=None, bounds=_BOUNDS, loopback=loopback, counted=lambda *_: None)

    def rater_of(link: str) -> str:
        if link not in raters:
            raise HTTPException(404, "there is no such page")
        return raters[link]

    @app.exception_handler(ProblemError)
    async def _problem(_request: Request, error: ProblemError) -> Response:
        return problem(error)

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> Response:
        return problem(ProblemError(error.status_code, str(error.detail)))

    @app.get("/healthz")
    async def _health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/r/{link}")
    def _page(link: str) -> Response:
        html = page_html(design, rater_of(link), connects=True)
        return Response(html, headers={**headers, "Content-Type": "text/html; charset=utf-8"})

    @app.get("/r/{link}/answers")
    def _answers(link: str) -> Response:
        rater = rater_of(link)
        return JSONResponse({"format": 1, "study": design.name, "rater": rater, **store.of(rater)}, headers=headers)

    @app.post("/r/{link}/answers")
    async def _answer(link: str, request: Request) -> Response:
        rater = rater_of(link)
        try:
            body = _Body.model_validate(await json_body(request, _BOUNDS))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            raise ProblemError(400, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        if body.item not in design.forms[rater].items:
            raise ProblemError(400, "item: is not of this form", param="item")
        if wrong := answer_problem(design, body.item, dict(body.answer)):
            raise ProblemError(400, wrong, param="answer")
        given = Given(item=body.item, answer=dict(body.answer), seconds=body.seconds, at=body.at)
        await run_in_threadpool(store.put, rater, body.language, body.consent, given)
        return JSONResponse({"kept": body.item}, headers=headers)

    return app
