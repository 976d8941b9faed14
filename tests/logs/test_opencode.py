"""opencode's database and its old storage."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_mitm.logs.kilo_code import open_store as open_kilo
from kimi_mitm.logs.opencode import open_store, read_message, read_old_session
from kimi_mitm.records import Source
from tests.logs.give import Database, at, document, ms


def tokens(**more: int) -> dict[str, Any]:
    cache = {"read": more.pop("read", 256), "write": more.pop("write", 0)}
    return {"input": 65, "output": 7, "reasoning": 5, "cache": cache} | more


def message(**more: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "sessionID": "ses_1",
        "role": "assistant",
        "modelID": "gpt-5",
        "time": {"created": ms("09:00:00"), "completed": ms("09:00:20")},
        "path": {"cwd": "/work"},
        "tokens": tokens(),
        "cost": 0.01,
        "finish": "stop",
    } | more


def store(reader: Any = open_store) -> Database:
    made = Database(reader)
    made.table("session", "id, parent_id, directory, title, version, time_updated")
    made.table("message", "id PRIMARY KEY, session_id, time_updated, data")
    made.table("part", "id PRIMARY KEY, message_id, time_created, data")
    return made


def session(made: Database, clock: str = "09:00:00", parent: str | None = None) -> None:
    made.add(
        "session",
        id="ses_1",
        parent_id=parent,
        directory="/work",
        title="Fix it",
        version="1.18.33",
        time_updated=ms(clock),
    )


def put(made: Database, name: str, clock: str, data: dict[str, Any], *parts: tuple[str, Any]) -> None:
    made.add("message", id=name, session_id="ses_1", time_updated=ms(clock), data=data)
    for index, (when, part) in enumerate(parts):
        made.add("part", id=f"{name}.{index}", message_id=name, time_created=ms(when), data=part)


STEP = {"type": "step-finish", "reason": "stop", "tokens": tokens(), "cost": 0.01}


def test_a_step_is_a_reading_with_cached_and_reasoning_tokens_added() -> None:
    made = store()
    session(made)
    put(made, "msg_1", "09:00:20", message(), ("09:00:10", STEP))

    got, note = made.read()

    assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.total_tokens) == (321, 12, 333)
    assert (got.usage.cache_read_tokens, got.usage.reasoning_tokens) == (256, 5)
    assert (got.key, got.at, got.started_at) == ("opencode:msg_1", at("09:00:10"), at("09:00:00"))
    assert (got.title, got.folder, got.client_version, got.finish_reason) == (
        "Fix it",
        "/work",
        "1.18.33",
        "stop",
    )
    assert (note.title, note.key, bool(note.usage)) == ("Fix it", "opencode:ses_1:title", False)


def test_a_session_without_a_title_of_its_own_has_none() -> None:
    made = store()
    session(made)
    made.db.execute("UPDATE session SET title = 'New session - 2026-03-02T09:00:00.000Z'")
    put(made, "msg_1", "09:00:20", message(), ("09:00:10", STEP))

    assert [(one.key, one.title) for one in made.read()] == [("opencode:msg_1", None)]


def test_the_answer_ends_when_its_first_tool_begins() -> None:
    made = store()
    tool = {"type": "tool", "state": {"time": {"start": ms("09:00:02"), "end": ms("09:00:19")}}}
    put(made, "msg_1", "09:00:20", message(), ("09:00:01", tool), ("09:00:19", STEP))

    assert [one.at for one in made.read()] == [at("09:00:02")]


def test_each_step_of_a_message_is_one_reading() -> None:
    made = store()
    more = STEP | {"tokens": tokens(read=300)}
    put(made, "msg_1", "09:00:20", message(), ("09:00:05", STEP), ("09:00:10", more))

    assert [(one.key, one.usage.input_tokens) for one in made.read()] == [
        ("opencode:msg_1", 321),
        ("opencode:msg_1:1", 365),
    ]


def test_a_message_without_steps_has_figures_of_its_own() -> None:
    made = store()
    put(made, "msg_1", "09:00:20", message())

    assert [(one.usage.input_tokens, one.at) for one in made.read()] == [(321, at("09:00:20"))]


def test_a_message_that_has_only_begun_gives_nothing_until_it_has_figures() -> None:
    made = store()
    empty = tokens(input=0, output=0, reasoning=0, read=0)
    put(made, "msg_1", "09:00:01", message(tokens=empty))
    assert made.read() == []

    put(made, "msg_1", "09:00:20", message(), ("09:00:10", STEP))

    assert [one.key for one in made.read()] == ["opencode:msg_1"]


def test_what_is_older_than_asked_for_is_left_out() -> None:
    made = store()
    put(made, "msg_1", "09:00:20", message())
    put(made, "msg_2", "09:30:00", message())

    assert [one.key for one in made.read(at("09:10:00"))] == ["opencode:msg_2"]


def test_a_child_session_is_a_subagents() -> None:
    made = store(open_kilo)
    session(made, parent="ses_0")
    put(made, "msg_1", "09:00:20", message(agent="explore"), ("09:00:10", STEP))

    got = made.read()[0]

    assert (got.subagent, got.client, got.key) == ("explore", "kilo-code", "kilo-code:msg_1")


def test_an_error_that_states_the_prompts_tokens_is_an_api_error() -> None:
    words = "prompt is too long: 213462 tokens > 200000 maximum"
    made = store()
    put(made, "msg_1", "09:00:20", message(tokens={}, error={"name": "APIError", "data": {"message": words}}))

    (got,) = made.read()

    assert (got.source, got.usage.input_tokens, got.context_window) == (Source.API_ERROR, 213_462, 200_000)
    assert got.problem is not None
    assert got.problem.type == "APIError"


def test_the_old_storages_message_has_the_same_key() -> None:
    (got,) = document(read_message, message())

    assert (got.key, got.usage.input_tokens, got.folder) == ("opencode:msg_1", 321, "/work")


def test_the_old_storages_session_has_the_title() -> None:
    doc = {"id": "ses_1", "title": "Fix it", "directory": "/work", "time": {"updated": ms("09:00:00")}}

    (got,) = document(read_old_session, doc)

    assert (got.key, got.title, got.folder) == ("opencode:ses_1:title", "Fix it", "/work")


@pytest.mark.parametrize("data", ["", "{", "[]", '{"role": 1}', '{"role": "assistant", "tokens": "x"}'])
def test_broken_rows_are_passed_over(data: str) -> None:
    made = store()
    made.add("message", id="m", session_id=None, time_updated=ms("09:00:00"), data=data)
    made.add("message", id="n", session_id=b"\xff", time_updated="soon", data=b"\xff")

    assert made.read() == []
    assert document(read_message, data) == []


def test_a_database_of_something_else_gives_nothing() -> None:
    assert Database(open_store).read() == []
