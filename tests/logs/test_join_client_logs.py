"""Logs of clients that were really run, tied to what the provider answered them: right, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kimi_mitm.fusion.join import Joined, Joiner
from kimi_mitm.fusion.match import WireExchange
from kimi_mitm.logs import SOURCES
from kimi_mitm.logs.find import Finder
from kimi_mitm.logs.history import read_whole
from kimi_mitm.logs.source import Distinct, Tally, is_note
from kimi_mitm.records import NO_USAGE, Reading, Usage
from tests.logs.test_client_logs import folders, match, truth

FAR = datetime(2100, 1, 1, tzinfo=UTC)
_SEEN = timedelta(milliseconds=5)  # how long before the provider the proxy saw the request
_TOOK = timedelta(milliseconds=50)  # how long the scripted provider took to answer


def readings(folder: Path) -> list[Reading]:
    distinct, kept = Distinct(), {}
    for source in SOURCES:
        for found in Finder(source, folder, {}, "linux").files():
            for reading in distinct.of(read_whole(source, found, None, Tally())):
                kept[reading.key] = reading
    return [one for one in kept.values() if one.reported and not is_note(one)]


def exchange(
    row: dict[str, Any], client: str, sessions: set[str | None], ids: bool, usage: bool
) -> WireExchange:
    at = datetime.fromisoformat(row["ts"])
    figures = Usage(input_tokens=row["usage"]["prompt"], output_tokens=row["usage"]["output"])
    return WireExchange(
        id=f"turn {row['turn']}",
        started_at=at - _SEEN,
        ended_at=at + _TOOK,
        client=client,
        models=frozenset([row["model"]]),
        client_session_id=next((v for v in row["session_hints"].values() if v in sessions), None),
        response_id=row["response_id"] if ids else None,
        usage=figures if usage else NO_USAGE,
    )


def joined(
    folder: Path, *, ids: bool, usage: bool, library: bool, seed: int
) -> Iterator[tuple[Reading, str | None]]:
    """What the join makes of one client's log: every reading with the exchange it is tied to."""
    records = [one if ids else replace(one, ids=()) for one in readings(folder)]
    Random(seed).shuffle(records)
    sessions = {one.client_session_id for one in records}
    made = Joiner()
    for row in sorted(truth(folder), key=lambda row: str(row["ts"])):
        client = "ai-sdk" if library else str(records[0].client) if records else "unknown"
        seen = exchange(row, client, sessions, ids, usage)
        made.exchange(replace(seen, ended_at=None, response_id=None, usage=NO_USAGE))
        made.exchange(seen)
    homes: dict[str, str] = {}
    for record in records:
        if isinstance(outcome := made.reading(record), Joined):
            homes[record.key] = outcome.exchange_id
    made.expire(FAR)
    homes.update((late.reading.key, late.exchange_id) for late in made.late())
    for record in records:
        yield record, homes.get(record.key)


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("ids", "usage", "library"),
    [(True, True, False), (False, True, False), (False, True, True), (False, False, False)],
    ids=["by id", "by figures", "behind a library", "by time alone"],
)
def test_every_record_is_tied_to_its_own_answer(
    folder: Path, ids: bool, usage: bool, library: bool, seed: int
) -> None:
    right = {one.key: f"turn {row['turn']}" for row in truth(folder) for one in match(row, readings(folder))}

    for reading, home in joined(folder, ids=ids, usage=usage, library=library, seed=seed):
        if home is None and not usage and reading.log == "continue-sessions":
            continue  # no times, and the files are not as old as they were
        assert home == right[reading.key], reading.key
