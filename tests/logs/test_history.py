"""Reading the history of logs on request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kimi_mitm.logs.history import Progress, import_logs
from tests.logs.memory import Kept
from tests.logs.test_follow import SOURCES, T0, add, line, put


async def test_every_record_of_every_file_is_given(tmp_path: Path) -> None:
    """The last line too, although it has no end yet."""
    kept, steps = Kept(), list[Progress]()
    file = put(tmp_path / "toy/a/x.jsonl", line("a") + line("b"))
    add(file, line("c").rstrip("\n"))
    put(tmp_path / "toy/y.jsonl", line("d"))
    put(tmp_path / "doc/a/x.json", '{"messages": [{"id": "e", "n": 1}]}')

    end = await import_logs(SOURCES, tmp_path, kept.take, progress=steps.append, env={}, platform="linux")

    assert sorted(kept.given) == ["toy:a#1", "toy:b#2", "toy:c#3", "toy:d#1", "toy:e"]
    assert (end.files, end.files_done, end.readings, end.unreadable) == (3, 3, 5, 0)
    assert end.bytes == end.bytes_done > 0
    assert [step.files_done for step in steps] == [1, 2, 3]
    assert {reading.log for reading in kept.readings.values()} == {"toy", "toy-doc"}


async def test_since_leaves_out_what_is_older(tmp_path: Path) -> None:
    kept = Kept()
    put(tmp_path / "toy/x.jsonl", line("old", at=T0 - timedelta(days=1)) + line("new", at=T0))

    await import_logs(SOURCES, tmp_path, kept.take, since=T0, env={}, platform="linux")

    assert kept.given == ["toy:new#2"]


async def test_reading_history_twice_changes_nothing(tmp_path: Path) -> None:
    kept = Kept()
    put(tmp_path / "toy/x.jsonl", line("a") + line("b"))

    for _ in range(2):
        await import_logs(SOURCES, tmp_path, kept.take, env={}, platform="linux")
        first = dict(kept.readings)

    assert kept.readings == first
    assert len(kept.readings) == 2


async def test_an_unreadable_file_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    put(tmp_path / "db/x.db", "no database at all" * 99)
    put(tmp_path / "toy/x.jsonl", line("a"))

    end = await import_logs(SOURCES, tmp_path, kept.take, env={}, platform="linux")

    assert kept.given == ["toy:a#1"]
    assert (end.files_done, end.unreadable) == (2, 1)
    assert "can't read" in caplog.text


async def test_no_logs_are_no_trouble(tmp_path: Path) -> None:
    end = await import_logs(SOURCES, tmp_path, Kept().take, since=datetime.now(UTC), env={}, platform="linux")

    assert end == Progress()
