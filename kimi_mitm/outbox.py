"""Frames on their way to the other end of the link: a queue bounded in bytes, and the thread that empties it.

`put` is cheap and never blocks. What wakes the thread costs the caller more than the queueing (the
thread then wants the interpreter), so a frame that nobody waits for may ride along with the next one.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO

from kimi_mitm import link

MOST_FRAMES = 20_000
"""Frames that may wait, whatever their size: some 40 MB of heads, more than a working engine ever leaves."""
_AT_ONCE = 256
_WRITE = 65536

type Frame = tuple[link.Message, Sequence[bytes], int]


def _nothing() -> None:
    return


class Outbox:
    """A queue that outlives the pipe it is written to: `attach` gives it one, `detach` takes it away.

    Frames without payload are always taken (up to `MOST_FRAMES`): a row is never lost to the bound. A
    frame that can't be encoded is left out and counted in `spoiled`. `roomy` is called, in the feeder's
    thread, when the queue has shrunk below half of its bound.
    """

    def __init__(self, bound: int, roomy: Callable[[], None] = _nothing) -> None:
        self._bound = bound
        self._roomy = roomy
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._wake = threading.Condition()
        self._waiting = False
        self._was_crowded = False
        self._closed = False
        self._pipe: IO[bytes] | None = None
        self._thread: threading.Thread | None = None
        self.spoiled = 0

    @property
    def size(self) -> int:
        """Payload bytes that wait or are being written."""
        return self._size

    @property
    def depth(self) -> int:
        """Frames that wait."""
        return len(self._frames)

    @property
    def crowded(self) -> bool:
        """More than half of what may wait does."""
        return self._size > self._bound // 2 or len(self._frames) > MOST_FRAMES // 2

    def attach(self, pipe: IO[bytes], first: Sequence[link.Message] = ()) -> None:
        """Starts to write to `pipe`: `first`, then what waits. The pipe is closed at the end."""
        with self._wake:
            self._frames.extendleft((message, (), 0) for message in reversed(first))
            self._pipe = pipe
        self._thread = threading.Thread(target=self._feed, args=(pipe,), name="kimi-feeder", daemon=True)
        self._thread.start()

    def detach(self) -> list[Frame]:
        """Gives up the pipe, which has failed, and what was queued for it."""
        with self._wake:
            frames = list(self._frames)
            self._frames.clear()
            self._size = 0
            self._pipe = None
            self._wake.notify_all()
        return frames

    def put(self, head: link.Message, payload: Sequence[bytes] = (), *, wake: bool = True) -> bool:
        """Queues one frame; False when it was not taken. Without `wake` it waits for the next that wakes."""
        size = sum(map(len, payload)) if payload else 0
        with self._wake:
            if self._closed or len(self._frames) >= MOST_FRAMES:
                return False
            if size and self._size and self._size + size > self._bound:
                return False
            self._frames.append((head, payload, size))
            self._size += size
            if wake and self._waiting:
                self._waiting = False
                self._wake.notify_all()
        return True

    def close(self) -> None:
        """Takes no more frames; what waits is still written, then the pipe is closed."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Waits for the feeder to end."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _feed(self, pipe: IO[bytes]) -> None:
        try:
            while batch := self._next(pipe):
                self._write(pipe, batch)
                size = sum(frame[2] for frame in batch)
                batch.clear()
                self._written(pipe, size)
        except (OSError, ValueError):
            pass  # the other end is gone: whoever listens to it hears of that
        finally:
            with contextlib.suppress(OSError):
                pipe.close()

    def _next(self, pipe: IO[bytes]) -> list[Frame]:
        """What is to be written next, empty at the end. Waits."""
        with self._wake:
            while self._pipe is pipe and not self._frames and not self._closed:
                self._waiting = True
                self._wake.wait()
            self._waiting = False
            if self._pipe is not pipe:
                return []
            self._was_crowded = self._was_crowded or self.crowded
            batch: list[Frame] = []
            size = 0
            while self._frames and len(batch) < _AT_ONCE and size < _WRITE:
                batch.append(self._frames.popleft())
                size += batch[-1][2]
            return batch

    def _write(self, pipe: IO[bytes], batch: Sequence[Frame]) -> None:
        together = bytearray()
        for head, payload, size in batch:
            try:
                together += link.frame_head(head, size)
            except (ValueError, OverflowError, TypeError, RecursionError):
                self.spoiled += 1
                continue
            if size <= _WRITE:
                for piece in payload:
                    together += piece
                continue
            link.write_all(pipe, together)
            together = bytearray()
            for piece in payload:
                link.write_all(pipe, piece)
        if together:
            link.write_all(pipe, together)

    def _written(self, pipe: IO[bytes], size: int) -> None:
        with self._wake:
            if self._pipe is pipe:
                self._size -= size
            if not self._was_crowded or self.crowded:
                return
            self._was_crowded = False
        self._roomy()
