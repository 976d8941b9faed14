"""What the join says of a log record: tied to an exchange, waiting for one, or never to be told."""

from __future__ import annotations

from dataclasses import dataclass

from kimi_mitm.records import Reading


@dataclass(frozen=True, slots=True)
class Joined:
    """The record is of this exchange. `reading.joined_by` is `id` or `time`; `replaced` when an earlier
    reading of the same key was of it before; `moved_from` when that one was of another exchange."""

    exchange_id: str
    reading: Reading
    replaced: bool = False
    moved_from: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """No exchange yet, or one that still runs."""

    reading: Reading


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Several exchanges fit equally well; `why` says so in words."""

    reading: Reading
    exchange_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class OfSession:
    """The record is about a session (its title), not about one exchange."""

    reading: Reading


type Outcome = Joined | Waiting | Ambiguous | OfSession


@dataclass(slots=True)
class Counts:
    """What became of the records: tied by id, by time, of no exchange, never told apart, crowded out."""

    by_id: int = 0
    by_time: int = 0
    alone: int = 0
    ambiguous: int = 0
    dropped: int = 0
