"""One HTTP exchange as its frames come in: what it is, then its answer, piece by piece."""

from __future__ import annotations

from kimi_mitm import draft as drafts
from kimi_mitm import link, recognise
from kimi_mitm.answers import of_answer
from kimi_mitm.draft import Draft
from kimi_mitm.engine.drafting import Drafting
from kimi_mitm.records import Operation
from kimi_mitm.wire import FORMATS
from kimi_mitm.wire.answer import AnswerReader
from kimi_mitm.wire.encoding import decode_body

_UNDECIDED_LIMIT = 256 * 1024
_HEAD = 4096
_UPDATE_S = 1.0


class HttpIntake:
    """One HTTP exchange. Undecided until the body's shape, or the answer's, tells what it is."""

    def __init__(self, drafting: Drafting, opened: link.Opened, body: bytes | None) -> None:
        self._drafting = drafting
        self._opened = opened
        self._body = body
        self._candidate = recognise.Candidate(
            opened.wire_format, Operation(opened.operation), opened.served_by, opened.certain, opened.poll
        )
        self._draft: Draft | None = None
        self._unsure = False
        self._reader: AnswerReader | None = None
        self._answered: link.Answered | None = None
        self._held: list[tuple[link.Pieces, bytes]] = []
        self._held_size = 0
        self._first_token_at: float | None = None
        self._told_at = 0.0
        if not opened.poll:
            self._decide(b"", final=False)

    def take(self, head: link.Upward, payload: bytes) -> None:
        match head:
            case link.Answered():
                self._answered = head
                self._told_at = head.at
            case link.Pieces():
                self._pieces(head, payload)
            case link.Ended():
                self._ended(head)

    def give_up(self, at: float | None, why: str) -> None:
        """Ends the exchange with what is known of its request."""
        if self._draft is not None:
            self._drafting.completed(
                drafts.complete(
                    self._draft,
                    None,
                    status=self._answered.status if self._answered else None,
                    first_token_at=self._first_token_at,
                    ended_at=at if at is not None else self._opened.at,
                    broken=why,
                )
            )

    def _decide(self, answer_head: bytes, *, final: bool) -> None:
        opened = self._opened
        status = self._answered.status if self._answered else None
        found = recognise.settle(
            self._candidate, opened.method, opened.path, opened.headers, self._body, status, answer_head
        )
        if found is None or (found.wire_format is None and not final and not answer_head):
            return
        if self._draft is None or found.wire_format != self._draft.exchange.wire_format:
            self._draft = self._drafting.begin(opened, self._body, found)
        self._unsure = not found.certain and not final and not answer_head

    def _pieces(self, head: link.Pieces, payload: bytes) -> None:
        if (self._draft is None or self._unsure) and not self._opened.poll:
            self._hold(head, payload)
        else:
            self._read(head, payload)

    def _read(self, head: link.Pieces, payload: bytes) -> None:
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

    def _hold(self, head: link.Pieces, payload: bytes) -> None:
        """Keeps the answer's beginning until it tells what it is, or is long enough to decide."""
        self._held.append((head, payload))
        self._held_size += len(payload)
        start = self._answer_head()
        if self._held_size >= _HEAD or of_answer(start) is not None:
            self._decide(start, final=False)
            if self._draft is not None:
                self._release()
            elif self._held_size > _UNDECIDED_LIMIT:
                del self._held[1:]

    def _release(self) -> None:
        self._unsure = False
        held, self._held = self._held, []
        for head, payload in held:
            self._read(head, payload)

    def _feed(self, data: bytes) -> None:
        reader = self._reader or self._make_reader()
        if reader is not None:
            reader.feed(data)

    def _make_reader(self) -> AnswerReader | None:
        format = self._draft.format if self._draft is not None else None
        if self._opened.poll:
            format = FORMATS.get(self._opened.wire_format or "")
        if format is None or self._answered is None:
            return None
        self._reader = AnswerReader(format, self._answered.status, self._answered.headers)
        return self._reader

    def _tell(self, at: float) -> None:
        if self._draft is None or self._reader is None or at - self._told_at < _UPDATE_S:
            return
        self._told_at = at
        if self._opened.live and self._reader.started:
            self._drafting.progressed(self._draft, self._reader.answer())

    def _answer_head(self) -> bytes:
        encoding = self._answered.headers.get("content-encoding") if self._answered else None
        return decode_body(b"".join(payload for _, payload in self._held), encoding, _HEAD).data

    def _ended(self, head: link.Ended) -> None:
        if (self._draft is None or self._unsure) and not self._opened.poll:
            self._decide(self._answer_head() if self._held else b"", final=True)
            if self._draft is None:
                return
            self._release()
        reader = self._reader or self._make_reader()
        answer = reader.finish(head.error) if reader else None
        if self._opened.poll:
            known = self._drafting.polled(answer, head.at) if answer else None
            if known is not None:
                self._drafting.completed(known)
            return
        assert self._draft is not None
        streamed = answer is not None and answer.streamed and self._opened.live
        self._drafting.completed(
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
