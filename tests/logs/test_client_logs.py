"""Logs of clients that were really run, against what the provider really answered them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm.logs import SOURCES
from kimi_mitm.logs.find import Finder
from kimi_mitm.logs.history import read_whole
from kimi_mitm.logs.source import Distinct, Tally, is_note
from kimi_mitm.records import Reading, Usage
from tests.shared import CLIENT_LOGS

FIELDS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True)
class Known:
    """What a client's log is known to lack or to distort: turn → why, and field → why."""

    missing: dict[int, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)


_TITLE = "the client doesn't log its calls for titles and topics"
KNOWN: dict[str, Known] = {
    "old-claude-1.0.128": Known(missing={2: _TITLE, 4: _TITLE}),
    "agent-sdk-py": Known(missing={1: _TITLE, 4: _TITLE}),
    "claude-bedrock": Known(missing={1: "a probe of the model's access", 2: "a probe of the model's access"}),
    "kimi-cli": Known(wrong={"reasoning_tokens": "not in the log"}),
    "kimi-code": Known(wrong={"reasoning_tokens": "not in the log"}),
    "old-qwen-0.1.3": Known(
        missing={1: "answers that call a tool aren't logged", 3: "answers that call a tool aren't logged"},
        wrong={"reasoning_tokens": "always 0 in the log, and so unknown"},
    ),
}


def folders() -> list[Path]:
    found = sorted(CLIENT_LOGS.iterdir()) if CLIENT_LOGS else []
    return [folder for folder in found if (folder / "truth.jsonl").is_file()]


def truth(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    return [row for row in rows if not row["warmup"]]


def read(folder: Path) -> tuple[list[Reading], Tally]:
    """What a run of everything over one home folder leaves in the end."""
    tally, distinct = Tally(), Distinct()
    kept: dict[str, Reading] = {}
    for source in SOURCES:
        for found in Finder(source, folder, {}, "linux").files():
            for reading in distinct.of(read_whole(source, found, None, tally)):
                kept[reading.key] = reading
    return [reading for reading in kept.values() if not is_note(reading)], tally


def expected(row: dict[str, Any]) -> Usage:
    usage = row["usage"]
    return Usage(
        input_tokens=usage["prompt"],
        output_tokens=usage["output"],
        cache_read_tokens=usage["cache_read"],
        cache_write_tokens=usage["cache_write"],
        reasoning_tokens=usage["reasoning"],
    )


def match(row: dict[str, Any], readings: list[Reading]) -> list[Reading]:
    """The readings of one answer: by its id where the log has ids, else by its figures."""
    if by_id := [reading for reading in readings if row["response_id"] in reading.ids]:
        return by_id
    total = (row["usage"]["prompt"], row["usage"]["output"])
    return [one for one in readings if (one.usage.input_tokens, one.usage.output_tokens) == total]


def cases() -> Iterator[Any]:
    for folder in folders():
        if any(True for source in SOURCES for _ in Finder(source, folder, {}, "linux").files()):
            yield pytest.param(folder, id=folder.name)


@pytest.fixture(params=[*cases()])
def folder(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def test_each_answer_is_found_once_and_nothing_else(folder: Path) -> None:
    """Every answer of the provider is one reading, but for those that the client doesn't log."""
    readings, _ = read(folder)
    known = KNOWN.get(folder.name, Known())

    found = {row["turn"]: match(row, readings) for row in truth(folder)}

    assert {turn for turn, ones in found.items() if not ones} == set(known.missing)
    assert all(len(ones) == 1 for turn, ones in found.items() if turn not in known.missing)
    assert {one.key for ones in found.values() for one in ones} == {one.key for one in readings}


def test_figures_are_the_provider_s(folder: Path) -> None:
    """Input has the cached tokens, output the reasoning, whatever the client means by them."""
    readings, tally = read(folder)
    known = KNOWN.get(folder.name, Known())

    for row in truth(folder):
        for reading in match(row, readings):
            assert reading.reported
            for name in FIELDS:
                value, right = getattr(reading.usage, name), getattr(expected(row), name)
                if name in known.wrong:
                    assert value != right, f"{name} is right now: take it off the list"
                elif value is not None or right:
                    assert value == right, name

    assert tally.rejected == 0
    assert tally.failed == 0


def test_time_model_and_session_are_those_of_the_wire(folder: Path) -> None:
    """A reading's time lies after its request, its session is the one that the request named."""
    readings, _ = read(folder)

    for row in truth(folder):
        asked = datetime.fromisoformat(row["ts"])
        hints = json.dumps(list(row["session_hints"].values()))
        for reading in match(row, readings):
            assert asked - timedelta(seconds=1) <= reading.at <= asked + timedelta(seconds=10)
            assert reading.started_at is None or abs(reading.started_at - asked) < timedelta(seconds=3)
            assert reading.model in (None, row["model"], row["model"].rpartition("/")[2])
            if "ession" in hints and reading.client_session_id:
                assert reading.client_session_id in hints
