"""Bodies that mitmproxy streams past us, or would hold back: kept for its views, within bounds.

Two cases. A request that is streamed (`stream_large_bodies`) has no body in the `request` hook, so it
is tapped on its way. An answer that is no LLM exchange, of unknown or large size, would be held back
whole until its end; it is passed on as it comes, and shown afterwards if it was small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy import ctx

if TYPE_CHECKING:
    from mitmproxy import http

    from kimi_mitm.capture import Budget

KEEP_REQUEST = 64 * 1024 * 1024
KEEP_OTHER = 1024 * 1024
_HOLD_BACK = 256 * 1024
"""Up to this size an answer may be held back as mitmproxy does anyway: it arrives in one piece."""


class Body:
    """Pieces in order up to a limit; beyond it nothing is kept. Calling it is the tap."""

    __slots__ = ("_budget", "_limit", "_pieces", "_size", "over")

    def __init__(self, budget: Budget, limit: int) -> None:
        self._budget = budget
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self.over = False

    def __call__(self, data: bytes) -> bytes:
        if not self.over and data:
            self._pieces.append(data)
            self._size += len(data)
            self._budget.held += len(data)
            if self._size > self._limit or self._budget.held > self._budget.limit:
                self.over = True
                self.release()
        return data

    def whole(self) -> bytes | None:
        """All of it, None when it was too long."""
        return None if self.over else b"".join(self._pieces)

    def release(self) -> None:
        """Forgets the pieces."""
        self._budget.held -= self._size
        self._size = 0
        self._pieces.clear()


def follow_request(flow: http.HTTPFlow, budget: Budget) -> None:
    """Taps a request that mitmproxy streams."""
    flow.request.stream = Body(budget, KEEP_REQUEST)


def request_body(flow: http.HTTPFlow) -> bytes | None:
    """The body that was tapped, put where mitmproxy's views find it; None if it is not known."""
    tap = flow.request.stream
    if not isinstance(tap, Body):
        return None
    body = tap.whole()
    tap.release()
    flow.request.stream = True
    if body is not None:
        flow.request.raw_content = body
    return body


def pass_through(flow: http.HTTPFlow, budget: Budget) -> None:
    """Has an answer that is none of ours passed on as it comes, unless it is small, or the user asked
    mitmproxy to change bodies."""
    response = flow.response
    if response is None or response.stream or ctx.options.modify_body:
        return
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) <= _HOLD_BACK:
        return
    response.stream = Body(budget, KEEP_OTHER)


def restore(flow: http.HTTPFlow) -> None:
    """Shows the body of an answer that was passed on, if it was small enough to keep."""
    response = flow.response
    if response is None or not isinstance(response.stream, Body):
        return
    body = response.stream.whole()
    response.stream.release()
    response.stream = True
    if body is not None and response.raw_content is None:
        response.raw_content = body
