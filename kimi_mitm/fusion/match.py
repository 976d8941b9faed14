"""Whether a log record can be of an exchange that the proxy saw, and how well it fits.

Ids decide where both sides have them. Without, the client must be the same, or hide behind a library's
name on the wire, and then the model or the figures must be the same; the session must not differ, and
the time must fit. Equal figures are the best sign, then an equal session, client, model and purpose.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import xxhash

from kimi_mitm.records import NO_USAGE, Exchange, Reading, Source, Usage

LOG_PREFIX: Final = "log:"
"""How the ids of exchanges begin that only a log knows."""
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,120}")
_DIGEST: Final = "digest."
WINDOW: Final = timedelta(seconds=5)
"""How long after the end of an exchange its record may say that it was written; exactly so long fits."""
_EARLY: Final = timedelta(seconds=0.25)  # the proxy sees an end a little after a client that reads ahead
_EARLY_SECONDS: Final = timedelta(seconds=1)  # for clients whose clock shows whole seconds
_APART: Final = 0.05  # seconds; two exchanges nearer to a record than this to each other are equally near

LIBRARIES: Final = frozenset(
    {"unknown", "ai-sdk", "litellm", "langchain", "pydantic-ai", "google-genai", "ollama", "boto3"}
    | {"aws-sdk-js", "huggingface-hub", "httr2", "python-httpx", "python-requests", "aiohttp", "curl"}
)
"""What the wire calls a client that sends nothing of its own; SDKs by language (`openai-python`) likewise."""
_SDK_ENDS: Final = ("-python", "-js", "-go", "-java", "-dotnet", "-ruby")
UNDATED_SPAN: Final = timedelta(hours=2)
"""How far an exchange may be from the time of a record that is `undated`. With equal figures it may be
any time older: what gives the record its time, a file, is written anew and copied."""
OTHER_SESSION_IDS: Final = frozenset({"crush"})
"""Clients whose session on the wire (Crush: a hash) isn't the one in their log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WireExchange:
    """What the join needs to know of an exchange; given again, under the same id, when more is known.

    `ended_at` is None while it runs. `ids`: message and request ids beside the response's own.
    `failed`: the provider answered with an error status; `troubled`: it, or the answer, ended in an error.
    """

    id: str
    started_at: datetime
    ended_at: datetime | None = None
    client: str = "unknown"
    user: str | None = None
    models: frozenset[str] = frozenset()
    client_session_id: str | None = None
    response_id: str | None = None
    ids: frozenset[str] = frozenset()
    usage: Usage = NO_USAGE
    side: bool = False
    failed: bool = False
    troubled: bool = False

    @property
    def all_ids(self) -> frozenset[str]:
        return self.ids | {self.response_id} if self.response_id else self.ids


class Fit(NamedTuple):
    """How well a record fits, compared from left to right; 1 where nothing is known."""

    figures: int
    """2: all that both sides know are equal; 0: some differ."""
    session: int
    client: int
    model: int
    purpose: int


def wire_exchange(exchange: Exchange, *, ids: frozenset[str] = frozenset()) -> WireExchange:
    """The join's view of an exchange; `ids` are those that the record doesn't have, from headers."""
    reported = exchange.source is Source.USAGE and exchange.via is None
    return WireExchange(
        id=exchange.id,
        started_at=exchange.started_at,
        ended_at=exchange.ended_at,
        client=exchange.client,
        user=exchange.user,
        models=frozenset(m for m in (exchange.model, exchange.response_model) if m),
        client_session_id=exchange.client_session_id,
        response_id=exchange.response_id,
        ids=ids,
        usage=Usage(input_tokens=exchange.input_tokens, output_tokens=exchange.output_tokens)
        if reported
        else NO_USAGE,
        side=exchange.side,
        failed=exchange.status is not None and exchange.status >= 400,
        troubled=exchange.error is not None,
    )


def log_exchange_id(reading: Reading) -> str:
    """The id of the exchange that a record makes when the proxy never saw it: the same on every read.

    It goes into URLs. A key with other characters, or too long a one (some hold a path), gives its digest.
    """
    key = reading.key
    if _PLAIN_KEY.fullmatch(key) and not key.startswith(_DIGEST):
        return LOG_PREFIX + key
    return LOG_PREFIX + _DIGEST + xxhash.xxh3_128_hexdigest(key.encode("utf-8", "surrogatepass"))


def log_exchange(reading: Reading) -> WireExchange:
    """The exchange that a record makes by itself; records of other logs can be tied to it."""
    return WireExchange(
        id=log_exchange_id(reading),
        started_at=min(reading.started_at or reading.at, reading.at),
        ended_at=reading.at,
        client=reading.client or "unknown",
        user=reading.user,
        models=frozenset([reading.model] if reading.model else []),
        client_session_id=reading.client_session_id,
        ids=frozenset(reading.ids),
    )


def fit(reading: Reading, exchange: WireExchange, window: timedelta = WINDOW) -> Fit | None:
    """How well a record fits an exchange that it shares no id with; None when it can't be its record."""
    client = clients_fit(reading.client, exchange.client)
    if client is None or _contradicts(reading, exchange):
        return None
    session, figures = _session(reading, exchange), _figures(reading, exchange)
    model = _model(reading.model, exchange.models)
    if session is None or model is None or (client == 1 and 2 not in (model, figures)):
        return None
    found = Fit(figures, session, client, model, _purpose(reading, exchange))
    return found if _in_time(reading, exchange, window, equal=found.figures == 2) else None


def _contradicts(reading: Reading, exchange: WireExchange) -> bool:
    """Another response's id, another user, an answer against a failure, a failure against an answer."""
    if reading.ids and exchange.response_id and exchange.response_id not in reading.ids:
        return True
    if reading.user and exchange.user and reading.user != exchange.user:
        return True
    if reading.usage.output_tokens:
        return exchange.failed
    went_well = exchange.ended_at is not None and not (exchange.failed or exchange.troubled)
    return went_well and reading.problem is not None


def earliest(reading: Reading, window: timedelta = WINDOW) -> datetime:
    """No exchange that ended before this time fits the record."""
    return min(reading.started_at or reading.at, reading.at) - _reach(reading, window)


def latest(reading: Reading, window: timedelta = WINDOW) -> datetime:
    """No exchange that began after this time fits the record."""
    return reading.at + _reach(reading, window)


def _reach(reading: Reading, window: timedelta) -> timedelta:
    return UNDATED_SPAN if reading.undated else window


def is_note(reading: Reading) -> bool:
    """Whether it says nothing of any call. (Continue's chats have no figures, but they are calls.)"""
    return not (reading.usage or reading.ids or reading.problem or reading.side is not None)


def slot(reading: Reading) -> str:
    """Which log a record is of: an exchange takes one record of each."""
    return reading.log or reading.client or ""


def at_start(reading: Reading) -> bool:
    """Whether its time is that of the request, as Cline's extension writes it."""
    return reading.started_at == reading.at


def distance(reading: Reading, exchange: WireExchange) -> float:
    """Seconds between the record's time and the moment of the exchange that it speaks of."""
    if at_start(reading) or exchange.ended_at is None:
        return abs((reading.at - exchange.started_at).total_seconds())
    return abs((reading.at - exchange.ended_at).total_seconds())


def overlap(one: WireExchange, other: WireExchange) -> bool:
    """Whether two exchanges ran at the same time."""
    return not (
        (one.ended_at is not None and one.ended_at <= other.started_at)
        or (other.ended_at is not None and other.ended_at <= one.started_at)
    )


def clients_fit(written: str | None, seen: str) -> int | None:
    """2: a record's client is the one on the wire; 1: it may be; None: it isn't."""
    if written == seen:
        return 2
    return 1 if is_library(seen) else None


def nearest(reading: Reading, exchanges: Iterable[WireExchange]) -> list[str]:
    """The nearest in time of some exchanges, by id; behind it, those that time doesn't tell from it."""
    first, *others = sorted(exchanges, key=lambda e: (distance(reading, e), e.id))
    limit = distance(reading, first) + _APART
    return [first.id, *(e.id for e in others if overlap(first, e) or distance(reading, e) <= limit)]


def is_library(client: str) -> bool:
    """Whether a client's name on the wire only says what it was built with."""
    return client in LIBRARIES or client.endswith(_SDK_ENDS)


def _in_time(reading: Reading, exchange: WireExchange, window: timedelta, *, equal: bool) -> bool:
    """A record with a start is of an exchange within its span; one whose start is its time is written
    when the request is made; others when the answer is complete."""
    if reading.undated:
        if exchange.ended_at is None:
            return False
        late = reading.at - exchange.ended_at
        return late >= -UNDATED_SPAN and (equal or late <= UNDATED_SPAN)
    fine = reading.at.microsecond != 0
    early, before = (_EARLY, timedelta(0)) if fine else (_EARLY_SECONDS, _EARLY_SECONDS)
    begun, start = reading.started_at, exchange.started_at
    if at_start(reading):
        return -early <= start - reading.at <= window
    if begun is not None and start < begun - early:
        return False
    if reading.at < start - before:
        return False
    if exchange.ended_at is None:
        return True
    late = reading.at - exchange.ended_at
    return -early <= late and (late <= window or (equal and begun is not None))


def _session(reading: Reading, exchange: WireExchange) -> int | None:
    known, seen = reading.client_session_id, exchange.client_session_id
    if known is None or seen is None or reading.client in OTHER_SESSION_IDS:
        return 1
    if known == seen:
        return 2
    return 1 if is_library(exchange.client) else None


def _model(name: str | None, seen: frozenset[str]) -> int | None:
    if not name or not seen:
        return 1
    plain = _plain(name)
    others = [_plain(other) for other in seen]
    if plain in others:
        return 2
    return 1 if any(plain in other or other in plain for other in others) else None


def _plain(model: str) -> str:
    return model.lower().rpartition("/")[2].replace(".", "-").replace("_", "-")


def _figures(reading: Reading, exchange: WireExchange) -> int:
    if not reading.reported:
        return 1
    pairs = [
        (ours, theirs)
        for ours, theirs in (
            (reading.usage.input_tokens, exchange.usage.input_tokens),
            (reading.usage.output_tokens, exchange.usage.output_tokens),
        )
        if ours is not None and theirs is not None
    ]
    if not pairs:
        return 1
    return 2 if all(ours == theirs for ours, theirs in pairs) else 0


def _purpose(reading: Reading, exchange: WireExchange) -> int:
    return 1 if bool(reading.side) == exchange.side else 0
