"""Goose and Crush: sessions with the figures of their last call."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_mitm.logs.crush import ProjectReader, data_folders
from kimi_mitm.logs.goose import SessionsReader
from tests.logs.give import Database, at, file


def goose() -> Database:
    made = Database(SessionsReader)
    made.table(
        "sessions",
        "id PRIMARY KEY, name, description, working_dir, updated_at, input_tokens, output_tokens, "
        "accumulated_total_tokens, model_config_json",
    )
    return made


def call(made: Database, clock: str, tokens: int, total: int, **more: Any) -> None:
    values: dict[str, Any] = {
        "id": "20260302_1",
        "name": "s0",
        "description": "Fix it",
        "working_dir": "/work",
        "updated_at": f"2026-03-02 {clock}",
        "input_tokens": tokens,
        "output_tokens": 100,
        "accumulated_total_tokens": total,
        "model_config_json": {"model_name": "claude-sonnet-4-5"},
    }
    made.add("sessions", **(values | more))


def test_gooses_last_call_is_read_not_the_sum() -> None:
    made = goose()
    call(made, "09:05:00", 5000, 15_300)

    (got,) = made.read()

    assert (got.usage.input_tokens, got.usage.output_tokens) == (5000, 100)
    assert (got.key, got.at, got.model) == ("goose:20260302_1:15300", at("09:05:00"), "claude-sonnet-4-5")
    assert (got.title, got.folder, got.client_session_id) == ("Fix it", "/work", "20260302_1")


def test_gooses_next_call_is_another_reading_and_an_unchanged_row_the_same() -> None:
    made = goose()
    call(made, "09:05:00", 5000, 5100)
    first = [one.key for one in made.read()]
    same = [one.key for one in made.read()]
    call(made, "09:06:00", 6000, 11_200)

    assert same in (first, [])
    assert [one.usage.input_tokens for one in made.read()] == [6000]


def test_a_goose_session_without_figures_gives_nothing() -> None:
    made = goose()
    call(made, "09:05:00", 0, 0, input_tokens=None, output_tokens=None)
    call(made, "soon", 5, 5, id="x")

    assert made.read() == []


def crush(provider: str = "openai") -> Database:
    made = Database(ProjectReader, file("/work/.crush/crush.db"))
    made.table(
        "sessions",
        "id PRIMARY KEY, parent_session_id, title, prompt_tokens, completion_tokens, updated_at",
    )
    made.table("messages", "session_id, role, model, provider, created_at")
    when = int(at("09:01:00").timestamp())
    made.add(
        "messages", session_id="s1", role="assistant", model="old", provider=provider, created_at=when - 9
    )
    made.add("messages", session_id="s1", role="assistant", model="gpt-5", provider=provider, created_at=when)
    made.add(
        "sessions",
        id="s1",
        parent_session_id=None,
        title="Fix it",
        prompt_tokens=9100,
        completion_tokens=210,
        updated_at=when,
    )
    return made


@pytest.mark.parametrize(("provider", "bound"), [("openai", False), ("anthropic", True)])
def test_crushs_last_call(provider: str, bound: bool) -> None:
    (got,) = crush(provider).read()

    assert (got.usage.input_tokens, got.usage.output_tokens, got.lower_bound) == (9100, 210, bound)
    assert (got.model, got.title, got.folder, got.at) == ("gpt-5", "Fix it", "/work", at("09:01:00"))


def test_crushs_projects_name_their_folders() -> None:
    listed = b'{"projects": [{"path": "/work", "data_dir": "/work/.crush"}, {"path": 5}, null]}'

    assert list(data_folders(listed)) == ["/work/.crush"]
    assert list(data_folders(b"[")) == []


@pytest.mark.parametrize("reader", [SessionsReader, ProjectReader])
def test_another_database_gives_nothing(reader: Any) -> None:
    assert Database(reader).read() == []
