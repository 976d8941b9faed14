"""The `llm` command's database, new and old tables."""

from __future__ import annotations

from typing import Any

from kimi_mitm.logs.llm import LogsReader
from tests.logs.give import Database, at

COLUMNS = (
    "id, model, resolved_model, input_tokens, output_tokens, token_details, duration_ms, datetime_utc, "
    "response_json"
)


def store(table: str = "turns", groups: str = "threads", group: str = "thread_id") -> Database:
    made = Database(LogsReader)
    made.table(groups, "id, name")
    made.table(table, f"{COLUMNS}, {group}")
    made.add(groups, id="t1", name="Say pong")
    return made


def turn(made: Database, table: str = "turns", group: str = "thread_id", **more: Any) -> None:
    values: dict[str, Any] = {
        "id": "r1",
        "model": "gpt-4o-mini",
        "input_tokens": 1077,
        "output_tokens": 107,
        "token_details": {
            "completion_tokens_details": {"reasoning_tokens": 11},
            "prompt_tokens_details": {"cached_tokens": 64},
        },
        "duration_ms": 500,
        "datetime_utc": "2026-03-02T09:00:00.250000+00:00",
        "response_json": {"content": "pong"},
        group: "t1",
    }
    made.add(table, **(values | more))


def test_openais_input_is_the_whole_prompt_and_the_time_is_the_start() -> None:
    made = store()
    turn(made)

    (got,) = made.read()

    assert (got.usage.input_tokens, got.usage.cache_read_tokens, got.usage.reasoning_tokens) == (1077, 64, 11)
    assert (got.started_at, got.at) == (at("09:00:00.250"), at("09:00:00.750"))
    assert (got.key, got.title, got.client_session_id, got.lower_bound) == ("llm:r1", "Say pong", "t1", False)


def test_anthropics_input_without_the_cached_tokens_is_a_lower_bound() -> None:
    answer = {"id": "msg_1", "model": "claude-sonnet-4-5"}
    made = store()
    turn(made, model="anthropic/claude-sonnet-4-5", token_details=None, response_json=answer)

    (got,) = made.read()

    assert (got.lower_bound, got.usage.input_tokens, got.usage.total_tokens) == (True, 1077, None)
    assert (got.ids, got.model) == (("msg_1",), "claude-sonnet-4-5")


def test_anthropics_cached_tokens_are_added_where_they_are_known() -> None:
    made = store()
    turn(made, model="claude-sonnet-4-5", token_details={"cache_read_input_tokens": 100})

    (got,) = made.read()

    assert (got.lower_bound, got.usage.input_tokens) == (False, 1177)


def test_googles_ids_and_details() -> None:
    made = store()
    details = {"cachedContentTokenCount": 64, "thoughtsTokenCount": 11}
    answer = {"responseId": "g1", "modelVersion": "gemini-2.5-flash"}
    turn(
        made,
        model="gemini/gemini-2.5-flash",
        resolved_model="gemini-2.5-flash",
        token_details=details,
        response_json=answer,
    )

    (got,) = made.read()

    assert (got.ids, got.model, got.usage.reasoning_tokens, got.usage.cache_read_tokens) == (
        ("g1",),
        "gemini-2.5-flash",
        11,
        64,
    )


def test_the_old_table_is_read_alike() -> None:
    made = store("responses", "conversations", "conversation_id")
    turn(made, "responses", "conversation_id")

    assert [(one.key, one.title) for one in made.read()] == [("llm:r1", "Say pong")]


def test_only_what_is_new_is_read() -> None:
    made = store()
    turn(made)
    made.read()
    turn(made, id="r2")

    assert [one.key for one in made.read()] == ["llm:r2"]
    assert made.read() == []


def test_a_table_numbered_anew_is_read_from_its_beginning() -> None:
    made = store()
    turn(made)
    turn(made, id="r2")
    made.read()
    made.db.execute("DELETE FROM turns")
    turn(made, id="r3")

    assert [one.key for one in made.read()] == ["llm:r3"]


def test_broken_values_are_passed_over() -> None:
    made = store()
    turn(made, id=None, datetime_utc="yesterday")
    turn(made, id="r2", duration_ms=-5, token_details="{", response_json=b"\xff", input_tokens="many")

    (got,) = made.read()

    assert (got.usage.input_tokens, got.usage.output_tokens, got.at) == (None, 107, got.started_at)
