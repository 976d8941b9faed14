"""Frames from the recorder become drafts of exchanges: decoded, read, estimated, learned from.

Runs in one thread of the engine, in the order the frames came, so that a slow count holds back the
pipe and nothing else. What comes out is handed to `emit`, which must be safe to call from here.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from kimi_mitm import draft as drafts
from kimi_mitm import link, recognise, sieve
from kimi_mitm.draft import Draft
from kimi_mitm.records import Answer, Operation, Reading
from kimi_mitm.tokens import Estimator
from kimi_mitm.wire import FORMATS
from kimi_mitm.wire.answer import AnswerReader
from kimi_mitm.wire.encoding import decode_body
from kimi_mitm.wire.format import Target
from kimi_mitm.wire.turn_events import TurnEnded, TurnStarted
from kimi_mitm.wire.turns import Turns

BODY_LIMIT = 64 * 1024 * 1024
"""Decoded bytes of a request that are read; a bomb ends here."""
_UNDECIDED_LIMIT = 256 * 1024
_HEAD = 4096
_PENDING = 1000
_UPDATE_S = 1.0


@dataclass(frozen=True, slots=True)
class Update:
    """News of one exchange. `stage`: `started`, `updated` or `completed`; `learned` are learner states
    that changed, to be kept."""

    stage: str
    draft: Draft
    readings: tuple[Reading, ...] = ()
    learned: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Again:
    """An exchange recorded before was read again, in the flow `flow_id`."""

    exchange_id: str
    flow_id: str


type Emit = Callable[[Update | Again | link.Gone | link.Tls | link.Lost | link.Call | link.Stop], None]


class Intake:
    """Everything that is under way. `known`: exchanges recorded before, which reading a file again must
    not touch."""

    def __init__(
        self,
        estimator: Estimator,
        emit: Emit,
        *,
        table: Mapping[str, str] | None = None,
        known: frozenset[str] = frozenset(),
    ) -> None:
        self._estimator = estimator
        self._emit = emit
        self._table = table or {}
        self._known = known
        self._open: dict[int, _Http | _Socket] = {}
        self._pending: OrderedDict[str, Draft] = OrderedDict()

    def handle(self, head: link.Upward, payload: bytes) -> None:
        """Takes one frame."""
        match head:
            case link.Opened():
                self._opened(sieve.masked(head), payload)
            case link.Answered() | link.Pieces() | link.Said() | link.Ended():
                under_way = self._open.get(head.n)
                if under_way is None:
                    return
                under_way.take(sieve.masked(head) if isinstance(head, link.Answered) else head, payload)
                if isinstance(head, link.Ended):
                    del self._open[head.n]
            case link.Hello():
                pass
            case _:
                self._emit(head)

    def end_all(self, at: float, why: str) -> None:
        """Ends what is under way: the proxy is gone."""
        for n in list(self._open):
            self.handle(link.Ended(n=n, at=at, error=why), b"")

    def _opened(self, opened: link.Opened, payload: bytes) -> None:
        if opened.exchange_id in self._known:
            self._emit(Again(opened.exchange_id, opened.flow_id))
            return
        if opened.websocket and opened.wire_format:
            self._open[opened.n] = _Socket(self, opened)
            return
        body: bytes | None = None
        if opened.body == "whole":
            body = decode_body(payload, opened.headers.get("content-encoding"), BODY_LIMIT).data
        self._open[opened.n] = _Http(self, opened, body)

    def begin(self, opened: link.Opened, body: bytes | None, found: recognise.Candidate) -> Draft:
        draft = drafts.begin(
            opened,
            body,
            self._estimator,
            format_name=found.wire_format,
            operation=found.operation,
            table=self._table,
        )
        self._emit(Update("started", draft))
        return draft

    def begin_turn(self, opened: link.Opened, name: str, body: bytes, at: float) -> Draft | None:
        """A turn on a WebSocket; None when it was recorded before. `name` tells it from the others."""
        assert opened.wire_format is not None
        exchange_id = str(uuid.uuid5(uuid.UUID(opened.exchange_id), name))
        if exchange_id in self._known:
            self._emit(Again(exchange_id, opened.flow_id))
            return None
        draft = drafts.begin(
            opened,
            body,
            self._estimator,
            format_name=opened.wire_format,
            operation=FORMATS[opened.wire_format].operation,
            table=self._table,
            exchange_id=exchange_id,
            at=at,
            transport="websocket",
        )
        self._emit(Update("started", draft))
        return draft

    def progressed(self, draft: Draft, answer: Answer) -> None:
        exchange = replace(
            drafts.with_usage(draft.exchange, answer.usage),
            response_model=answer.response_model,
            response_id=answer.response_id,
        )
        self._emit(Update("updated", replace(draft, exchange=exchange)))

    def completed(self, draft: Draft) -> None:
        """Learns from a finished exchange and hands it on."""
        answer = draft.answer
        if draft.pending and answer and answer.response_id:
            self._pending[answer.response_id] = draft
            while len(self._pending) > _PENDING:
                self._pending.popitem(last=False)
        guess = None
        if (
            answer
            and answer.usage.output_tokens is None
            and (answer.text or answer.tool_calls or answer.reasoning)
        ):
            guess = self._estimate_output(draft, answer)
        found = tuple(drafts.readings(draft, guess))
        self._emit(Update("completed", draft, found, self._learn(draft)))

    def polled(self, answer: Answer, ended_at: float) -> Draft | None:
        """The stored answer of an earlier request was fetched; the request's draft if we know it."""
        draft = self._pending.get(answer.response_id or "")
        if draft is None or answer.pending:
            return None
        del self._pending[answer.response_id or ""]
        return drafts.complete(
            draft,
            answer,
            status=draft.exchange.status,
            first_token_at=None,
            ended_at=ended_at,
            broken=None,
        )

    def _estimate_output(self, draft: Draft, answer: Answer) -> int | None:
        if draft.estimated is None:
            return None
        return self._estimator.estimate_output(draft.estimated.call, answer)

    def _learn(self, draft: Draft) -> dict[str, bytes]:
        answer = draft.answer
        if answer is None or draft.estimated is None or draft.exchange.error or not draft.request.generates:
            return {}
        if answer.usage.input_tokens is None:
            return {}
        changed = self._estimator.learn(
            draft.estimated, answer.usage, response_id=answer.response_id, answer=answer
        )
        return {key: self._estimator.state(key) for key in changed}


class _Http:
    """One HTTP exchange. Undecided until the body's shape, or the answer's, tells what it is."""

    def __init__(self, intake: Intake, opened: link.Opened, body: bytes | None) -> None:
        self._intake = intake
        self._opened = opened
        self._body = body
        self._candidate = recognise.Candidate(
            opened.wire_format, Operation(opened.operation), opened.served_by, opened.certain, opened.poll
        )
        self._draft: Draft | None = None
        self._unsure = False
        self._reader: AnswerReader | None = None
        self._answered: link.Answered | None = None
        self._held: list[bytes] = []
        self._held_size = 0
        self._first_token_at: float | None = None
        self._told_at = 0.0
        if not opened.poll:
            self._decide(b"", final=False)

    def take(self, head: link.Upward, payload: bytes) -> None:
        match head:
            case link.Answered():
                self._answered = head
            case link.Pieces():
                self._pieces(head, payload)
            case link.Ended():
                self._ended(head)

    def _decide(self, answer_head: bytes, *, final: bool) -> None:
        opened = self._opened
        status = self._answered.status if self._answered else None
        found = recognise.settle(
            self._candidate, opened.method, opened.path, opened.headers, self._body, status, answer_head
        )
        if found is None or (found.wire_format is None and not final and not answer_head):
            return
        if self._draft is None or found.wire_format != self._draft.exchange.wire_format:
            self._draft = self._intake.begin(opened, self._body, found)
        self._unsure = not found.certain and not final and not answer_head

    def _pieces(self, head: link.Pieces, payload: bytes) -> None:
        if (self._draft is None or self._unsure) and not self._opened.poll:
            self._hold(payload)
            return
        place = 0
        for at, size in zip(head.times, head.sizes, strict=True):
            if self._first_token_at is not None:
                self._feed(payload[place:])
                break
            self._feed(payload[place : place + size])
            place += size
            if self._reader is not None and self._reader.started:
                self._first_token_at = at
        self._tell(head.times[-1])

    def _hold(self, payload: bytes) -> None:
        """Keeps the answer's beginning until it is long enough to decide what it is."""
        self._held.append(payload)
        self._held_size += len(payload)
        if self._held_size >= _HEAD:
            self._decide(self._answer_head(), final=False)
            if self._draft is not None:
                self._release()
            elif self._held_size > _UNDECIDED_LIMIT:
                del self._held[1:]

    def _release(self) -> None:
        self._unsure = False
        held = b"".join(self._held)
        self._held.clear()
        if held:
            self._feed(held)

    def _feed(self, data: bytes) -> None:
        reader = self._reader or self._make_reader()
        if reader is not None:
            reader.feed(data)

    def _make_reader(self) -> AnswerReader | None:
        format = FORMATS.get("openai.responses") if self._opened.poll else self._draft and self._draft.format
        if format is None or self._answered is None:
            return None
        self._reader = AnswerReader(format, self._answered.status, self._answered.headers)
        return self._reader

    def _tell(self, at: float) -> None:
        if self._draft is None or self._reader is None or at - self._told_at < _UPDATE_S:
            return
        self._told_at = at
        if self._opened.live and self._reader.started:
            self._intake.progressed(self._draft, self._reader.answer())

    def _answer_head(self) -> bytes:
        encoding = self._answered.headers.get("content-encoding") if self._answered else None
        return decode_body(b"".join(self._held), encoding, _HEAD).data

    def _ended(self, head: link.Ended) -> None:
        if (self._draft is None or self._unsure) and not self._opened.poll:
            self._decide(self._answer_head() if self._held else b"", final=True)
            if self._draft is None:
                return
            self._release()
        reader = self._reader or self._make_reader()
        answer = reader.finish(head.error) if reader else None
        if self._opened.poll:
            known = self._intake.polled(answer, head.at) if answer else None
            if known is not None:
                self._intake.completed(known)
            return
        assert self._draft is not None
        streamed = answer is not None and answer.streamed and self._opened.live
        self._intake.completed(
            drafts.complete(
                self._draft,
                answer,
                status=self._answered.status if self._answered else None,
                first_token_at=self._first_token_at if streamed else None,
                ended_at=head.at,
                broken=head.error,
                lost=head.lost,
                response_headers=self._answered.headers if self._answered else None,
            )
        )


class _Socket:
    """One WebSocket: each turn on it is an exchange."""

    def __init__(self, intake: Intake, opened: link.Opened) -> None:
        self._intake = intake
        self._opened = opened
        target = Target(host=opened.host, path=opened.path, headers=opened.headers)
        self._turns = Turns(opened.wire_format or "", target)
        self._status: int | None = None
        self._drafts: dict[int, Draft] = {}
        self._names: set[str] = set()
        self._first: dict[int, float] = {}

    def take(self, head: link.Upward, payload: bytes) -> None:
        match head:
            case link.Answered():
                self._status = head.status
            case link.Said():
                for event in self._turns.message(head.from_client, payload, head.text):
                    self._turn(event, head.at)
            case link.Ended():
                for event in self._turns.cut(head.error or "the WebSocket was closed"):
                    self._turn(event, head.at, broken=head.error or "the WebSocket was closed")

    def _turn(self, event: object, at: float, broken: str | None = None) -> None:
        match event:
            case TurnStarted(index=index, body=body):
                draft = self._intake.begin_turn(self._opened, self._name(at), body, at)
                if draft is not None:
                    self._drafts[index] = draft
            case TurnEnded(index=index, answer=answer):
                draft = self._drafts.pop(index, None)
                if draft is None:
                    return
                self._intake.completed(
                    drafts.complete(
                        draft,
                        answer,
                        status=self._status,
                        first_token_at=self._first.pop(index, None) if self._opened.live else None,
                        ended_at=at,
                        broken=broken,
                    )
                )
            case _:
                self._first.setdefault(getattr(event, "index", 0), at)

    def _name(self, at: float) -> str:
        """A turn is named by when it began: a socket's first messages may be gone when it is told again."""
        name = repr(at)
        while name in self._names:
            name += "+"
        self._names.add(name)
        return name
