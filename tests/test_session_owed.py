"""Two owed transactions made one do what both did, and expect what both expected."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.sessions.ledger import Changes
from kimi_mitm.sessions.owed import merged, what_holds
from kimi_mitm.sessions.record import EndReason
from tests.session_desk import Desk

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
USERS = ("alice", "bob")
PROVIDERS = ("anthropic", "openai")


def act(desk: Desk, step: tuple[str, str, str]) -> None:
    """One change in memory; the caller stores it, or owes it."""
    what, user, provider = step
    match what:
        case "turn":
            desk.book.place(desk.seen(user=user, provider=provider), desk.now)
        case "wait":
            desk.wait(400)
            desk.book.sweep(desk.now)
        case "end":
            for session in list(desk.book.live()):
                if session.user == user:
                    desk.book.end(session.session_id, session.end_reason or REASON, desk.now)
        case "config":
            desk.book.get_or_create(user, "team", desk.now)


def pay(desk: Desk, owed: Changes | None) -> None:
    """Stores what is owed, as the keeper does."""
    if owed is not None:
        with desk.engine.connect() as connection, connection.begin():
            found = desk.writes.apply(connection, owed)
            if found is not None:
                assert desk.writes.apply(connection, what_holds(owed, found)) is None


REASON = EndReason.REQUEST
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["turn", "turn", "turn", "wait", "end", "config"]),
        st.sampled_from(USERS),
        st.sampled_from(PROVIDERS),
    ),
    max_size=12,
)


@given(before=STEPS, away=STEPS)
def test_what_was_owed_at_once_is_what_was_done_step_by_step(
    before: list[tuple[str, str, str]], away: list[tuple[str, str, str]]
) -> None:
    desk = Desk()
    for step in before:
        desk.run(lambda step=step: act(desk, step))
    owed = None
    for step in away:
        act(desk, step)
        changes = desk.book.changes()
        desk.told += desk.book.commit()
        if changes:
            owed = changes if owed is None else merged(owed, changes)
            assert owed is not None
    memory = {s.session_id: s for s in desk.book._ledger.sessions()}

    pay(desk, owed)
    stored = desk.all()
    for name, session in memory.items():
        assert stored[name] == session


def test_two_changes_of_the_flag_stay_two() -> None:
    desk = Desk()
    changes = []
    for _ in range(2):
        desk.book.toggle_flag("alice", NOW)
        changes.append(desk.book.changes())
        desk.book.commit()

    assert merged(*changes) is None


def owe(desk: Desk, *steps: tuple[str, str, str]) -> Changes:
    """Steps in memory only."""
    owed: Changes | None = None
    for step in steps:
        act(desk, step)
        changes = desk.book.changes()
        desk.book.commit()
        owed = changes if owed is None else merged(owed, changes)
        assert owed is not None
    assert owed is not None
    return owed


def test_what_another_process_did_meanwhile_stands_and_the_rest_is_stored() -> None:
    one = Desk()
    taken, mine = one.place(), one.place(user="bob")
    two = one.beside()
    two.recover(lambda owner: False)
    owed = owe(one, ("turn", "alice", "anthropic"), ("turn", "bob", "anthropic"), ("config", "carol", ""))
    two.run(lambda: two.book.end(taken, REASON, two.now))
    pay(one, owed)

    stored = one.all()
    assert (stored[taken].live, stored[taken].exchanges) == (False, 1)
    assert (stored[mine].live, stored[mine].exchanges) == (True, 2)
    assert [s.user for s in stored.values() if s.config_id] == ["carol"]


def test_a_live_session_that_another_process_made_keeps_its_scope() -> None:
    one = Desk()
    two = one.beside()
    owed = owe(one, ("turn", "alice", "anthropic"))
    theirs = two.place()
    pay(one, owed)

    assert len(one.all()) == 2
    assert list(one.currents().values()) == [theirs]


def test_a_flag_that_another_process_changed_stands() -> None:
    one = Desk()
    two = one.beside()
    one.book.toggle_flag("alice", NOW)
    owed = one.book.changes()
    one.book.commit()
    two.run(lambda: two.book.toggle_flag("bob", NOW))
    pay(one, owed)

    history = one.unfinished().flag
    assert history is not None
    assert (history.version, history.by) == (1, "bob")
