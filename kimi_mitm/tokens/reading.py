"""Reads a request into counts, incrementally: only messages that nobody has seen are decoded and counted.

A body is split into slices; a running hash names every prefix of its messages. The counts of the longest
known prefix are taken as they are, those of further messages from the cache by digest, and only the rest is
tokenized. Where the body begins with the bytes of an earlier one, its first messages aren't even split (see
`resume`). So the next turn of a long conversation costs what its new messages cost.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import xxhash

from kimi_mitm.prompts import shape_of
from kimi_mitm.prompts.shape import Shape, Slice, plain_bytes
from kimi_mitm.tokens.features import NO_PARTS, ZERO, Counted, Dialect, together
from kimi_mitm.tokens.groups import Group, dialect_of, group_of
from kimi_mitm.tokens.regressors import regressors, settings_of
from kimi_mitm.tokens.resume import Start, Starts
from kimi_mitm.tokens.tally import Tally

NOTHING = Counted(ZERO, NO_PARTS)
_KEPT_TAIL = 8
_COPIES = 8
_KEPT_EVERY = 32
_MARK = b'"cache_control"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to be counted. `body` is decoded; `body_bytes` its full length where less of it is here.
    `served_by` and `host` say where the model runs: the same model counts differently at two places.
    `conversation` names what the exchange belongs to, for turns; None lets the messages decide."""

    provider: str
    wire_format: str
    body: bytes
    model: str | None = None
    family: str = "unknown"
    served_by: str | None = None
    host: str | None = None
    hidden: frozenset[str] = frozenset()
    conversation: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    body_bytes: int | None = None

    @property
    def place(self) -> str:
        """Who serves the model; Vertex apart from the Gemini API, because they count differently."""
        if self.host and self.host.endswith("aiplatform.googleapis.com"):
            return "vertex"
        return self.served_by or self.provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was counted of a request. `chain[i]` names the first i + 1 messages, `head` all that stands
    beside the messages; `cut` says that some text was too long for the budget."""

    group: Group
    dialect: Dialect
    counted: Counted
    beside: Counted
    settings: frozenset[str]
    head: bytes
    chain: tuple[bytes, ...]
    cut: bool

    def regressors(self, counted: Counted | None = None) -> dict[str, float]:
        """The regressors of the whole prompt, or of other counts under the same settings."""
        counts = (counted or self.counted).counts
        return regressors(counts, self.settings, self.group.none_drops_tools)


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

    def __init__(self, budget: int = 4_000_000, slices: int = 4096, prefixes: int = 1024) -> None:
        self.budget = budget
        self.slices = Cache(slices)
        self.prefixes = Cache(prefixes)
        self.starts = Starts()

    def read(self, call: Call) -> Observed:
        """Counts a request; whatever the body is, it doesn't raise."""
        shape = shape_of(call.wire_format, call.body)
        model = call.model or ""
        group = group_of(call.family, model, call.wire_format, call.place, shape.name)
        dialect = dialect_of(group, model)
        work = _Work(self, shape, dialect)
        start, rest = self.starts.find(work.seed, call.body) or (None, call.body)
        if start and start.names[-1] not in self.prefixes:
            start, rest = None, call.body
        marked = _MARK in rest
        pieces = shape.split(rest)
        first = next((i for i, piece in enumerate(pieces) if piece.section == "message"), len(pieces))
        last = next((i for i in range(len(pieces), first, -1) if pieces[i - 1].section == "message"), first)
        messages, others = pieces[first:last], pieces[:first] + pieces[last:]
        head = xxhash.xxh3_128()
        beside = NOTHING
        for piece in others:
            head.update(plain_bytes(piece.raw) if marked else piece.raw)
            if piece.section != "settings":
                beside = together(beside, work.tally(piece))
        counted, chain = work.walk(messages, marked, start, call.body)
        return Observed(
            group=group,
            dialect=dialect,
            counted=together(beside, counted),
            beside=beside,
            settings=settings_of(piece for piece in others if piece.section != "system")
            | ({"streamed"} if call.stream else frozenset()),
            head=head.digest(),
            chain=chain,
            cut=work.cut,
        )

    def prefix(self, observed: Observed, length: int) -> Counted:
        """Counts of the first `length` messages and of what stands beside them; by proportion where they
        aren't known any more."""
        known = self.prefixes.get(observed.chain[length - 1]) if length else _packed(NOTHING)
        if known is not None:
            return together(observed.beside, _unpacked(known))
        share = length / len(observed.chain)
        return Counted(tuple(share * count for count in observed.counted.counts), observed.counted.parts)


class _Work:
    """The counting of one request."""

    def __init__(self, reader: Reader, shape: Shape, dialect: Dialect) -> None:
        self._slices = reader.slices
        self._prefixes = reader.prefixes
        self._starts = reader.starts
        self._shape = shape
        self._dialect = dialect
        self.seed = hash((shape.name, dialect)) & 0xFFFFFFFFFFFFFFFF
        self._budget = reader.budget
        self.cut = False

    def tally(self, piece: Slice) -> Counted:
        """Counts of one slice."""
        key = (self.seed, piece.section, piece.digest)
        if (known := self._slices.touch(key)) is not None:
            return _unpacked(known)
        tally = Tally(self._dialect, self._budget)
        tally.add(self._shape.messages(piece))
        counted = tally.counted()
        if tally.budget < 0:
            self.cut = True
        else:
            self._slices[key] = _packed(counted)
        self._budget = max(0, tally.budget)
        return counted

    def walk(
        self, messages: list[Slice], marked: bool, start: Start | None, body: bytes
    ) -> tuple[Counted, tuple[bytes, ...]]:
        """Counts of the messages, and the names of all their prefixes. `messages` are those after `start`."""
        running = start.running.copy() if start else xxhash.xxh3_128(seed=self.seed)
        offset = start.count if start else 0
        fresh: list[bytes] = []
        runnings: list[Any] = []
        restless = len(messages) - _COPIES
        for place, piece in enumerate(messages):
            running.update(plain_bytes(piece.raw) if marked else piece.raw)
            fresh.append(running.digest())
            runnings.append(running.copy() if place >= restless else None)
        names = (start.names if start else ()) + tuple(fresh)
        known, total = 0, NOTHING
        for length in range(len(names), 0, -1):
            if (found := self._prefixes.touch(names[length - 1])) is not None:
                known, total = length, _unpacked(found)
                break
        for length in range(known + 1, len(names) + 1):
            total = together(total, self.tally(messages[length - 1 - offset]))
            if not self.cut and (length > len(names) - _KEPT_TAIL or length % _KEPT_EVERY == 0):
                self._prefixes[names[length - 1]] = _packed(total)
        if not self.cut:
            self._starts.keep(self.seed, body, self._shape, messages, start, names, runnings, marked)
        return total, names


def _packed(counted: Counted) -> tuple[bytes, bytes, Any]:
    """Counts as they are kept: most are nothing, and thousands are kept."""
    vector = (*counted.counts, *counted.parts)
    places = bytes(place for place, value in enumerate(vector) if value)
    return places, array("d", [vector[place] for place in places]).tobytes(), counted.media


def _unpacked(packed: tuple[bytes, bytes, Any]) -> Counted:
    vector = [*ZERO, *NO_PARTS]
    places, values, media = packed
    for place, value in zip(places, memoryview(values).cast("d"), strict=True):
        vector[place] = value
    return Counted(tuple(vector[: len(ZERO)]), tuple(vector[len(ZERO) :]), media)
