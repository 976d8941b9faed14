"""One WebSocket as its messages come in: each turn on it is an exchange."""

from __future__ import annotations

from kimi_mitm import draft as drafts
from kimi_mitm import link
from kimi_mitm.draft import Draft
from kimi_mitm.engine.drafting import Drafting
from kimi_mitm.wire.format import Target
from kimi_mitm.wire.turn_events import TurnEnded, TurnStarted
from kimi_mitm.wire.turns import Turns


class SocketIntake:
    """One WebSocket: each turn on it is an exchange."""

    def __init__(self, drafting: Drafting, opened: link.Opened) -> None:
        self._drafting = drafting
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

    def give_up(self, at: float | None, why: str) -> None:
        """Ends the turns that are under way with what is known of their requests."""
        for draft in self._drafts.values():
            self._drafting.completed(
                drafts.complete(
                    draft,
                    None,
                    status=self._status,
                    first_token_at=None,
                    ended_at=at if at is not None else self._opened.at,
                    broken=why,
                )
            )

    def _turn(self, event: object, at: float, broken: str | None = None) -> None:
        match event:
            case TurnStarted(index=index, body=body):
                draft = self._drafting.begin_turn(self._opened, self._name(at), body, at)
                if draft is not None:
                    self._drafts[index] = draft
            case TurnEnded(index=index, answer=answer):
                draft = self._drafts.pop(index, None)
                if draft is None:
                    return
                self._drafting.completed(
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
