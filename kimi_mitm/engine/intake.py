"""Frames from the recorder become drafts of exchanges: decoded, read, estimated, learned from.

Runs in one thread of the engine, in the order the frames came, so that a slow count holds back the
pipe and nothing else. What comes out is handed to `emit`, which must be safe to call from here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from kimi_mitm import link, sieve
from kimi_mitm.engine.drafting import Drafting, Emit
from kimi_mitm.engine.intake_http import HttpIntake
from kimi_mitm.engine.intake_socket import SocketIntake
from kimi_mitm.engine.known import Known
from kimi_mitm.faults import place_of
from kimi_mitm.tokens import Estimator
from kimi_mitm.wire.encoding import decode_body

BODY_LIMIT = 64 * 1024 * 1024
"""Decoded bytes of a request that are read; a bomb ends here."""


class Intake:
    """Everything that is under way. `known`: exchanges recorded before, which reading a file again must
    not touch."""

    def __init__(
        self,
        estimator: Estimator,
        emit: Emit,
        *,
        table: Mapping[str, str] | None = None,
        known: Known | None = None,
    ) -> None:
        self._emit = emit
        self._drafting = Drafting(estimator, emit, table or {}, known)
        self._open: dict[int, HttpIntake | SocketIntake] = {}

    def handle(self, head: link.Upward, payload: bytes) -> None:
        """Takes one frame. Doesn't raise: an exchange that trips us ends there, and is told of."""
        match head:
            case link.Opened():
                try:
                    self._opened(sieve.masked(head), payload)
                except Exception as e:
                    self._drafting.fault(e)
            case link.Answered() | link.Pieces() | link.Said() | link.Ended():
                under_way = self._open.get(head.n)
                if under_way is not None:
                    self._take(under_way, head, payload)
            case link.Hello():
                pass
            case _:
                self._emit(head)

    def _take(
        self,
        under_way: HttpIntake | SocketIntake,
        head: link.Answered | link.Pieces | link.Said | link.Ended,
        payload: bytes,
    ) -> None:
        if isinstance(head, link.Ended):
            del self._open[head.n]
        try:
            under_way.take(sieve.masked(head) if isinstance(head, link.Answered) else head, payload)
        except Exception as e:
            self._drafting.fault(e)
            self._open.pop(head.n, None)
            at = head.times[-1] if isinstance(head, link.Pieces) and head.times else getattr(head, "at", None)
            with contextlib.suppress(Exception):
                under_way.give_up(at, f"it could not be read ({place_of(e)})")

    def end_all(self, at: float, why: str) -> None:
        """Ends what is under way: the proxy is gone."""
        for n in list(self._open):
            self.handle(link.Ended(n=n, at=at, error=why), b"")

    def _opened(self, opened: link.Opened, payload: bytes) -> None:
        if opened.websocket and opened.wire_format:
            self._open[opened.n] = SocketIntake(self._drafting, opened)
            return
        if self._drafting.is_known(opened, opened.exchange_id):
            return
        body: bytes | None = None
        if opened.body == "whole":
            body = decode_body(payload, opened.headers.get("content-encoding"), BODY_LIMIT).data
        self._open[opened.n] = HttpIntake(self._drafting, opened, body)
