"""Sessions against a model of themselves: any order of turns, toggles, ends, crashes and restarts, in two
processes on one database. The model is the issue's text in a few lines, with one memory and no races."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from session_desk import START, Desk

from kimi_mitm.sessions.flag import FlagForced
from kimi_mitm.sessions.record import EndReason
from kimi_mitm.sessions.seen import Policy, Rules, SessionBy

TIMEOUT = timedelta(seconds=300)
NEW = "new"

_DESKS = st.integers(0, 1)
_VALUES = st.sampled_from([True, False, None])
_PLACES = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["alice", "bob"]),
        "client_session_id": st.sampled_from([None, None, "one", "two"]),
        "provider": st.sampled_from(["A", "B", "C", "unknown"]),
        "side": st.booleans(),
    }
)


@dataclass
class Known:
    """A session as the model knows it."""

    scope: tuple
    provider: str | None
    last: datetime
    owner: int
    ended: str | None = None
    exchanges: int = 0


class Model:
    def __init__(self, by, policy, flag):
        self.by = by
        self.policy = policy
        self.flag = flag
        self.own = {}
        self.forced = None
        self.now = START
        self.sessions: dict[str, Known] = {}
        self.current: dict[tuple, str] = {}

    def scope(self, place, exchange_id):
        if self.by is SessionBy.EXCHANGE:
            return ("exchange", exchange_id)
        if self.by is not SessionBy.PROVIDER and place["client_session_id"]:
            return ("id", place["user"], place["client_session_id"])
        return ("line", place["user"])

    def overdue(self, session):
        return self.now - session.last >= TIMEOUT

    def splits(self, provider):
        if self.by in (SessionBy.CLIENT, SessionBy.EXCHANGE):
            return False
        return self.own.get(provider, self.flag) if self.forced is None else self.forced

    def expected(self, scope, place):
        """The session of an exchange, or NEW."""
        name = self.current.get(scope)
        session = self.sessions.get(name)
        if session is None:
            return NEW
        if session.ended is None and scope[0] != "id" and self.overdue(session):
            session.ended = "timeout"
            return NEW
        if session.ended in ("request", "cleared") or (session.ended and scope[0] != "id"):
            return NEW
        provider = None if place["provider"] == "unknown" else place["provider"]
        side = place["side"] and self.policy is not Policy.ALWAYS
        if side or provider in (None, session.provider) or session.provider is None:
            return name
        if not self.splits(provider):
            return name
        if self.policy is Policy.RESUME:
            fit = [
                (other.last, other_name)
                for other_name, other in self.sessions.items()
                if other.scope == scope
                and other.provider == provider
                and not other.ended
                and not self.overdue(other)
            ]
            return max(fit)[1] if fit else NEW
        return NEW

    def placed(self, name, scope, place, desk):
        """An exchange was placed in this session and settled."""
        session = self.sessions.setdefault(name, Known(scope, None, self.now, desk))
        counts = not place["side"] or self.policy is Policy.ALWAYS
        if counts and place["provider"] != "unknown":
            session.provider = place["provider"]
        session.last, session.owner, session.ended = self.now, desk, None
        session.exchanges += 1
        self.current[scope] = name
        if self.by is SessionBy.EXCHANGE:
            session.ended = "exchange"


class Machine(RuleBasedStateMachine):
    @initialize(
        by=st.sampled_from([SessionBy.AUTO] * 3 + list(SessionBy)),
        policy=st.sampled_from(Policy),
        flag=st.booleans(),
    )
    def start(self, by, policy, flag):
        self.rules = Rules(by=by, policy=policy)
        first = Desk(self.rules, first_flag=flag)
        self.desks = [first, first.beside(first_flag=flag)]
        self.first_flag = flag
        self.model = Model(by, policy, flag)
        self.count = 0

    def next_exchange(self):
        self.count += 1
        return f"x{self.count}"

    def put(self, desk, exchange_id, place):
        seen = desk.seen(exchange_id=exchange_id, **place)
        return desk.book.place(seen, desk.now).session_id

    def settle(self, number, name, exchange_id, place):
        self.desks[number].settle(name, exchange_id, side=place["side"], total_tokens=10)

    def expect(self, number, name, scope, place):
        expected = self.model.expected(scope, place)
        assert (NEW if name not in self.model.sessions else name) == expected
        self.model.placed(name, scope, place, number)

    @rule(number=_DESKS, place=_PLACES)
    def exchange(self, number, place):
        exchange_id = self.next_exchange()
        desk = self.desks[number]
        name = desk.run(lambda: self.put(desk, exchange_id, place))
        self.expect(number, name, self.model.scope(place, exchange_id), place)
        self.settle(number, name, exchange_id, place)

    @rule(place=_PLACES, second=_PLACES, same=st.booleans(), first=_DESKS)
    def race(self, place, second, same, first):
        """Both processes decide before either stores."""
        order = [first, 1 - first]
        places = {order[0]: place, order[1]: place if same else second}
        ids = {number: self.next_exchange() for number in order}
        names = {number: self.put(self.desks[number], ids[number], places[number]) for number in order}
        for number in order:
            desk = self.desks[number]
            if not desk.store(desk.book.changes()):
                names[number] = desk.run(
                    lambda desk=desk, number=number: self.put(desk, ids[number], places[number])
                )
            scope = self.model.scope(places[number], ids[number])
            self.expect(number, names[number], scope, places[number])
        for number in order:
            self.settle(number, names[number], ids[number], places[number])
            self.model.sessions[names[number]].owner = (
                self.model.sessions[names[number]].owner
                if self.model.sessions[names[number]].ended
                else number
            )

    @rule(seconds=st.sampled_from([1, 29, 30, 31, 150, 299, 300, 1000]))
    def wait(self, seconds):
        for desk in self.desks:
            desk.wait(seconds)
        self.model.now += timedelta(seconds=seconds)

    @rule(number=_DESKS)
    def sweep(self, number):
        self.desks[number].sweep()
        for session in self.model.sessions.values():
            if session.owner == number and not session.ended and self.model.overdue(session):
                session.ended = "timeout"

    @rule(
        number=_DESKS, provider=st.sampled_from([None, "A", "B"]), value=st.sampled_from([True, False, None])
    )
    def set_flag(self, number, provider, value):
        desk, model = self.desks[number], self.model
        if model.forced is not None or (provider is None and value is None):
            return
        if provider is None:
            desk.run(lambda: desk.book.set_flag(value, "alice", desk.now))
            model.flag = value
        elif value is None:
            desk.run(lambda: desk.book.unset_flag(provider, "alice", desk.now))
            model.own.pop(provider, None)
        else:
            desk.run(lambda: desk.book.set_flag(value, "alice", desk.now, provider))
            model.own[provider] = value

    @rule()
    def both_toggle(self):
        if self.model.forced is not None:
            return
        for desk in self.desks:
            try:
                desk.book.toggle_flag("bob", desk.now)
            except FlagForced:
                assert not desk.confirmed()
                desk.book.toggle_flag("bob", desk.now)
        for desk in self.desks:
            if not desk.store(desk.book.changes()):
                desk.run(lambda desk=desk: desk.book.toggle_flag("bob", desk.now))

    @rule(number=_DESKS, value=_VALUES)
    def force(self, number, value):
        desk = self.desks[number]
        desk.run(lambda: desk.book.force_flag(value, "admin", desk.now))
        self.model.forced = value

    def live(self, pick):
        names = sorted(name for name, session in self.model.sessions.items() if not session.ended)
        return names[pick % len(names)] if names else None

    @precondition(lambda self: self.model.sessions)
    @rule(number=_DESKS, pick=st.integers(0, 50), how=st.sampled_from(["request", "cleared", "activate"]))
    def ask(self, number, pick, how):
        name, desk = self.live(pick), self.desks[number]
        if name is None:
            return
        session = self.model.sessions[name]
        if how == "request":
            desk.run(lambda: desk.book.end(name, EndReason.REQUEST, desk.now))
            session.ended = how
            assert name in [waiting.session_id for waiting in desk.book.unarchived()]
        elif how == "cleared":
            desk.run(lambda: desk.book.clear(name, desk.now))
            session.ended = how
        else:
            desk.run(lambda: desk.book.activate(name, desk.now))
            session.last, session.owner = self.model.now, number
            self.model.current[session.scope] = name

    @rule(number=_DESKS, crash=st.booleans())
    def restart(self, number, crash):
        old = self.desks[number]
        if crash:
            old.book.place(old.seen(**{"provider": "B"}), old.now)
        else:
            old.run(lambda: old.book.shutdown(old.now))
        for session in self.model.sessions.values():
            if session.owner == number and not session.ended:
                session.ended = "crash" if crash else "shutdown"
        self.desks[number] = new = old.beside(first_flag=self.first_flag)
        new.recover(lambda owner: owner == old.owner)

    @rule(number=_DESKS)
    def archive(self, number):
        self.desks[number].archive()
        assert self.desks[number].book.unarchived() == ()

    @invariant()
    def what_is_stored_is_what_the_model_says(self):
        if not hasattr(self, "model"):
            return
        stored, model = self.desks[0].all(), self.model
        assert stored.keys() == model.sessions.keys()
        for name, known in model.sessions.items():
            found = stored[name]
            assert found.live is (known.ended is None), (name, found, known)
            assert (found.provider, found.exchanges) == (known.provider, known.exchanges)
            assert found.stats.requests == known.exchanges
            assert found.end_reason == known.ended
        assert sorted(self.desks[0].currents().values()) == sorted(model.current.values())

    @invariant()
    def every_current_session_is_there_and_belongs_to_its_scope(self):
        if not hasattr(self, "model"):
            return
        stored = self.desks[0].all()
        for scope, name in self.desks[0].currents().items():
            assert stored[name].scope == scope

    def teardown(self):
        if not hasattr(self, "model"):
            return
        for desk in self.desks:
            desk.run(lambda desk=desk: desk.book.shutdown(desk.now))
            desk.archive()
        last = self.desks[0].beside()
        last.recover()
        last.archive()
        assert all(not session.live and not session.archive_due for session in last.all().values())


def test_sessions_do_what_the_model_does():
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
