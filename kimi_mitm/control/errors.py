"""Errors in the contract's one shape: `{"error": {"code", "message"}}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

_WORDS: Mapping[int, tuple[str, str]] = {
    400: ("bad_request", "The request can't be understood."),
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This method is not allowed here."),
    415: ("unsupported_media_type", "Send Content-Type: application/json."),
}
_MAX_PROBLEMS = 5
_MAX_NAME = 60


def error_body(code: str, message: str) -> bytes:
    """The JSON of an error."""
    return msgspec.json.encode({"error": {"code": code, "message": message}})


def error_response(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer that carries an error."""
    return Response(error_body(code, message), status, headers, media_type="application/json")


def install(app: FastAPI, routes: Iterable[BaseRoute]) -> None:
    """Makes the framework's own errors leave in this shape; `guard` does so for `ControlError`."""
    app.state.routes = tuple(route for route in routes if isinstance(route, Route))
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, message = _WORDS.get(error.status_code, ("http_error", "The request was refused."))
    headers = {"allow": _allowed(request)} if error.status_code == 405 else error.headers
    return error_response(error.status_code, code, message, headers)


def _allowed(request: Request) -> str:
    """The methods of every route with this path (the framework only tells those of the first), where a
    path that is spelled out hides one with a name in it."""
    found = [route for route in request.app.state.routes if route.matches(request.scope)[0] is not Match.NONE]
    literal = [route for route in found if route.path == request.url.path]
    return ", ".join(sorted({method for route in literal or found for method in route.methods or ()}))


async def _validation_error(_: Request, error: Exception) -> Response:
    """Names each wrong field and what is wrong with it, never the value that was sent."""
    assert isinstance(error, RequestValidationError)
    found = [f"{_place(item['loc'])}: {item['msg']}" for item in error.errors()[:_MAX_PROBLEMS]]
    return error_response(422, "invalid", "; ".join(found))


def _place(loc: tuple[int | str, ...]) -> str:
    names = [part for part in loc if isinstance(part, str) and part not in ("body", "query", "path")]
    name = ".".join(names)[:_MAX_NAME]
    return name.encode("utf-8", "replace").decode() or "body"
