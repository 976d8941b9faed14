"""Which session an exchange belongs to: the rules, one case each."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from session_desk import START, Desk

from kimi_mitm.records import Exchange
from kimi_mitm.sessions import life as session_life
from kimi_mitm.sessions.book import SessionEnded
from kimi_mitm.sessions.record import EndReason, Kind, Status
from kimi_mitm.sessions.seen import Policy, Rules, SessionBy


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


def test_an_exchange_that_never_ends_keeps_its_session_for_an_hour_only():
    desk = Desk()
    session = desk.place(exchange_id="lost")
    desk.wait(3600)
    desk.sweep()

    assert desk.stored(session).end_reason is EndReason.TIMEOUT


def test_a_session_grows_idle_and_active_again():
    desk = Desk()
    session = desk.turn()
    assert desk.stored(session).status is Status.ACTIVE

    desk.wait(30)
    desk.sweep()
    assert desk.stored(session).status is Status.IDLE

    desk.turn()
    assert desk.stored(session).status is Status.ACTIVE


def test_side_traffic_alone_only_starts_a_session():
    desk = Desk()
    session = desk.turn(side=True, provider="openai")

    assert desk.stored(session).status is Status.STARTED
    assert desk.stored(session).provider is None


def test_the_session_switched_away_from_lives_on_until_its_own_timeout():
    desk = Desk()
    first = desk.turn(provider="A")
    desk.wait(200)
    second = desk.turn(provider="B")
    assert (desk.stored(first).status, desk.stored(second).previous_session_id) == (Status.IDLE, first)

    desk.wait(100)
    desk.sweep()

    assert desk.stored(first).end_reason is EndReason.TIMEOUT
    assert desk.stored(second).live


def test_a_flag_of_its_own_decides_for_the_provider_moved_to():
    desk = Desk()
    desk.run(lambda: desk.book.set_flag(False, "alice", desk.now, "B"))

    placed = [desk.turn(provider=provider) for provider in "ABAC"]

    assert placed == ["s1", "s1", "s2", "s3"]


def test_the_flag_turned_on_does_not_split_a_conversation_that_goes_on():
    desk = Desk(first_flag=False)
    placed = [desk.turn(provider=provider) for provider in "AB"]
    desk.run(lambda: desk.book.toggle_flag("alice", desk.now))

    placed += [desk.turn(provider=provider) for provider in "BA"]

    assert placed == ["s1", "s1", "s1", "s2"]


def test_what_the_flag_did_is_counted():
    desk = Desk(Rules(policy=Policy.RESUME))
    for provider in "ABA":
        desk.turn(provider=provider)
    desk.turn(provider="C", side=True)
    desk.run(lambda: desk.book.toggle_flag("alice", desk.now))
    desk.turn(provider="D")

    with desk.engine.connect() as connection:
        counts = desk.writes.flag_counts(connection)

    assert counts == {"created": 1, "resumed": 1, "suppressed": 1, "side_kept": 1}


@pytest.mark.parametrize("flag", [True, False])
def test_ids_that_a_provider_issued_tie_turns_to_their_session(flag):
    desk = Desk(first_flag=flag)
    first = desk.place(provider="openai", exchange_id="x1")
    desk.settle(first, "x1", response_id="resp_1")
    desk.run(lambda: desk.book.end(first, EndReason.REQUEST, desk.now)) if not flag else None
    other = desk.turn(provider="anthropic")

    again = desk.turn(provider="openai", issued_ids=("resp_1",))

    assert (again == first) is flag
    assert other != first
    if flag:
        assert desk.turn(provider="openai") == first


def test_an_issued_id_means_nothing_for_another_user():
    desk = Desk()
    first = desk.place(provider="openai", exchange_id="x1")
    desk.settle(first, "x1", response_id="resp_1")

    assert desk.turn(user="bob", provider="openai", issued_ids=("resp_1",)) != first


@pytest.mark.parametrize(
    ("prompts", "kind"),
    [
        (["1"], Kind.ONE_SHOT),
        (["1", "1", "1"], Kind.ONE_SHOT),
        (["1", "2"], Kind.INTERACTIVE),
        ([None], Kind.INTERACTIVE),
    ],
)
def test_a_client_started_for_one_prompt_was_one_shot(prompts, kind):
    desk = Desk()
    for prompt in prompts:
        session = desk.turn(client_session_id="run", prompt=prompt)
    desk.run(lambda: desk.book.end(session, EndReason.REQUEST, desk.now))

    assert desk.stored(session).kind is kind


def test_a_session_of_side_traffic_alone_says_so():
    desk = Desk()
    session = desk.turn(client_session_id="run", prompt="1", side=True)
    desk.run(lambda: desk.book.shutdown(desk.now))

    assert desk.stored(session).kind is Kind.SIDE


def test_get_or_create_gives_the_live_session_of_user_and_config():
    desk = Desk()

    def get(user="alice", config="c1"):
        return desk.run(lambda: desk.book.get_or_create(user, config, desk.now, name="work"))

    first = get()
    assert (first.created, get().session_id, get().created) == (True, first.session_id, False)
    assert len({first.session_id, get("bob").session_id, get(config="c2").session_id}) == 3


@pytest.mark.parametrize(
    ("how", "same"),
    [("shutdown", True), ("crash", True), ("timeout", False), ("request", False), ("cleared", False)],
)
def test_get_or_create_after_an_end(how, same):
    desk = Desk()
    first = desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now)).session_id
    if how == "shutdown":
        desk.run(lambda: desk.book.shutdown(desk.now))
    elif how == "timeout":
        desk.wait(300)
    elif how == "request":
        desk.run(lambda: desk.book.end(first, EndReason.REQUEST, desk.now))
    elif how == "cleared":
        desk.run(lambda: desk.book.clear(first, desk.now))
    desk = desk.beside()
    if how != "timeout":
        desk.recover()

    again = desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now))

    assert (again.session_id == first, again.created) == (same, not same)


def test_x_session_id_names_a_session_of_ours_whoever_sends_it():
    desk = Desk()
    session = desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now)).session_id

    placed = [
        desk.turn(user="127.0.0.1", x_session_id=session, client_session_id=session, provider=provider)
        for provider in "ABA"
    ]

    assert placed == [session] * 3
    assert desk.turn(user="127.0.0.1") != session


def test_x_session_id_reopens_what_ended_by_itself():
    desk = Desk()
    session = desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now)).session_id
    desk.wait(300)
    desk.sweep()

    assert desk.turn(x_session_id=session) == session
    assert desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now)).session_id == session


def test_x_session_id_of_an_ended_session_means_its_successor():
    desk = Desk()
    old = desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now)).session_id
    desk.wait(300)
    new = desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now)).session_id

    assert new != old
    assert desk.turn(x_session_id=old) == new


def test_x_session_id_that_is_not_ours_is_the_clients_own():
    desk = Desk()

    placed = [desk.turn(x_session_id=name, client_session_id=name) for name in ("a", "b", "a")]

    assert placed == ["s1", "s2", "s1"]


def test_an_activated_session_is_current():
    desk = Desk()
    first, second = desk.turn(provider="A"), desk.turn(provider="B")
    desk.run(lambda: desk.book.activate(first, desk.now))

    assert desk.turn(provider="A") == first
    assert [data["new_session"] for data in desk.events("session:switched")] == [second, first]


@pytest.mark.parametrize("lines", [0, 1])
def test_an_activated_session_without_a_client_takes_the_users_lines(lines):
    desk = Desk()
    for _ in range(lines):
        desk.turn()
    session = desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now)).session_id

    desk.run(lambda: desk.book.activate(session, desk.now))

    assert [desk.turn(), desk.turn(client="codex"), desk.turn(client_session_id="x")] == [
        session,
        session,
        f"s{lines + 2}",
    ]


def test_an_ended_session_cannot_be_activated():
    desk = Desk()
    session = desk.turn()
    desk.run(lambda: desk.book.end(session, EndReason.REQUEST, desk.now))

    with pytest.raises(SessionEnded):
        desk.run(lambda: desk.book.activate(session, desk.now))


@pytest.mark.parametrize("option", [True, False])
def test_a_session_ends_with_its_last_connection_by_option(option):
    desk = Desk(Rules(archive_on_disconnect=option))
    session = desk.turn(connection="c1")
    assert desk.turn(connection="c2") == session

    desk.run(lambda: desk.book.disconnected("c1", desk.now))
    assert desk.stored(session).live
    desk.run(lambda: desk.book.disconnected("c2", desk.now))

    assert desk.stored(session).live is not option


def test_the_end_is_told_when_the_archive_is_written():
    desk = Desk()
    session = desk.turn()
    desk.run(lambda: desk.book.end(session, EndReason.REQUEST, desk.now))
    assert desk.events("session:ended") == []
    assert [waiting.session_id for waiting in desk.book.unarchived()] == [session]

    desk.archive()

    assert [(data["session_id"], data["archive_id"]) for data in desk.events("session:ended")] == [
        (session, f"archive-{session}")
    ]
    assert desk.book.unarchived() == ()
    assert desk.book.session(session) is None


@pytest.mark.parametrize("cleared", [True, False])
def test_what_has_no_archive_ends_at_once(cleared):
    desk = Desk()
    if cleared:
        session = desk.turn()
        desk.run(lambda: desk.book.clear(session, desk.now))
    else:
        session = desk.run(lambda: desk.book.get_or_create("alice", "c1", desk.now)).session_id
        desk.run(lambda: desk.book.end(session, EndReason.REQUEST, desk.now))

    assert [data["archive_id"] for data in desk.events("session:ended")] == [None]
    assert desk.book.unarchived() == ()


def test_an_exchange_that_settles_after_the_end_still_counts():
    desk = Desk()
    session = desk.place(exchange_id="x1")
    desk.run(lambda: desk.book.end(session, EndReason.REQUEST, desk.now))
    desk.archive()

    desk.settle(session, "x1", input_tokens=100)

    assert desk.stored(session).stats.total_prompt_tokens == 100
    assert not desk.stored(session).live


def test_an_exchange_that_settles_twice_counts_once():
    desk = Desk()
    session = desk.place(exchange_id="x1")

    desk.settle(session, "x1", input_tokens=100)
    desk.settle(session, "x1", input_tokens=90)

    assert (desk.stored(session).stats.requests, desk.stored(session).stats.total_prompt_tokens) == (1, 90)
    assert len(desk.book.recent(session)) == 1


def test_the_last_hundred_exchanges_and_ten_routes_are_in_memory():
    desk = Desk()
    for number in range(120):
        desk.settle(desk.place(exchange_id=f"x{number}"), f"x{number}")
    sessions = [desk.turn(client=f"c{n}", host=f"h{n}", wire_format="openai.chat") for n in range(12)]

    assert [exchange.id for exchange in desk.book.recent("s1")] == [f"x{n}" for n in range(20, 120)]
    assert list(desk.book.routes) == sessions[2:]
    assert desk.book.routes[sessions[11]].host == "h11"


def test_a_clock_set_back_costs_no_more_than_one_timeout():
    desk = Desk()
    session = desk.turn()
    desk.wait(-86_400)
    desk.sweep()
    desk.wait(300)
    desk.sweep()

    assert desk.stored(session).end_reason is EndReason.TIMEOUT


def test_too_many_sessions_end_the_least_recently_used(monkeypatch):
    monkeypatch.setattr(session_life, "MAX_LIVE", 3)
    desk = Desk()
    for number in range(5):
        desk.turn(client_session_id=f"id{number}")
        desk.wait(1)

    assert [desk.stored(f"s{n}").end_reason for n in range(1, 6)] == [EndReason.LIMIT] * 2 + [None] * 3


def test_a_log_names_a_session_that_has_no_name():
    desk = Desk()
    session = desk.turn()

    desk.run(lambda: desk.book.describe(session, name="Fix the bug", folder="/src"))
    desk.run(lambda: desk.book.describe(session, name="Another"))

    assert (desk.stored(session).name, desk.stored(session).folder) == ("Fix the bug", "/src")


def test_exchanges_read_from_a_file_leave_live_sessions_alone():
    desk = Desk()
    live = desk.turn()

    assert desk.beside(Rules(realm="offline")).turn() != live


def test_what_is_told_of_a_change_of_provider():
    desk = Desk()
    desk.turn(provider="A")
    desk.turn(provider="B")

    assert [told for told, _ in desk.told] == [
        "session:started",
        "session:started",
        "auto_session:created",
        "session:switched",
    ]
    created = desk.events("auto_session:created")[0]
    assert (created["session_id"], created["provider"], created["old_provider"]) == ("s2", "B", "A")
    assert desk.events("session:switched")[0]["old_session"] == "s1"


@pytest.mark.parametrize("name", ["x" * 100_000, "\ud800", "'; --", "\0", "日本"])
def test_names_from_outside_are_only_names(name):
    desk = Desk()

    names = {"user": name, "client": name, "client_session_id": name, "model": name, "prompt": name}

    assert desk.turn(**names) == desk.turn(**names)
    assert desk.turn(**names, x_session_id=name) == "s1"
    assert desk.run(lambda: desk.book.get_or_create(name, name, desk.now, name=name)).created


def test_there_is_one_door_to_the_current_session():
    """Only `sessions.switch` may move a scope's current session."""
    package = Path(session_life.__file__).parents[1]
    callers = [
        (path.name, function.name)
        for path in package.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
        if isinstance(node.func, ast.Attribute)
        if node.func.attr == "point"
    ]

    assert callers == [("switch.py", "switch")]


@pytest.mark.parametrize(
    ("reason", "waited", "lasted"),
    [("timeout", 1000, 300), ("crash", 1000, 300), ("crash", 10, 10), ("request", 1000, 1000)],
)
def test_an_end_that_nobody_noticed_is_dated_back_to_the_timeout(reason, waited, lasted):
    desk = Desk()
    session = desk.turn()
    desk.wait(waited)

    if reason == "timeout":
        desk.turn()
    elif reason == "crash":
        desk.beside().recover()
    else:
        desk.run(lambda: desk.book.end(session, EndReason.REQUEST, desk.now))

    found = desk.stored(session)
    assert found.end_reason == reason
    assert (found.ended_at - found.started_at).total_seconds() == lasted


def test_an_issued_id_leads_nowhere_for_another_client():
    desk = Desk()
    first = desk.place(provider="openai", exchange_id="x1")
    desk.settle(first, "x1", response_id="resp_1")

    assert desk.turn(client="codex", provider="openai", issued_ids=("resp_1",)) != first


def test_a_session_starts_with_its_first_exchange_though_that_was_seen_later():
    desk = Desk()
    desk.wait(5)
    session = desk.place(exchange_id="x1")
    exchange = Exchange(id="x1", started_at=START, session_id=session)
    desk.run(lambda: desk.book.settled(exchange, desk.now))

    assert desk.stored(session).started_at == START
