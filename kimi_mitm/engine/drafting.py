"""Drafts of exchanges on their way: begun with the request, settled and learned from at the end."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kimi_mitm import draft as drafts
from kimi_mitm import link, recognise
from kimi_mitm.draft import Draft
from kimi_mitm.engine.known import Known
from kimi_mitm.faults import place_of
from kimi_mitm.fusion import exchange_figures, settling
from kimi_mitm.records import Answer, Operation
from kimi_mitm.tokens import Estimator
from kimi_mitm.wire import FORMATS

_PENDING = 1000


@dataclass(frozen=True, slots=True)
class Update:
    """News of one exchange. `stage`: `started`, `updated` or `completed`; `learned` are the keys of the
    learner's states that changed, to be kept."""

    stage: str
    draft: Draft
    learned: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Again:
    """An exchange recorded before was read again, in the flow `flow_id`."""

    exchange_id: str
    flow_id: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Our own error while an exchange was read: what and where, never with content."""

    place: str


type News = Update | Again | Fault | link.Gone | link.Tls | link.Lost | link.Call | link.Stop
type Emit = Callable[[News], None]


class Drafting:
    """What all kinds of exchanges share. `known`: exchanges recorded before, which reading a file again
    must not touch; `table`: the user's own model → provider table."""

    def __init__(
        self, estimator: Estimator, emit: Emit, table: Mapping[str, str], known: Known | None
    ) -> None:
        self._estimator = estimator
        self._emit = emit
        self._table = table
        self._known = known
        self._pending: OrderedDict[str, Draft] = OrderedDict()

    def is_known(self, opened: link.Opened, exchange_id: str) -> bool:
        """Whether it was recorded before and is read again; its flow is told of then."""
        if self._known is None or not self._known.has(exchange_id, live=opened.live):
            return False
        self._emit(Again(exchange_id, opened.flow_id))
        return True

    def begin(self, opened: link.Opened, body: bytes | None, found: recognise.Candidate) -> Draft:
        """A request whose format is known. One that trips us is kept as one that can't be read."""
        try:
            draft = self._begin(opened, body, found.wire_format, found.operation)
        except Exception as e:
            self.fault(e)
            draft = self._begin(opened, None, None, Operation.OTHER)
        self._emit(Update("started", draft))
        return draft

    def _begin(
        self, opened: link.Opened, body: bytes | None, format_name: str | None, operation: Operation
    ) -> Draft:
        return drafts.begin(
            opened, body, self._estimator, format_name=format_name, operation=operation, table=self._table
        )

    def fault(self, error: Exception) -> None:
        """Tells of an error of ours."""
        self._emit(Fault(place_of(error)))

    def begin_turn(self, opened: link.Opened, name: str, body: bytes, at: float) -> Draft | None:
        """A turn on a WebSocket; None when it was recorded before. `name` tells it from the others."""
        assert opened.wire_format is not None
        exchange_id = str(uuid.uuid5(uuid.UUID(opened.exchange_id), name))
        if self.is_known(opened, exchange_id):
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
        """Tells what is known of an answer that goes on."""
        exchange = replace(
            draft.exchange,
            **drafts.names(answer),
            **exchange_figures.figures(draft.exchange, answer.usage),
        )
        self._emit(Update("updated", replace(draft, exchange=exchange)))

    def completed(self, draft: Draft) -> None:
        """Settles a finished exchange, learns from it and hands it on."""
        answer = draft.answer
        if draft.pending and answer and answer.response_id:
            self._pending[answer.response_id] = draft
            while len(self._pending) > _PENDING:
                self._pending.popitem(last=False)
        learned: Sequence[str] = ()
        try:
            draft = self._settled(draft)
            learned = self._learn(draft)
        except Exception as e:
            self.fault(e)
        self._emit(Update("completed", draft, learned))

    def _settled(self, draft: Draft) -> Draft:
        found = exchange_figures.readings(draft, self._estimate_output(draft, draft.answer))
        found += settling.error_readings(draft.exchange)
        exchange = settling.settle(draft.exchange, found)
        if draft.estimated is not None and not exchange.is_estimated:
            turn = self._estimator.turn(draft.estimated, exchange.input_tokens)
            exchange = replace(exchange, **exchange_figures.turn_fields(turn))
        return replace(draft, exchange=exchange)

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

    def _estimate_output(self, draft: Draft, answer: Answer | None) -> int | None:
        if answer is None or draft.estimated is None or answer.usage.output_tokens is not None:
            return None
        if not (answer.text or answer.tool_calls or answer.reasoning):
            return None
        return self._estimator.estimate_output(draft.estimated.call, answer)

    def _learn(self, draft: Draft) -> Sequence[str]:
        answer = draft.answer
        if answer is None or draft.estimated is None or draft.exchange.error or not draft.request.generates:
            return ()
        if answer.usage.input_tokens is None:
            return ()
        return self._estimator.learn(
            draft.estimated, answer.usage, response_id=answer.response_id, answer=answer
        )
