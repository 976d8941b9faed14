"""The bytes of one live exchange on their way past: kept within bounds, never changed, never raised on.

`tap` is called by mitmproxy on its loop for every piece of an answer, so it appends and returns the
very object that it got. Everything else happens a few times a second, or once at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kimi_mitm import link

if TYPE_CHECKING:
    from mitmproxy import http, websocket

KEEP_BODY = 16 * 1024 * 1024
"""Answer bytes of one exchange kept for mitmproxy's own views and files."""
KEEP_ALL = 64 * 1024 * 1024
"""The same for all live exchanges together."""
KEEP_SOCKET = 8 * 1024 * 1024
"""Bytes of one WebSocket's messages that stay in mitmproxy's memory; it would keep all of them."""
UNSENT = 1024 * 1024
"""So much of an answer does not wait for the next round of sending."""


@dataclass(slots=True)
class Budget:
    """What all live captures hold together, in bytes."""

    limit: int = KEEP_ALL
    held: int = 0

    @property
    def spent(self) -> bool:
        return self.held > self.limit


class Messages:
    """How much of one WebSocket's messages mitmproxy keeps: it would keep all of them."""

    __slots__ = ("_budget", "held")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.held = 0

    def add(self, size: int) -> bool:
        """One more of this size is kept; True when the older ones must go."""
        self.held += size
        self._budget.held += size
        if self.held <= KEEP_SOCKET and not self._budget.spent:
            return False
        self._budget.held -= self.held - size
        self.held = size
        return True

    def release(self) -> None:
        """The socket is closed."""
        self._budget.held -= self.held
        self.held = 0


def _nobody(capture: Capture) -> None:
    return


class Capture:
    """One exchange from its request to its end.

    `opened` is the frame that announced it (sent again should the engine be started anew); `full` is
    called when much waits to be sent. `quiet`: nobody can read the answer, it is not sent. `finished`
    makes the end happen once: mitmproxy calls `response` and then `error` for an aborted flow read from a
    file, and either of them when it is live.
    """

    __slots__ = (
        "_budget",
        "_clock",
        "_full",
        "_limit",
        "_next",
        "answered",
        "finished",
        "flow",
        "lost",
        "opened",
        "over",
        "pieces",
        "quiet",
        "request",
        "resent",
        "sent",
        "size",
        "times",
    )

    def __init__(
        self,
        opened: link.Opened,
        budget: Budget,
        flow: http.HTTPFlow | None = None,
        request: bytes | None = None,
        *,
        quiet: bool = False,
        full: Callable[[Capture], object] = _nobody,
        limit: int = KEEP_BODY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.opened = opened
        self.flow = flow
        self.request = request
        self.quiet = quiet
        self.answered: link.Answered | None = None
        self.pieces: list[bytes] = []
        self.times: list[float] = []
        self.sent = 0
        self.size = 0
        self.lost = 0
        self.resent = 0
        self.over = False
        self.finished = False
        self._next = UNSENT
        self._budget = budget
        self._full = full
        self._limit = limit
        self._clock = clock

    def tap(self, data: bytes) -> bytes:
        """Takes note of a piece and returns it, whatever happens."""
        try:
            if data and not self.finished:
                self.times.append(self._clock())
                self.pieces.append(data)
                self.size += len(data)
                self._budget.held += len(data)
                if self.size > self._next or self._budget.held > self._budget.limit:
                    self._much()
        except Exception:
            self.lost += len(data)
        return data

    def take(self) -> tuple[link.Pieces, list[bytes]] | None:
        """The pieces that came since the last call, as a frame; None when there are none."""
        if self.quiet and self.over:
            self._drop(len(self.pieces))
        fresh = self.pieces[self.sent :]
        if not fresh or self.quiet:
            return None
        frame = link.Pieces(n=self.opened.n, times=self.times[self.sent :], sizes=[len(p) for p in fresh])
        if self.over:
            self._drop(len(self.pieces))
        else:
            self.sent = len(self.pieces)
        return frame, fresh

    def missed(self, size: int) -> None:
        """Says that so many bytes could not be handed over."""
        self.lost += size

    def body(self) -> bytes | None:
        """The whole answer as it was on the wire, None when it was too long to keep."""
        return None if self.over else b"".join(self.pieces)

    def whole(self, body: bytes, at: float) -> None:
        """The body came in one piece at that time, not through the tap."""
        self._clock = lambda: at
        self.tap(body)

    def story(self) -> list[tuple[link.Upward, list[bytes]]]:
        """Everything that is still known of it, from its beginning, as frames to be sent once more."""
        frames: list[tuple[link.Upward, list[bytes]]] = [
            (self.opened, [self.request] if self.request else [])
        ]
        if self.answered:
            frames.append((self.answered, []))
        socket = self.flow.websocket if self.flow else None
        frames += [(said(self.opened.n, m), [m.content]) for m in (socket.messages if socket else ())]
        self.sent = 0
        taken = self.take()
        return [*frames, taken] if taken else frames

    def release(self) -> None:
        """Forgets the bytes; to be called once at the end."""
        self.finished = True
        self._budget.held -= sum(map(len, self.pieces))
        self.pieces, self.times, self.sent = [], [], 0
        self.flow = self.request = None

    def _much(self) -> None:
        self._next = self.size + UNSENT
        if not self.over and (self.size > self._limit or self._budget.spent):
            self.over = True
            self._drop(self.sent)
        self._full(self)

    def _drop(self, count: int) -> None:
        self._budget.held -= sum(map(len, self.pieces[:count]))
        del self.pieces[:count], self.times[:count]
        self.sent = 0


def said(n: int, message: websocket.WebSocketMessage) -> link.Said:
    """A WebSocket's message as a frame."""
    return link.Said(n=n, at=message.timestamp, from_client=message.from_client, text=message.is_text)
