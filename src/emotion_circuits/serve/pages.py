"""The studio's files, and the headers that keep a page from being anything else than they say."""

from __future__ import annotations

from importlib.resources import files

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from emotion_circuits.language import LANGUAGES
from emotion_circuits.serve.wording import words

__all__ = ["HEADERS", "add_studio"]

_KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}

HEADERS = {
    # No script or style but those files, no request elsewhere, and no string ever becomes markup ('trusted-types').
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def add_studio(app: FastAPI) -> None:
    """Give an application the studio at ``/studio``, and send whoever comes to ``/`` there.

    Args:
        app: it has ``/v1/…``, which the page asks.
    """
    # Read once, and looked up by name: no path of a request reaches the disk.
    kept = {
        file.name: (file.read_bytes(), f"{_KINDS[suffix]}; charset=utf-8")
        for file in files("emotion_circuits.serve").joinpath("studio").iterdir()
        for suffix in _KINDS
        if file.name.endswith(suffix)
    }

    def file(name: str) -> Response:
        if name not in kept:
            raise HTTPException(404, "the studio has no such file")
        body, kind = kept[name]
        return Response(body, headers={**HEADERS, "Content-Type": kind})

    @app.get("/")
    async def _root() -> Response:
        return RedirectResponse("studio")

    @app.get("/studio")
    async def _page() -> Response:
        return file("index.html")

    @app.get("/studio/words/{code}")  # not async: a catalogue takes a second to read, in which others' texts go on
    def _words(code: str) -> Response:
        code = code if code in LANGUAGES else "en"  # whatever a browser speaks
        return JSONResponse({"language": code, "languages": list(LANGUAGES), "words": words(code)}, headers=HEADERS)

    @app.get("/studio/{name}")
    async def _file(name: str) -> Response:
        return file(name)
