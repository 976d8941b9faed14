"""Who may ask: the checks before any route sees a request, and the headers on every answer.

The endpoint runs on a developer's machine, where any web page can make the browser send requests
to loopback. So: the Host must be ours (DNS rebinding), a request that carries a browser's marks
must come from our own page, nothing is shared across origins, and bodies are small.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kimi_mitm.control.errors import error_body
from kimi_mitm.control.service import ControlError

log = logging.getLogger("kimi_mitm.control")

MAX_BODY = 64 * 1024
"""Bytes of a request body; the largest body that any route takes is under 1 KiB."""

MAX_HEAD = 16 * 1024
"""Bytes of a request's headers and query; browsers send some 2 KiB."""

BODY_TIMEOUT_S = 10.0
_DRAIN = 32 * 1024 * 1024

_LOCAL_HOST = re.compile(rb"(127\.0\.0\.1|localhost|\[::1\]|kimi\.mitm)(:[0-9]{1,5})?", re.IGNORECASE)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_PAGES = frozenset({"/", "/docs"})
_OPEN_PREFIX = "/static/"

_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """How the endpoint is protected. `loopback` is False when it listens on other addresses as well,
    which needs a token. Raises ValueError when it has none then."""

    token: str = ""
    admin_token: str = ""
    loopback: bool = True
    version: str = "0"
    max_body: int = MAX_BODY

    def __post_init__(self) -> None:
        if not self.loopback and not self.token:
            raise ValueError("kimi_control listens beyond loopback, so kimi_control_token must be set")


class Guard:
    """ASGI middleware: refuses what isn't allowed, limits bodies, adds headers, hides our own faults."""

    def __init__(self, app: ASGIApp, settings: ControlSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = Answer(scope, send)
        try:
            self._admit(scope)
            if scope["type"] == "http" and scope["method"] not in _SAFE:
                receive = await self._body(scope, receive)
            await self._app(scope, receive, answer.send)
        except ControlError as error:
            await answer.refuse(error)
        except Exception:
            log.exception("The control endpoint failed at %s", scope["path"][:100])
            await answer.refuse(
                ControlError(500, "internal", "Something went wrong inside; the log has the details.")
            )

    def _admit(self, scope: Scope) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = len(scope["query_string"]) + sum(len(name) + len(value) for name, value in headers)
        if size > MAX_HEAD or len(scope["path"]) > MAX_HEAD:
            raise ControlError(431, "too_large", f"A request's headers may have {MAX_HEAD} bytes.")
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or (self._settings.loopback and not _LOCAL_HOST.fullmatch(hosts[0])):
            raise ControlError(403, "bad_host", "This Host is not served here.")
        _check_origin(scope, headers, hosts[0])
        admin = self._check_token(scope, headers)
        scope.setdefault("state", {})["admin"] = admin

    def _check_token(self, scope: Scope, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = _bearer(headers)
        admin = _same(given, self._settings.admin_token)
        ours = _same(given, self._settings.token)
        path: str = scope["path"]
        is_open = path == "/health" or path.startswith(_OPEN_PREFIX)
        if self._settings.token and not (ours or admin or is_open):
            if scope["type"] == "http" and scope["method"] == "GET" and path in _PAGES:
                scope.setdefault("state", {})["status"] = 401
                return False
            raise ControlError(
                401, "unauthorized", "This needs Authorization: Bearer with the control token."
            )
        return admin

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        limit = self._settings.max_body
        declared = _header(scope["headers"], b"content-length") or b"0"
        size = int(declared) if declared.isdigit() else 0
        eager = _header(scope["headers"], b"expect") is None
        if size > limit:
            if eager and size <= _DRAIN:
                await _drain(receive, _DRAIN)
            raise _too_large(limit)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _read(receive, limit)
        except TimeoutError:
            raise ControlError(408, "timeout", "The request's body did not come in time.") from None
        if body.strip():
            _check_content_type(_header(scope["headers"], b"content-type"))
        return _replay(body, receive)


class Answer:
    """One answer on its way: adds our headers, and says errors in the contract's shape if it still can."""

    __slots__ = ("_scope", "_send", "_started")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._started = False

    async def send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            message["headers"] = [*message.get("headers", ()), *_HEADERS]
            self._started = True
        elif message["type"] in ("websocket.accept", "websocket.close"):
            self._started = True
        await self._send(message)

    async def refuse(self, error: ControlError) -> None:
        """Answers with the error; ends the connection when an answer has begun."""
        websocket = self._scope["type"] == "websocket"
        if self._started:
            if websocket:
                await self._send({"type": "websocket.close", "code": 1011})
                return
            raise error
        prefix = "websocket.http.response" if websocket else "http.response"
        if websocket and "websocket.http.response" not in self._scope.get("extensions", {}):
            await self.send({"type": "websocket.close", "code": 1008})
            return
        body = error_body(error.code, error.message)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if error.status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="kimi-mitm"'))
        if error.status == 503:
            headers.append((b"retry-after", b"10"))
        if error.status in (408, 413):
            headers.append((b"connection", b"close"))
        await self.send({"type": f"{prefix}.start", "status": error.status, "headers": headers})
        await self.send({"type": f"{prefix}.body", "body": body})


def _check_origin(scope: Scope, headers: Iterable[tuple[bytes, bytes]], host: bytes) -> None:
    """Refuses what a foreign page makes a browser send. Only opening one of our addresses (a navigation,
    which shows the answer to the user and to nobody else) may come from elsewhere."""
    origin = _header(headers, b"origin")
    site = _header(headers, b"sec-fetch-site")
    safe = scope["type"] == "http" and scope["method"] in _SAFE
    opened = safe and _header(headers, b"sec-fetch-mode") == b"navigate"
    foreign = site not in (None, b"same-origin", b"none")
    if origin is not None and origin.lower().partition(b"://")[2] != host.lower():
        foreign = True
    if foreign and not opened:
        raise ControlError(403, "cross_origin", "Requests from other sites are refused.")


def _check_content_type(value: bytes | None) -> None:
    if value is None or value.partition(b";")[0].strip().lower() != b"application/json":
        raise ControlError(415, "unsupported_media_type", "Send Content-Type: application/json.")


def _header(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    scheme, _, token = (_header(headers, b"authorization") or b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _same(given: bytes, wanted: str) -> bool:
    return bool(wanted) and hmac.compare_digest(given, wanted.encode())


def _too_large(limit: int) -> ControlError:
    return ControlError(413, "too_large", f"A request's body may have {limit} bytes.")


async def _read(receive: Receive, limit: int) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            if more:
                await _drain(receive, _DRAIN)
            raise _too_large(limit)
        if not more:
            return bytes(body)


async def _drain(receive: Receive, limit: int) -> None:
    """Lets a client finish sending what we won't read: one that is cut off while sending sees a broken
    connection instead of the answer."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while limit > 0:
                message = await receive()
                limit -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
