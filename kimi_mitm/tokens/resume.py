"""Takes a body up where an earlier one ended: agents send the whole conversation again, and add to it.

A body that begins with the very bytes of an earlier one, up to the end of one of its messages, has the same
first messages. So only its head (what stands before the messages) and its tail have to be read:
the text between is left out, and what remains is a body of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from kimi_mitm.prompts.shape import Shape, Slice

_FEWEST = 8
_PER_KEY = 6
_KEYS = 64
_TAIL = 64
# Clients move cache markers about in the last messages; before those a marked body stays as it is.
_RESTLESS = 5


@dataclass(frozen=True, slots=True)
class Start:
    """The first `count` messages of a body: they begin at byte `first` and end at byte `end`; `names` are
    those of their prefixes, `running` the hash that goes on with the next message."""

    first: int
    end: int
    tail: bytes
    digest: bytes
    count: int
    names: tuple[bytes, ...]
    running: Any

    def opens(self, body: bytes) -> bool:
        """Whether the body begins with these very bytes."""
        if len(body) <= self.end or body[self.end - _TAIL : self.end] != self.tail:
            return False
        return xxhash.xxh3_128_digest(memoryview(body)[: self.end]) == self.digest


class Starts:
    """The starts of recent bodies."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, bytes], list[Start]] = {}

    def find(self, seed: int, body: bytes) -> tuple[Start, bytes] | None:
        """The longest start that the body has, and the body without the messages of it."""
        for start in self._kept.get((seed, body[:_TAIL]), ()):
            if start.opens(body) and (rest := _without(body, start.first, start.end)) is not None:
                return start, rest
        return None

    def keep(
        self,
        seed: int,
        body: bytes,
        shape: Shape,
        pieces: Sequence[Slice],
        earlier: Start | None,
        names: tuple[bytes, ...],
        runnings: Sequence[Any],
        marked: bool,
    ) -> None:
        """Remembers where the messages of a body end. `pieces` and `runnings` are those after `earlier`."""
        offset = earlier.count if earlier else 0
        count = len(names) - (_RESTLESS if marked else 0)
        if count < _FEWEST or count <= offset or len({piece.key for piece in pieces}) != 1:
            return
        first = earlier.first if earlier else body.find(bytes(pieces[0].raw))
        last = bytes(pieces[count - offset - 1].raw)
        end = body.rfind(last) + len(last)
        rest = _without(body, first, end) if 0 < first < end else None
        if rest is None or not _same(shape.split(rest), pieces[count - offset :]):
            return
        start = Start(
            first=first,
            end=end,
            tail=body[end - _TAIL : end],
            digest=xxhash.xxh3_128_digest(memoryview(body)[:end]),
            count=count,
            names=names[:count],
            running=runnings[count - offset - 1],
        )
        key = (seed, body[:_TAIL])
        others = [kept for kept in self._kept.pop(key, []) if kept is not earlier]
        self._kept[key] = sorted([start, *others][:_PER_KEY], key=lambda kept: -kept.end)
        while len(self._kept) > _KEYS:
            del self._kept[next(iter(self._kept))]


def _without(body: bytes, first: int, end: int) -> bytes | None:
    """The body without the messages between two places; None where they aren't followed as elements are."""
    after = body[end : end + 16].lstrip()[:1]
    if after == b",":
        return body[:first] + body[body.index(b",", end) + 1 :]
    return body[:first] + body[end:] if after == b"]" else None


def _same(pieces: Sequence[Slice], expected: Sequence[Slice]) -> bool:
    messages = [piece for piece in pieces if piece.section == "message"]
    return [bytes(piece.raw) for piece in messages] == [bytes(piece.raw) for piece in expected]
