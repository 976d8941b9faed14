"""Which session an exchange belongs to: the rules, without memory, clock or effects.

In this order:

1. An `x-session-id` that names one of our sessions decides. Our ids can't be guessed: who knows one
   may use it. Where that session has ended and its (user, config) has a live one, that one is meant.
2. Otherwise the exchange has a scope, and the scope has a current session: `exchange` (by option),
   else `id` (user, client, the client's own id), else `line` (user, client). An id that the provider
   issued leads to the session it was issued in.
3. A conversation turn on another provider than its session's last turn gets a new session when the
   flag holds for the new provider, within the same scope. Side traffic never does, nor does an
   unknown provider.
4. A session that ended by itself goes on when its client brings its own id again, or ours; other
   scopes get a new session, which knows the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from kimi_mitm.sessions.flag import Flag
from kimi_mitm.sessions.names import scope_of
from kimi_mitm.sessions.record import RESUMABLE, EndReason, Kind, OpenedBy, Session, Status
from kimi_mitm.sessions.seen import ANY_CLIENT, Policy, Rules, Seen, SessionBy, known_provider, line_scope


class View(Protocol):
    """What the rules may ask. Answers about what isn't in memory are checked when the outcome is stored."""

    def session(self, session_id: str) -> Session | None:
        """A session, live or ended."""

    def current(self, scope: str) -> Session | None:
        """The scope's current session; it may have ended."""

    def issued(self, user: str, issued_id: str) -> Session | None:
        """The session in which a provider issued this id."""

    def live_in(self, scope: str) -> list[Session]:
        """The live sessions of a scope, the current one and those switched away from."""

    def overdue(self, session: Session, now: datetime) -> bool:
        """Whether it has been without activity for longer than the timeout."""

    @property
    def flag(self) -> Flag: ...


@dataclass(frozen=True, slots=True)
class End:
    """The session ends."""

    session_id: str
    reason: EndReason
    timeout: timedelta


@dataclass(frozen=True, slots=True)
class Resume:
    """An ended session goes on."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Create:
    """A new session."""

    session: Session


@dataclass(frozen=True, slots=True)
class Switch:
    """The scope's current session is another from now on."""

    scope: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Touch:
    """The exchange counts in the session. `turn`: as a turn of the conversation, not as side traffic."""

    session_id: str
    turn: bool
    carried: int = 0
    side_kept: int = 0
    returns: int = 0


type Step = End | Resume | Create | Switch | Touch


@dataclass(frozen=True, slots=True)
class Decision:
    """The session of an exchange, the steps to take in order, and why, in a word: `named`, `issued`,
    `current`, `resumed`, `new`, `flag`, `returned`."""

    session_id: str
    steps: tuple[Step, ...]
    why: str


def decide(view: View, rules: Rules, seen: Seen, now: datetime, new_id: Callable[[], str]) -> Decision:
    """The session of an exchange; `new_id` is asked only when there is to be a new one."""
    return _Case(view, rules, seen, now, new_id).decide()


@dataclass(frozen=True, slots=True)
class _Case:
    view: View
    rules: Rules
    seen: Seen
    now: datetime
    new_id: Callable[[], str]

    @property
    def turn(self) -> bool:
        return not self.seen.side or self.rules.policy is Policy.ALWAYS

    def decide(self) -> Decision:
        if self.seen.x_session_id is not None:
            named = self.view.session(self.seen.x_session_id)
            if named is not None and (named.live or named.end_reason in RESUMABLE):
                return self._named(named)
        scope = self._scope()
        issued = self._issued()
        if issued is not None:
            return self._joined(scope, issued, "issued")
        return self._current(scope, self.view.current(scope))

    def _named(self, named: Session) -> Decision:
        touch = Touch(named.session_id, self.turn)
        if named.live:
            return Decision(named.session_id, (touch,), "named")
        holder = self.view.current(named.scope)
        if holder is not None and holder.live:
            return Decision(holder.session_id, (replace(touch, session_id=holder.session_id),), "named")
        return Decision(named.session_id, (Resume(named.session_id), *self._switch(named), touch), "named")

    def _switch(self, session: Session) -> tuple[Step, ...]:
        holder = self.view.current(session.scope)
        if holder is not None and holder.session_id == session.session_id:
            return ()
        return (Switch(session.scope, session.session_id),)

    def _scope(self) -> str:
        by, seen = self.rules.by, self.seen
        if by is SessionBy.EXCHANGE:
            return scope_of("exchange", seen.exchange_id)
        if by is not SessionBy.PROVIDER and seen.client_session_id is not None:
            return scope_of("id", seen.user, seen.client, seen.client_session_id)
        return line_scope(self.rules, seen.user, seen.client)

    def _issued(self) -> Session | None:
        if self.rules.by is not SessionBy.AUTO or self.seen.client_session_id is not None:
            return None
        for issued_id in self.seen.issued_ids:
            session = self.view.issued(self.seen.user, issued_id)
            if session is not None and session.live and session.client == self.seen.client:
                return None if self.view.overdue(session, self.now) else session
        return None

    def _current(self, scope: str, current: Session | None) -> Decision:
        if current is not None and not current.live and self._goes_on(current):
            return self._joined(scope, current, "resumed")
        steps: tuple[Step, ...] = ()
        if current is not None and current.live:
            if not self._leaves(current):
                return self._joined(scope, current, "current")
            steps = (End(current.session_id, EndReason.TIMEOUT, self.rules.timeout),)
        waiting = self._activated_for_any_client()
        if waiting is not None:
            return self._joined(scope, waiting, "current")
        return self._created(scope, current, OpenedBy.TRAFFIC, "new", steps)

    def _goes_on(self, session: Session) -> bool:
        return session.client_session_id is not None and session.end_reason in RESUMABLE

    def _leaves(self, session: Session) -> bool:
        """A client's own id keeps its session until it is really ended; a line's is over when overdue."""
        return session.client_session_id is None and self.view.overdue(session, self.now)

    def _activated_for_any_client(self) -> Session | None:
        if self.rules.by is SessionBy.EXCHANGE or self.seen.client_session_id is not None:
            return None
        session = self.view.current(line_scope(self.rules, self.seen.user, ANY_CLIENT))
        return session if session is not None and session.live else None

    def _joined(self, scope: str, session: Session, why: str) -> Decision:
        provider, last = known_provider(self.seen.provider), session.provider
        touch = Touch(session.session_id, self.turn)
        if provider is None or last is None or provider == last:
            return self._join(scope, session, touch, why)
        if not self.turn:
            return self._join(scope, session, replace(touch, side_kept=1), why)
        if self.rules.by in (SessionBy.CLIENT, SessionBy.EXCHANGE):
            return self._join(scope, session, touch, why)
        if not self.view.flag.holds_for(provider):
            return self._join(scope, session, replace(touch, carried=1), why)
        if self.rules.policy is Policy.RESUME:
            other = self._latest_on(provider, self.view.live_in(scope))
            if other is not None:
                return self._join(scope, other, Touch(other.session_id, True, returns=1), "returned")
        return self._created(scope, session, OpenedBy.FLAG, "flag", ())

    def _latest_on(self, provider: str, sessions: list[Session]) -> Session | None:
        fit = [
            session
            for session in sessions
            if session.provider == provider and not self.view.overdue(session, self.now)
        ]
        return max(fit, key=lambda session: (session.last_activity_at, session.session_id), default=None)

    def _join(self, scope: str, session: Session, touch: Touch, why: str) -> Decision:
        steps: list[Step] = [] if session.live else [Resume(session.session_id)]
        holder = self.view.current(scope)
        elsewhere = holder is None or holder.session_id != session.session_id
        if elsewhere and (touch.turn or holder is None or not holder.live):
            steps.append(Switch(scope, session.session_id))
        return Decision(session.session_id, (*steps, touch), why)

    def _created(
        self, scope: str, before: Session | None, by: OpenedBy, why: str, steps: tuple[Step, ...]
    ) -> Decision:
        seen, alone = self.seen, self.rules.by is SessionBy.EXCHANGE
        identified = not alone and self.rules.by is not SessionBy.PROVIDER
        session = Session(
            session_id=self.new_id(),
            scope=scope,
            user=seen.user,
            client=seen.client,
            provider=known_provider(seen.provider) if self.turn else None,
            model=seen.model if self.turn else None,
            client_session_id=seen.client_session_id if identified else None,
            kind=Kind.EXCHANGE if alone else Kind.INTERACTIVE,
            opened_by=by,
            previous_session_id=before.session_id if before is not None else None,
            started_at=self.now,
            last_activity_at=self.now,
        )
        made = (
            *steps,
            Create(session),
            Switch(scope, session.session_id),
            Touch(session.session_id, self.turn),
        )
        return Decision(session.session_id, made, why)


def touched(session: Session, touch: Touch, seen: Seen, now: datetime, owner: str) -> Session:
    """The session with one more exchange placed in it."""
    turn = touch.turn
    prompted = turn and seen.prompt is not None and seen.prompt != session.last_prompt
    return replace(
        session,
        status=Status.ACTIVE if turn or session.turns else session.status,
        started_at=min(session.started_at, now),
        last_activity_at=max(session.last_activity_at, now),
        provider=(known_provider(seen.provider) if turn else None) or session.provider,
        model=(seen.model if turn else None) or session.model,
        folder=seen.folder or session.folder,
        client=session.client or seen.client,
        owner=owner,
        exchanges=session.exchanges + 1,
        turns=session.turns + turn,
        prompts=session.prompts + prompted,
        last_prompt=seen.prompt if prompted else session.last_prompt,
        carried=session.carried + touch.carried,
        side_kept=session.side_kept + touch.side_kept,
        returns=session.returns + touch.returns,
    )
