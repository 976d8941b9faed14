"""Bodies that mitmproxy streams past us, or would hold back: passed on as they come, kept within bounds.

A request that is streamed (`stream_large_bodies`) has no body in the `request` hook, so it is tapped on
its way. An answer that is no LLM exchange, of unknown or large size, would be held back whole until its
end; it is passed on, and shown afterwards if it was small. Where a script streams a body through a
function of its own, that function still gets every piece, after us.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mitmproxy import ctx

if TYPE_CHECKING:
    from mitmproxy import http

    from kimi_mitm.proxy.capture import Budget

KEEP_REQUEST = 64 * 1024 * 1024
KEEP_OTHER = 1024 * 1024
_HOLD_BACK = 256 * 1024
"""Up to this size an answer may be held back as mitmproxy does anyway: it arrives in one piece."""

type Stream = Callable[[bytes], Iterable[bytes] | bytes]


class Body:
    """Pieces in order up to a limit; beyond it nothing is kept. Calling it is the tap."""

    __slots__ = ("_budget", "_held", "_limit", "_pieces", "over", "size")

    def __init__(self, budget: Budget, limit: int) -> None:
        self._budget = budget
        self._limit = limit
        self._pieces: list[bytes] = []
        self._held = 0
        self.size = 0
        self.over = False

    def __call__(self, data: bytes) -> bytes:
        size = len(data)
        self.size += size
        if not self.over and size:
            self._pieces.append(data)
            self._held += size
            self._budget.held += size
            if self._held > self._limit or self._budget.spent:
                self.over = True
                self.release()
        return data

    def whole(self) -> bytes | None:
        """All of it, None when it was too long."""
        return None if self.over else b"".join(self._pieces)

    def release(self) -> None:
        """Forgets the pieces."""
        self._budget.held -= self._held
        self._held = 0
        self._pieces.clear()


class Before:
    """Our tap, then the function by which a script streams the same body."""

    __slots__ = ("ours", "theirs")

    def __init__(self, ours: Stream, theirs: Stream) -> None:
        self.ours = ours
        self.theirs = theirs

    def __call__(self, data: bytes) -> Iterable[bytes] | bytes:
        self.ours(data)
        return self.theirs(data)


def tap(message: http.Message, ours: Stream) -> None:
    """Has the body streamed through our tap."""
    theirs: Any = message.stream
    message.stream = Before(ours, theirs) if callable(theirs) else ours


def untap(message: http.Message, ours: Stream) -> bool:
    """Lets go of the tap, which would keep the body alive as long as the flow. False when it was not there:
    a script has put a function of its own in its place."""
    stream: Any = message.stream
    if isinstance(stream, Before) and stream.ours == ours:
        message.stream = stream.theirs
        return True
    if stream == ours:
        message.stream = True
        return True
    return False


def must_hold(flow: http.HTTPFlow) -> bool:
    """Whether the user has mitmproxy change this answer's body, or stop it: then it can't be streamed."""
    addons = ctx.master.addons
    changing = addons.get("modifybody")
    if changing is not None and changing.replacements:
        return any(spec.matches(flow) for spec in changing.replacements)
    stopping = addons.get("intercept")
    return stopping is not None and stopping.filt is not None and stopping.should_intercept(flow)


def may_be_replayed() -> bool:
    """Whether mitmproxy answers requests from recorded flows: such an answer is no exchange."""
    replaying = ctx.master.addons.get("serverplayback")
    return replaying is not None and bool(replaying.flowmap)


def follow_request(flow: http.HTTPFlow, budget: Budget) -> None:
    """Taps a request that mitmproxy streams."""
    tap(flow.request, Body(budget, KEEP_REQUEST))


def request_body(flow: http.HTTPFlow) -> tuple[bytes | None, int]:
    """The complete request's body and its size; None when it is not known. One that was tapped is put
    where mitmproxy's views find it, and the tap is given up."""
    found = _body_of(flow.request)
    if found is None:
        return known_of_request(flow)
    body, size = found.whole(), found.size
    found.release()
    untap(flow.request, found)
    if flow.request.raw_content is None:
        flow.request.raw_content = body
    return flow.request.raw_content, size


def known_of_request(flow: http.HTTPFlow) -> tuple[bytes | None, int]:
    """The same of a request that may not be complete: what is tapped so far is no body yet."""
    content = flow.request.raw_content
    return content, _stated_size(flow.request) if content is None else len(content)


def pass_through(flow: http.HTTPFlow, budget: Budget) -> None:
    """Has an answer that is none of ours passed on as it comes, unless it is small or must be held."""
    response = flow.response
    if response is None or response.stream:
        return
    length = response.headers.get("content-length", "")
    if (length.isdecimal() and int(length[:18]) <= _HOLD_BACK) or must_hold(flow):
        return
    tap(response, Body(budget, KEEP_OTHER))


def restore(flow: http.HTTPFlow) -> None:
    """Shows the body of an answer that was passed on, if it was small enough to keep."""
    response = flow.response
    found = _body_of(response) if response is not None else None
    if response is None or found is None:
        return
    body = found.whole()
    found.release()
    untap(response, found)
    if body is not None and response.raw_content is None:
        response.raw_content = body


def _body_of(message: http.Message) -> Body | None:
    stream: Any = message.stream
    ours = stream.ours if isinstance(stream, Before) else stream
    return ours if isinstance(ours, Body) else None


def _stated_size(request: http.Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length[:18]) if length.isdecimal() else 0
