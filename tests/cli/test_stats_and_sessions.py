"""`kimi-mitm stats` and `kimi-mitm sessions`, straight from a database."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from kimi_mitm.cli import app
from kimi_mitm.cli.sessions import session_json
from kimi_mitm.control.figures import Stats
from kimi_mitm.control.models import Session as SessionView
from kimi_mitm.control.models import SessionFigures
from kimi_mitm.records import Exchange, Problem, Source
from kimi_mitm.sessions.record import Session, Status
from kimi_mitm.sessions.rows import to_row
from kimi_mitm.store import exchanges
from kimi_mitm.store.database import connect
from kimi_mitm.store.tables import sessions as tables

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def exchange(name: str, day: int, estimated: int, reported: int, **more: Any) -> Exchange:
    known: dict[str, Any] = {
        "session_id": "s_one",
        "user": "alice",
        "client": "codex",
        "provider": "openai",
        "model": "gpt-5",
        "source": Source.USAGE,
        "is_estimated": False,
        "output_tokens": 10,
        "total_tokens": reported + 10,
        "cost_usd": Decimal("0.25"),
    }
    return Exchange(
        id=name,
        started_at=AT + timedelta(days=day),
        estimated_input_tokens=estimated,
        input_tokens=reported,
        **{**known, **more},
    )


RECORDS = (
    exchange("a", 0, 110, 100),
    exchange("b", 1, 100, 100, user="bob", session_id="s_two"),
    exchange("c", 1, 50, 100),
    exchange("d", 2, 80, 100, model="kimi-k2.5", provider="moonshotai", cost_usd=None),
    replace(
        exchange("e", 2, 80, 100), error=Problem("overloaded", "later"), input_tokens=None, is_estimated=True
    ),
)


def session(name: str, hours: int, **more: Any) -> Session:
    return Session(
        session_id=name,
        scope=f"scope-{name}",
        user="alice",
        started_at=AT,
        last_activity_at=AT + timedelta(hours=hours),
        **{"client": "codex", "provider": "openai", "model": "gpt-5", **more},
    )


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "kimi.db"

    async def fill() -> None:
        engine = await connect(str(path))
        async with engine.begin() as connection:
            await exchanges.save(connection, RECORDS)
            for one in (
                session("s_one", 1, status=Status.ACTIVE),
                session("s_two", 2, status=Status.ENDED, provider="moonshotai"),
                session("s_three", 3, status=Status.ACTIVE, client=None, model=None),
            ):
                await connection.execute(tables.sessions.insert().values(**to_row(one)))
        await engine.dispose()

    asyncio.run(fill())
    return path


def call(db: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--db", str(db)])


def test_errors_of_estimates_are_told_by_model_and_by_day(db: Path) -> None:
    found = json.loads(call(db, "stats", "--json").stdout)

    accuracy = {day["day"]: day["estimate_accuracy"] for day in found["by_day"]}
    assert accuracy["2026-03-01"]["median_error"] == pytest.approx(0.1)
    assert accuracy["2026-03-02"]["p90_error"] == pytest.approx(0.5)
    models = {m["model"]: m for m in found["by_model"]}
    assert models["gpt-5"]["estimate_accuracy"]["requests"] == 3
    assert models["kimi-k2.5"]["cost_usd"] is None
    assert (found["requests"], found["errors"], found["cost_usd"]) == (5, 1, "1.00")


def test_it_has_the_names_of_the_endpoint(db: Path) -> None:
    found = json.loads(call(db, "stats", "--json").stdout)

    assert set(found) == {*Stats.model_fields, "by_day"}
    Stats.model_validate({k: v for k, v in found.items() if k != "by_day"})


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--user", "bob"], 1),
        (["--provider", "moonshotai"], 1),
        (["--session", "s_one"], 4),
        (["--since", "2026-03-02"], 4),
        (["--user", "nobody"], 0),
    ],
)
def test_filters(db: Path, words: list[str], count: int) -> None:
    assert json.loads(call(db, "stats", "--json", *words).stdout)["requests"] == count


def test_exports_can_be_one_users(db: Path) -> None:
    assert [json.loads(line)["id"] for line in call(db, "export", "--user", "bob").stdout.splitlines()] == [
        "b"
    ]


def test_people_get_tables(db: Path) -> None:
    shown = call(db, "stats").stdout

    assert [line.split()[0] for line in shown.splitlines() if "gpt-5" in line] == ["gpt-5"]
    assert "50.0%" in shown
    assert "price of 1 call is unknown" in shown


def test_sessions_are_listed_latest_first(db: Path) -> None:
    shown = call(db, "sessions").stdout

    names = [line.split()[0] for line in shown.splitlines() if line.strip().startswith("s_")]
    assert names == ["s_three", "s_two", "s_one"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--status", "active"], ["s_three", "s_one"]),
        (["--provider", "moonshotai"], ["s_two"]),
        (["--user", "bob"], []),
        (["--since", "2026-03-01T13:30"], ["s_three", "s_two"]),
        (["--limit", "1"], ["s_three"]),
    ],
)
def test_sessions_are_filtered(db: Path, words: list[str], names: list[str]) -> None:
    for start in (["sessions"], ["sessions", "list"]):
        shown = call(db, *start, "--json", *words).stdout
        assert [json.loads(line)["session_id"] for line in shown.splitlines()] == names


def test_a_session_has_the_names_of_the_endpoint() -> None:
    found = session_json(session("s_one", 1), True)

    assert set(found) == set(SessionView.model_fields)
    assert set(found["statistics"]) == set(SessionFigures.model_fields)
    SessionView.model_validate(found)


def test_one_session_is_shown_by_the_beginning_of_its_id(db: Path) -> None:
    shown = call(db, "sessions", "show", "s_o").stdout

    assert "s_one" in shown
    assert "110→100+10" in shown
    assert "error: overloaded" in shown


def test_one_session_as_json(db: Path) -> None:
    found = json.loads(call(db, "sessions", "show", "s_two", "--json").stdout)

    assert found["session"]["session_status"] == "ended"
    assert [e["id"] for e in found["exchanges"]] == ["b"]


@pytest.mark.parametrize(("name", "count"), [("nothing", "no"), ("s_t", "2")])
def test_an_id_that_names_none_or_several_is_refused(db: Path, name: str, count: str) -> None:
    done = call(db, "sessions", "show", name)

    assert done.exit_code == 1
    assert f"{count} sessions begin with" in done.stderr


@pytest.mark.parametrize("words", [["stats"], ["sessions"], ["export"], ["sessions", "show", "x"]])
def test_no_database_is_said(tmp_path: Path, words: list[str]) -> None:
    done = call(tmp_path / "none.db", *words)

    assert done.exit_code == 1
    assert "there is no database" in done.stderr
