"""Which session an exchange belongs to: the rules, one case each."""

from __future__ import annotations

import pytest
from session_desk import Desk

from kimi_mitm.session_record import EndReason, Kind, Status
from kimi_mitm.session_seen import Policy, Rules, SessionBy


@pytest.mark.parametrize(
    ("known", "other"),
    [
        ({}, {"user": "bob"}),
        ({}, {"client": "codex"}),
        ({"client_session_id": "one"}, {"client_session_id": "two"}),
        ({"client_session_id": "one"}, {}),
        ({"client_session_id": "one"}, {"client_session_id": "one", "user": "bob"}),
    ],
    ids=["users", "clients", "ids side by side", "an id and none", "one id of two users"],
)
def test_different_sessions_stay_apart_however_their_turns_alternate(known, other):
    desk = Desk()

    placed = [desk.turn(**(known, other)[n % 2]) for n in range(6)]

    assert placed == [placed[0], placed[1]] * 3
    assert placed[0] != placed[1]


@pytest.mark.parametrize("known", [{}, {"client_session_id": "one"}], ids=["no id", "id"])
@pytest.mark.parametrize(
    ("flag", "policy", "turns", "expected"),
    [
        (True, Policy.SMART, "A B A", "1 2 3"),
        (True, Policy.ALWAYS, "A B A", "1 2 3"),
        (True, Policy.RESUME, "A B A B", "1 2 1 2"),
        (False, Policy.SMART, "A B A", "1 1 1"),
        (False, Policy.RESUME, "A B A", "1 1 1"),
        (True, Policy.SMART, "A b A b A", "1 1 1 1 1"),
        (True, Policy.RESUME, "A b A", "1 1 1"),
        (True, Policy.ALWAYS, "A b A", "1 2 3"),
        (True, Policy.SMART, "b A b B", "1 1 1 2"),
        (True, Policy.SMART, "A ? A B ? B", "1 1 1 2 2 2"),
    ],
)
def test_a_change_of_provider(known, flag, policy, turns, expected):
    """Capitals are turns of the conversation, small letters side traffic, `?` an unknown provider."""
    desk = Desk(Rules(policy=policy), first_flag=flag)

    placed = [
        desk.turn(provider={"?": "unknown"}.get(turn, turn.upper()), side=turn.islower(), **known)
        for turn in turns.split()
    ]

    assert " ".join(name.removeprefix("s") for name in placed) == expected


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (SessionBy.AUTO, "1 2 1 3 4"),
        (SessionBy.PROVIDER, "1 1 1 1 2"),
        (SessionBy.CLIENT, "1 2 1 3 1"),
        (SessionBy.EXCHANGE, "1 2 3 4 5"),
    ],
)
def test_what_tells_sessions_apart(by, expected):
    desk = Desk(Rules(by=by))
    turns = [("A", "one"), ("A", "two"), ("A", "one"), ("A", None), ("B", "one")]

    placed = [desk.turn(provider=provider, client_session_id=name) for provider, name in turns]

    assert " ".join(name.removeprefix("s") for name in placed) == expected


def test_a_session_per_exchange_ends_when_the_exchange_is_settled():
    desk = Desk(Rules(by=SessionBy.EXCHANGE))

    session = desk.stored(desk.turn())

    assert (session.status, session.kind, session.end_reason) == (
        Status.ENDED,
        Kind.EXCHANGE,
        EndReason.EXCHANGE,
    )


@pytest.mark.parametrize("how", ["timeout", "shutdown", "crash"])
def test_a_clients_own_id_leads_back_to_its_session(how):
    desk = Desk()
    first = desk.turn(client_session_id="one")

    if how == "timeout":
        desk.wait(301)
        desk.sweep()
    elif how == "shutdown":
        desk.run(lambda: desk.book.shutdown(desk.now))
    desk = desk.beside() if how != "timeout" else desk
    desk.recover()
    assert desk.stored(first).end_reason == how

    assert desk.turn(client_session_id="one") == first
    assert desk.stored(first).live
    assert desk.stored(first).resumed == 1


@pytest.mark.parametrize("reason", [EndReason.REQUEST, EndReason.CLEARED])
def test_a_session_that_somebody_ended_does_not_come_back(reason):
    desk = Desk()
    first = desk.turn(client_session_id="one")
    if reason is EndReason.CLEARED:
        desk.run(lambda: desk.book.clear(first, desk.now))
    else:
        desk.run(lambda: desk.book.end(first, reason, desk.now))

    second = desk.turn(client_session_id="one")

    assert second != first
    assert desk.stored(second).previous_session_id == first


def test_without_an_id_a_session_is_over_after_the_timeout_even_if_nobody_looked():
    desk = Desk()
    first = desk.turn()
    desk.wait(301)

    second = desk.turn()

    assert second != first
    assert desk.stored(first).end_reason is EndReason.TIMEOUT


def test_an_answer_under_way_keeps_its_session_alive():
    desk = Desk()
    session = desk.place(exchange_id="slow")
    desk.wait(900)
    desk.sweep()
    assert desk.stored(session).live

    desk.settle(session, "slow")
    desk.wait(300)
    desk.sweep()
    assert not desk.stored(session).live
