"""The page, the API's documentation, and the files they are made of.

Everything is read once from the package into a fixed table, so no request's path ever becomes a
file's path. The files hold no data; with a token set, they are what lets a browser ask for it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

from fastapi import APIRouter, Request, Response

from kimi_mitm.control.routes.common import missing

router = APIRouter(include_in_schema=False)

_TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


@functools.cache
def files() -> Mapping[str, bytes]:
    """The page's files by name."""
    folder = resources.files("kimi_mitm.control") / "static"
    known = [entry for entry in folder.iterdir() if entry.name.rpartition(".")[2] in _TYPES]
    return {entry.name: entry.read_bytes() for entry in known}


@router.get("/")
async def get_page(request: Request) -> Response:
    """The page."""
    return _file("index.html", getattr(request.state, "status", 200))


@router.get("/docs")
async def get_docs(request: Request) -> Response:
    """The API's documentation, drawn from `/openapi.json`."""
    return _file("docs.html", getattr(request.state, "status", 200))


@router.get("/static/{name}")
async def get_file(name: str) -> Response:
    """One of the page's files."""
    return _file(name)


def _file(name: str, status: int = 200) -> Response:
    content = files().get(name)
    if content is None:
        raise missing("page")
    return Response(content, status, media_type=_TYPES[name.rpartition(".")[2]])
