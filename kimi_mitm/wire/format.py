"""What a wire format is: how its request is read and how its answer is.

A format is one module of this package and one row in `wire.FORMATS`. Formats have no I/O and no
clock; whatever bytes come, they raise `WireError` or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from kimi_mitm.records import Answer, Operation, Request


class WireError(ValueError):
    """The other side sent what its format does not allow; the message says what, never with content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request went: the decoded path without its query, the query's allowed parameters, and
    the request's headers that readers may look at (lower-case names, no credentials among them)."""

    host: str = ""
    path: str = ""
    query: Mapping[str, str] | None = None
    headers: Mapping[str, str] | None = None


class Reader(Protocol):
    """Reads the documents of one answer, in order, and says at any time what it knows."""

    def document(self, name: str | None, doc: Any) -> None:
        """Takes one decoded JSON document: a whole answer, an event of a stream, a line, an array's
        element. `name` is the event's name where the framing has one (SSE `event:`, `:event-type`)."""

    def answer(self) -> Answer:
        """What is known so far. `complete` is True only once the format's own end was seen."""

    @property
    def started(self) -> bool:
        """True once a generated token was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One row of the table. `read_request` takes the decoded body; `reader` the response's status and
    its headers (lower-case names), and gives a fresh reader."""

    name: str
    operation: Operation
    read_request: Callable[[bytes, Target], Request]
    reader: Callable[[int, Mapping[str, str]], Reader]
    end_marks: tuple[str, ...] = ()
