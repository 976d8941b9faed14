"""Two processes on one database, and what a crash leaves behind."""

from __future__ import annotations

import pytest
from session_desk import Desk

from kimi_mitm.sessions.flag import FlagForced
from kimi_mitm.sessions.record import EndReason
from kimi_mitm.sessions.seen import Policy, Rules


def race(desks, act):
    """Every process decides before any of them stores; who is refused decides again."""
    results = [act(desk) for desk in desks]
    for number, desk in enumerate(desks):
        if not desk.store(desk.book.changes()):
            results[number] = desk.run(lambda desk=desk: act(desk))
    return results


def place(**known):
    return lambda desk: desk.book.place(desk.seen(**known), desk.now).session_id


def two(**rules):
    desk = Desk(Rules(**rules))
    return [desk, desk.beside()]


@pytest.mark.parametrize("known", [{}, {"client_session_id": "one"}], ids=["no id", "id"])
def test_one_session_is_made_for_one_beginning(known):
    desks = two()

    placed = race(desks, place(**known))

    assert len(set(placed)) == 1
    assert len(desks[0].all()) == 1
    assert desks[0].stored(placed[0]).exchanges == 2
    assert desks[1].refused == 1


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize("known", [{}, {"client_session_id": "one"}], ids=["no id", "id"])
def test_one_session_is_made_for_one_change_of_provider(known, policy):
    desks = two(policy=policy)
    first = desks[0].turn(provider="A", **known)
    assert desks[1].turn(provider="A", **known) == first

    placed = race(desks, place(provider="B", **known))

    assert len(set(placed)) == 1
    assert set(desks[0].all()) == {first, placed[0]}
    assert desks[0].events("auto_session:created") + desks[1].events("auto_session:created") != []
    assert len(desks[0].events("session:switched") + desks[1].events("session:switched")) == 1


def test_one_session_is_made_for_one_config():
    desks = two()

    got = race(desks, lambda desk: desk.book.get_or_create("alice", "c1", desk.now))

    assert got[0].session_id == got[1].session_id
    assert [place.created for place in got] == [True, False]


def test_a_process_never_decides_on_what_another_has_changed():
    """The first still believes that its session is the current one when the conversation has moved on."""
    here, there = two()
    first = here.turn(provider="A")
    second = there.turn(provider="B")

    assert here.turn(provider="B") == second
    assert there.turn(provider="A") not in (first, second)


def test_a_toggle_holds_for_the_other_process_at_once():
    here, there = two()
    first = here.turn(provider="A")
    assert there.turn(provider="A") == first
    here.run(lambda: here.book.toggle_flag("alice", here.now))

    assert there.turn(provider="B") == first
    assert there.book.flag.enabled is False


def test_two_toggles_at_once_are_two_toggles():
    desks = two()

    race(desks, lambda desk: desk.book.toggle_flag("alice", desk.now))

    assert desks[1].book.flag.enabled is True
    assert desks[1].book.flag.version == 2


def test_figures_of_both_processes_add_up():
    here, there = two()
    session = here.place(exchange_id="x1")
    assert there.place(exchange_id="x2") == session

    here.settle(session, "x1", input_tokens=100)
    there.settle(session, "x2", input_tokens=50)

    assert there.stored(session).stats.total_prompt_tokens == 150


def test_what_another_process_keeps_alive_does_not_end():
    here, there = two()
    session = here.turn()
    for desk in (here, there):
        desk.wait(299)
    assert there.turn() == session
    for desk in (here, there):
        desk.wait(100)
        desk.sweep()

    assert here.stored(session).live


def test_the_shutdown_of_one_process_leaves_the_others_sessions():
    here, there = two()
    shared, own = here.turn(), here.turn(client="codex")
    assert there.turn() == shared

    here.run(lambda: here.book.shutdown(here.now))

    assert here.stored(shared).live
    assert here.stored(own).end_reason is EndReason.SHUTDOWN
    assert there.turn() == shared


def test_what_others_use_is_forgotten_here_in_time():
    here, there = two()
    session = here.turn()
    there.turn()
    here.book.adopt(here.unfinished())
    assert here.book.session(session) is not None
    here.wait(400)
    here.sweep()

    assert here.book.session(session) is None
    assert there.stored(session).live


def test_a_crash_is_cleared_up_once_at_the_next_start():
    crashed = Desk()
    live, side = crashed.turn(), crashed.turn(client="codex")
    crashed.run(lambda: crashed.book.end(side, EndReason.REQUEST, crashed.now))
    desks = [crashed.beside(), crashed.beside()]
    found = crashed.unfinished()

    race(desks, lambda desk: desk.book.recover(found, desk.now, lambda owner: owner == crashed.owner))

    waiting = [session.session_id for desk in desks for session in desk.book.unarchived()]
    assert sorted(waiting) == sorted([live, side])
    assert crashed.stored(live).end_reason is EndReason.CRASH
    assert crashed.stored(side).end_reason is EndReason.REQUEST
    for desk in desks:
        desk.archive()
    assert [session.archive_due for session in crashed.all().values()] == [False, False]


def test_a_start_beside_a_living_process_ends_nothing():
    here = Desk()
    session = here.turn()

    there = here.beside()
    there.recover(lambda owner: False)

    assert here.stored(session).live
    assert there.turn() == session


def test_nothing_happens_until_it_is_stored():
    desk = Desk()
    desk.book.place(desk.seen(), desk.now)

    desk.book.rollback()

    assert list(desk.book.live()) == []
    assert not desk.book.changes()
    assert desk.book.routes == {}
    assert desk.turn() == "s2"
    assert set(desk.all()) == {"s2"}


def test_a_batch_is_stored_as_one():
    desk = Desk()
    placed = [desk.book.place(desk.seen(provider=provider), desk.now).session_id for provider in "AABB"]
    assert desk.told == []

    assert desk.store(desk.book.changes())

    assert placed == ["s1", "s1", "s2", "s2"]
    assert [desk.stored(name).version for name in ("s1", "s2")] == [1, 1]


def test_what_is_found_cannot_be_adopted_into_an_open_transaction():
    desk = Desk()
    desk.book.place(desk.seen(), desk.now)

    with pytest.raises(RuntimeError, match="open"):
        desk.book.adopt(desk.unfinished())


def test_a_session_removed_from_the_database_is_forgotten():
    desk = Desk()
    first = desk.turn()
    with desk.engine.begin() as connection:
        connection.execute(desk.tables.sessions.delete())
        connection.execute(desk.tables.currents.delete())

    assert desk.turn() != first


def test_a_flag_changed_elsewhere_is_known_and_told_after_one_look():
    here, there = two()
    there.run(lambda: there.book.toggle_flag("alice", there.now))
    assert here.book.flag.enabled is True

    here.sweep()

    assert here.book.flag.enabled is False
    assert [data["updated_by"] for data in here.events("auto_session:toggled")] == ["alice"]


def test_a_flag_let_go_elsewhere_can_be_set_here():
    here, there = two()
    here.run(lambda: here.book.force_flag(False, "admin", here.now))
    there.sweep()
    there.run(lambda: there.book.force_flag(None, "admin", there.now))

    here.run(lambda: here.book.set_flag(False, "alice", here.now))

    assert here.book.flag.enabled is False
    assert here.book.flag.forced is False


def test_a_forced_flag_is_refused_though_this_process_has_not_heard_of_it():
    here, there = two()
    there.run(lambda: there.book.force_flag(True, "admin", there.now))

    with pytest.raises(FlagForced):
        here.run(lambda: here.book.set_flag(False, "alice", here.now))


def test_resume_goes_back_to_a_session_that_only_the_other_process_knows():
    here, there = two(policy=Policy.RESUME)
    first = here.turn(provider="A")
    second = there.turn(provider="B")
    assert there.turn(provider="A") == first

    assert here.turn(provider="B") == second
