"""Reads a request into counts, incrementally: only messages that nobody has seen are decoded and counted.

A body is split into slices; a running hash names every prefix of its messages. The counts of the longest
known prefix are taken as they are, those of further messages from the cache by digest, and only the rest is
tokenized. So the next turn of a long conversation costs what its new messages cost.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import xxhash

from kimi_mitm.prompts import shape_of
from kimi_mitm.prompts.shape import Shape, Slice, plain_bytes
from kimi_mitm.tokens.features import NO_PARTS, ZERO, Dialect, Tally, Vector, merged
from kimi_mitm.tokens.groups import Group, dialect_of, group_of
from kimi_mitm.tokens.regressors import regressors, settings_of

_Pair = tuple[Vector, Vector]
_KEPT_TAIL = 4
_KEPT_EVERY = 32
_MARK = b'"cache_control"'


@dataclass(frozen=True, slots=True)
class Call:
    """One request to be counted. `body` is decoded; `body_bytes` its full length where less of it is here.
    `place` is who serves the model (`served_by`), or more exactly where (`vertex`). `conversation` names what
    the exchange belongs to, for turns; None lets the messages decide."""

    provider: str
    wire_format: str
    body: bytes
    model: str | None = None
    family: str = "unknown"
    served_by: str | None = None
    hidden: frozenset[str] = frozenset()
    conversation: str | None = None
    previous_response_id: str | None = None
    body_bytes: int | None = None
    host: str | None = None

    @property
    def place(self) -> str:
        """Who serves the model; Vertex apart from the Gemini API, because they count differently."""
        if self.host and self.host.endswith("aiplatform.googleapis.com"):
            return "vertex"
        return self.served_by or self.provider


@dataclass(frozen=True, slots=True)
class Observed:
    """What was counted of a request. `chain[i]` names the first i + 1 messages, `head` the tools and system
    prompt before them; `cut` says that some text was too long for the budget."""

    group: Group
    counts: Vector
    parts: Vector
    settings: frozenset[str]
    head: bytes
    chain: tuple[bytes, ...]
    shape: Shape
    messages: tuple[Slice, ...]
    first: _Pair
    cut: bool

    @property
    def x(self) -> dict[str, float]:
        """The regressors."""
        return regressors(self.counts, self.settings, self.group.none_drops_tools)


class Cache(OrderedDict[Any, Any]):
    """Keeps the `limit` entries that were used last."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        if len(self) > self._limit:
            self.popitem(last=False)

    def touch(self, key: Any) -> Any:
        """The entry, which counts as used; None when there is none."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value


class Reader:
    """Counts requests. `budget`: how many characters of one request may be tokenized."""

    def __init__(self, budget: int = 4_000_000, slices: int = 8192, prefixes: int = 2048) -> None:
        self._budget = budget
        self._slices = Cache(slices)
        self._prefixes = Cache(prefixes)

    def read(self, call: Call) -> Observed:
        """Counts a request; whatever the body is, it doesn't raise."""
        shape = shape_of(call.wire_format, call.body)
        group = group_of(call.family, call.model or "", call.wire_format, call.place, shape.name)
        dialect = dialect_of(group, call.model or "")
        pieces = shape.split(call.body)
        marked = _MARK in call.body
        heads = [piece for piece in pieces if piece.section in ("tools", "system")]
        tails = [piece for piece in pieces if piece.section in ("schema", "settings")]
        messages = tuple(piece for piece in pieces if piece.section == "message")
        work = _Work(self, shape, dialect, self._budget)
        first = (ZERO, NO_PARTS)
        head = xxhash.xxh3_128()
        for piece in heads:
            head.update(plain_bytes(piece.raw) if marked else piece.raw)
            first = _sum(first, work.tally(piece))
        total, chain = work.walk(messages, marked)
        total = _sum(_sum(first, total), work.tail(tails))
        return Observed(
            group=group,
            counts=total[0],
            parts=total[1],
            settings=settings_of((*tails, *(piece for piece in heads if piece.section == "tools"))),
            head=head.digest(),
            chain=chain,
            shape=shape,
            messages=messages,
            first=first,
            cut=work.cut,
        )

    def prefix(self, observed: Observed, dialect: Dialect, length: int) -> _Pair:
        """Counts of the head and the first `length` messages."""
        known = self._prefixes.get(observed.chain[length - 1]) if length else (ZERO, NO_PARTS)
        if known is None:
            work = _Work(self, observed.shape, dialect, self._budget)
            known, _ = work.walk(observed.messages[:length], marked=True)
        return _sum(observed.first, known)


class _Work:
    """The counting of one request."""

    def __init__(self, reader: Reader, shape: Shape, dialect: Dialect, budget: int) -> None:
        self._slices = reader._slices
        self._prefixes = reader._prefixes
        self._shape = shape
        self._dialect = dialect
        self._seed = hash((shape.name, dialect)) & 0xFFFFFFFFFFFFFFFF
        self.budget = budget
        self.cut = False

    def tally(self, piece: Slice) -> _Pair:
        """Counts of one slice."""
        key = (self._seed, piece.digest)
        if (known := self._slices.touch(key)) is not None:
            return _dense(known)
        tally = Tally(self._dialect, self.budget)
        tally.add(self._shape.messages(piece))
        pair = tuple(tally.counts), tuple(tally.parts)
        if tally.budget < 0:
            self.cut = True
        else:
            self._slices[key] = _sparse(pair)
        self.budget = max(0, tally.budget)
        return pair

    def tail(self, pieces: list[Slice]) -> _Pair:
        """Counts of schemas; settings count nothing."""
        total = (ZERO, NO_PARTS)
        for piece in pieces:
            if piece.section == "schema":
                total = _sum(total, self.tally(piece))
        return total

    def walk(self, messages: tuple[Slice, ...], marked: bool) -> tuple[_Pair, tuple[bytes, ...]]:
        """Counts of the messages, and the names of all their prefixes."""
        running = xxhash.xxh3_128(seed=self._seed)
        update, digest = running.update, running.digest
        chain: list[bytes] = []
        for piece in messages:
            update(plain_bytes(piece.raw) if marked else piece.raw)
            chain.append(digest())
        known, total = 0, (ZERO, NO_PARTS)
        for length in range(len(chain), 0, -1):
            if (found := self._prefixes.touch(chain[length - 1])) is not None:
                known, total = length, found
                break
        for length in range(known + 1, len(chain) + 1):
            total = _sum(total, self.tally(messages[length - 1]))
            if not self.cut and (length > len(chain) - _KEPT_TAIL or length % _KEPT_EVERY == 0):
                self._prefixes[chain[length - 1]] = total
        return total, tuple(chain)


def _sum(total: _Pair, more: _Pair) -> _Pair:
    parts = tuple(a + b for a, b in zip(total[1], more[1], strict=True))
    return merged(total[0], more[0]), parts


_Sparse = tuple[tuple[tuple[int, float], ...], tuple[tuple[int, float], ...]]


def _sparse(pair: _Pair) -> _Sparse:
    counts, parts = (tuple((i, value) for i, value in enumerate(vector) if value) for vector in pair)
    return counts, parts


def _dense(known: _Sparse) -> _Pair:
    counts, parts = list(ZERO), list(NO_PARTS)
    for vector, cells in ((counts, known[0]), (parts, known[1])):
        for place, value in cells:
            vector[place] = value
    return tuple(counts), tuple(parts)
