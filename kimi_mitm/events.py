"""What happens, told to everybody who listens: one ring of events, a place in it per reader.

Publishing costs the same however slow the readers are: an event is encoded once and put into a
ring of bounded length and size, and a reader is only a place in that ring. A reader that falls
behind the ring's oldest event loses its place and is told so with `reset`. Single-threaded: all
of it runs on one asyncio loop.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec

from kimi_mitm.render import instant

TYPES: tuple[str, ...] = (
    "auto_session:toggled",
    "auto_session:created",
    "session:started",
    "session:switched",
    "session:ended",
    "exchange:started",
    "exchange:updated",
    "exchange:completed",
    "fusion:updated",
    "alert",
    "heartbeat",
    "reset",
)
"""Every type an event can have; `reset` goes to a single reader, the rest to all."""

HEARTBEAT_S = 30.0
_RING_EVENTS = 512
_RING_BYTES = 4 * 1024 * 1024
_MAX_READERS = 4096


class TooManyReaders(Exception):
    """There are as many readers as the hub takes; the message says how many."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event, encoded. `frame` is its server-sent form, which holds the JSON text once."""

    id: str
    type: str
    frame: bytes
    start: int

    @property
    def json(self) -> bytes:
        """The event as a JSON object: `id`, `type`, `at`, `data`."""
        return self.frame[self.start : -2]


def _now() -> datetime:
    return datetime.now(UTC)


class Hub:
    """Publishes events and keeps the last of them, so that a reader who comes back can go on.

    Ids are `<run>-<number>`; the run is new with each hub, so an id of an earlier process is known
    to be lost. `heartbeat_s`: seconds between two `heartbeat` events while anybody listens.
    """

    def __init__(
        self,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        ring_events: int = _RING_EVENTS,
        ring_bytes: int = _RING_BYTES,
        max_readers: int = _MAX_READERS,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._run = secrets.token_hex(4)
        self._clock = clock
        self._ring: deque[Event] = deque()
        self._ring_events = ring_events
        self._ring_bytes = ring_bytes
        self._bytes = 0
        self._number = 0
        self._readers: set[Subscription] = set()
        self._max_readers = max_readers
        self._heartbeat_s = heartbeat_s
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def readers(self) -> int:
        """How many listen now."""
        return len(self._readers)

    @property
    def newest(self) -> int:
        """The number of the last event; 0 before the first."""
        return self._number

    @property
    def oldest(self) -> int:
        """The number of the oldest event that can still be read."""
        return self._number - len(self._ring) + 1

    def publish(self, type: str, data: Mapping[str, Any], at: datetime | None = None) -> Event:
        """Tells everybody. `data` holds JSON's own types; `at` is now unless given. Never waits."""
        self._number += 1
        event = self._encode(self._number, type, data, at)
        self._ring.append(event)
        self._bytes += len(event.frame)
        while len(self._ring) > self._ring_events or (self._bytes > self._ring_bytes and len(self._ring) > 1):
            self._bytes -= len(self._ring.popleft().frame)
        for reader in self._readers:
            reader.wake()
        return event

    def subscribe(self, last_id: str | None = None) -> Subscription:
        """A reader that starts after the event `last_id`, or with the next event when it is None.

        An id that isn't ours, or whose successors are gone, gives a `reset` first. Raises
        `TooManyReaders`. The reader must be closed, best with `with`.
        """
        if len(self._readers) >= self._max_readers:
            raise TooManyReaders(f"{self._max_readers} readers are connected already")
        place = self._number if last_id is None else self._place(last_id)
        reader = Subscription(self, place)
        if self._closed:
            reader.close()
        else:
            self._readers.add(reader)
            self._beat_later()
        return reader

    def after(self, place: int, limit: int) -> list[Event]:
        """Up to `limit` events after number `place`, oldest first; `place` mustn't be older than the ring."""
        skip = place - self.oldest + 1
        return list(islice(self._ring, skip, skip + limit))

    def reset(self) -> Event:
        """For one reader: its place is lost; read again from the API, then go on after this id."""
        return self._encode(self._number, "reset", {"reason": "place_lost"}, None)

    def id_of(self, number: int) -> str:
        """The id that an event of this number has."""
        return f"{self._run}-{number}"

    def leave(self, reader: Subscription) -> None:
        """Forgets a reader; it gets nothing more."""
        self._readers.discard(reader)

    def close(self) -> None:
        """Ends every reader, now; later ones end at once. Publishing stays allowed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for reader in list(self._readers):
            reader.close()

    def _encode(self, number: int, type: str, data: Mapping[str, Any], at: datetime | None) -> Event:
        id = self.id_of(number)
        text = msgspec.json.encode(
            {"id": id, "type": type, "at": instant(at or self._clock()), "data": data}, enc_hook=str
        )
        head = f"id: {id}\nevent: {type}\ndata: ".encode()
        return Event(id, type, head + text + b"\n\n", len(head))

    def _place(self, last_id: str) -> int:
        run, _, number = last_id.rpartition("-")
        if run == self._run and len(number) < 20:
            with suppress(ValueError):
                return int(number)
        return -1

    def _beat_later(self) -> None:
        if self._timer is None and self._heartbeat_s > 0:
            self._timer = asyncio.get_running_loop().call_later(self._heartbeat_s, self._beat)

    def _beat(self) -> None:
        self._timer = None
        if self._readers:
            self.publish("heartbeat", {})
            self._beat_later()


class Subscription:
    """One reader's place. Use it from one task; `close` may be called from anywhere on the loop."""

    __slots__ = ("_closed", "_hub", "_place", "_waiter")

    def __init__(self, hub: Hub, place: int) -> None:
        self._hub = hub
        self._place = place
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """True once nothing more will come."""
        return self._closed

    @property
    def place(self) -> str:
        """The id after which this reader goes on."""
        return self._hub.id_of(max(self._place, 0))

    async def batch(self, limit: int = 64) -> list[Event]:
        """Waits for news: the next events, oldest first, at most `limit`; a single `reset` when some of
        them are gone; an empty list once closed."""
        while not self._closed and self._place == self._hub.newest:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._closed:
            return []
        if not self._hub.oldest - 1 <= self._place <= self._hub.newest:
            self._place = self._hub.newest
            return [self._hub.reset()]
        events = self._hub.after(self._place, limit)
        self._place += len(events)
        return events

    def wake(self) -> None:
        """Lets a waiting `batch` look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Ends the reader: a waiting `batch` returns, nothing more comes."""
        self._closed = True
        self._hub.leave(self)
        self.wake()
