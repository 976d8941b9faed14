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
    """What a client's log is known to lack or to distort: turn → why, and field → why.

    `timed`: False where the log has no times, and a reading bears its file's.
    """

    missing: dict[int, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    timed: bool = True


_TITLE = "the client doesn't log its calls for titles and topics"
_PROBE = "a probe of the model's access"
_TOOL = "answers that call a tool aren't logged"
_ESTIMATE = "Aider counts by itself: its figures are estimates, and none is the provider's"
_NO_REASONING = {"reasoning_tokens": "not in the log"}
_NO_CACHE = "Anthropic's cached tokens aren't in the log: the input is a lower bound"
KNOWN: dict[str, Known] = {
    "agent-sdk-py": Known(missing={1: _TITLE, 4: _TITLE}),
    "aider": Known(missing={1: _ESTIMATE}),
    "aider-anthropic": Known(missing={1: _ESTIMATE}),
    "claude-bedrock": Known(missing={1: _PROBE, 2: _PROBE}),
    "cline-openai": Known(wrong=_NO_REASONING),
    "continue": Known(timed=False),
    "continue-openai": Known(timed=False),
    "kimi-cli": Known(wrong=_NO_REASONING),
    "kimi-code": Known(wrong=_NO_REASONING),
    "llm-anthropic": Known(
        wrong={"input_tokens": _NO_CACHE, "cache_read_tokens": _NO_CACHE, "cache_write_tokens": _NO_CACHE}
    ),
    "old-claude-1.0.128": Known(missing={2: _TITLE, 4: _TITLE}),
    "old-continue-1.5.11": Known(missing=dict.fromkeys((1, 2, 3), "that version kept no usage")),
    "old-opencode-1.1.34": Known(missing={1: _TITLE, 2: _TITLE, 6: _TITLE}),
    "old-qwen-0.1.3": Known(
        missing={1: _TOOL, 3: _TOOL}, wrong={"reasoning_tokens": "always 0 in the log, and so unknown"}
    ),
    "opencode": Known(missing={1: _TITLE}),
    "opencode-openai": Known(missing={1: _TITLE}),
    "pi-openai": Known(wrong=_NO_REASONING),
    "vibe": Known(wrong=_NO_REASONING),
}


def folders() -> list[Path]:
    found = sorted(CLIENT_LOGS.iterdir()) if CLIENT_LOGS else []
    return [folder for folder in found if (folder / "truth.jsonl").is_file()]


def truth(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    return [row for row in rows if not row["warmup"]]


def read(folder: Path) -> tuple[list[Reading], Tally]:
    """What a run of everything over one home folder leaves in the end, clients' estimates aside."""
    tally, distinct = Tally(), Distinct()
    kept: dict[str, Reading] = {}
    for source in SOURCES:
        for found in Finder(source, folder, {}, "linux").files():
            for reading in distinct.of(read_whole(source, found, None, tally)):
                kept[reading.key] = reading
    return [one for one in kept.values() if one.reported and not is_note(one)], tally


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


def plain(model: str) -> str:
    """A model's name without who serves it."""
    return model.rpartition("/")[2]


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
    matched = {one.key for ones in found.values() for one in ones}
    assert {one.key for one in readings if one.key not in matched and one.reported} == set()


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
                    assert value is None or reading.lower_bound
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
            if KNOWN.get(folder.name, Known()).timed:
                assert asked - timedelta(seconds=1) <= reading.at <= asked + timedelta(seconds=10)
            assert reading.started_at is None or abs(reading.started_at - asked) < timedelta(seconds=3)
            assert reading.model is None or plain(reading.model) == plain(row["model"])
            if "ession" in hints and reading.client_session_id:
                assert reading.client_session_id in hints
