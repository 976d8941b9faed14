"""The bytes of one live exchange on their way past: kept within bounds, never changed, never raised on.

`tap` is called by mitmproxy on its loop for every piece of an answer, so it appends and returns the
very object that it got. Everything else happens a few times a second, or once at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kimi_mitm import link

KEEP_BODY = 16 * 1024 * 1024
"""Answer bytes of one exchange kept for mitmproxy's own views and files."""
KEEP_ALL = 64 * 1024 * 1024
"""The same for all live exchanges together."""
KEEP_SOCKET = 8 * 1024 * 1024
"""Bytes of one WebSocket's messages that stay in mitmproxy's memory; it would keep all of them."""


@dataclass(slots=True)
class Budget:
    """What all live captures hold together, in bytes."""

    limit: int = KEEP_ALL
    held: int = 0


class Capture:
    """One exchange from its request to its end.

    `opened` is the frame that announced it (sent again should the engine be started anew).
    `finished` makes the end happen once: mitmproxy calls `response` and then `error` for an aborted
    flow read from a file, and either of them when it is live.
    """

    __slots__ = (
        "_budget",
        "_clock",
        "_limit",
        "answered",
        "finished",
        "lost",
        "opened",
        "over",
        "pieces",
        "sent",
        "size",
        "times",
    )

    def __init__(
        self,
        opened: link.Opened,
        budget: Budget,
        *,
        limit: int = KEEP_BODY,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.opened = opened
        self.answered: link.Answered | None = None
        self.pieces: list[bytes] = []
        self.times: list[float] = []
        self.sent = 0
        self.size = 0
        self.lost = 0
        self.over = False
        self.finished = False
        self._budget = budget
        self._limit = limit
        self._clock = clock

    def tap(self, data: bytes) -> bytes:
        """Takes note of a piece and returns it, whatever happens."""
        if data and not self.finished:
            self.times.append(self._clock())
            self.pieces.append(data)
            size = len(data)
            self.size += size
            budget = self._budget
            budget.held += size
            if self.size > self._limit or budget.held > budget.limit:
                self._stop_keeping()
        return data

    def take(self) -> tuple[link.Pieces, list[bytes]] | None:
        """The pieces that came since the last call, as a frame; None when there are none."""
        fresh = self.pieces[self.sent :]
        if not fresh:
            return None
        frame = link.Pieces(n=self.opened.n, times=self.times[self.sent :], sizes=[len(p) for p in fresh])
        if self.over:
            self._drop(len(self.pieces))
        else:
            self.sent = len(self.pieces)
        return frame, fresh

    def missed(self, pieces: list[bytes]) -> None:
        """Says that pieces which were taken could not be handed over."""
        self.lost += sum(map(len, pieces))

    def body(self) -> bytes | None:
        """The whole answer as it was on the wire, None when it was too long to keep."""
        return None if self.over else b"".join(self.pieces)

    def again(self) -> None:
        """Has everything that is still here sent once more."""
        self.sent = 0

    def release(self) -> None:
        """Forgets the bytes; to be called once at the end."""
        self.finished = True
        self._budget.held -= sum(map(len, self.pieces))
        self.pieces, self.times, self.sent = [], [], 0

    def _stop_keeping(self) -> None:
        self.over = True
        self._drop(self.sent)

    def _drop(self, count: int) -> None:
        self._budget.held -= sum(map(len, self.pieces[:count]))
        del self.pieces[:count], self.times[:count]
        self.sent = 0
