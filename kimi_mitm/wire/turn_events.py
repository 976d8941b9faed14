"""What happens on a socket that many turns share: each turn is an exchange of its own."""

from __future__ import annotations

from dataclasses import dataclass

from kimi_mitm.records import Answer


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """A turn began. `index` counts the turns of the socket from 0; `body` is the turn's request as the
    format's `read_request` takes it."""

    index: int
    body: bytes


@dataclass(frozen=True, slots=True)
class TurnProgress:
    """The first generated token of a turn was seen."""

    index: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """A turn is over, at its format's own end or because the socket is."""

    index: int
    answer: Answer


type TurnEvent = TurnStarted | TurnProgress | TurnEnded
