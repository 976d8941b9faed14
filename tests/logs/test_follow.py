"""Following logs as they grow, in real files."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kimi_mitm.logs.collect import Collector
from kimi_mitm.logs.find import Finder
from kimi_mitm.logs.follow import Logs, select
from kimi_mitm.logs.jsonl import decode, epoch_time, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.records import Reading, Source, Usage
from tests.logs.memory import Kept

T0 = datetime(2090, 11, 20, 12, tzinfo=UTC)
"""When the proxy starts: later than any file that a test finds there."""


def reading(name: str, tokens: int, at: datetime, origin: str) -> Reading:
    return Reading(
        source=Source.LOGS,
        reported=True,
        at=at,
        key=f"toy:{name}",
        origin=origin,
        usage=Usage(input_tokens=tokens),
    )


class ToyLines:
    """Lines `{"id", "n", "t"?, "total"?}`; counts what it saw, so that lost state would show."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._count = int(state.get("count", 0))

    def state(self) -> State:
        return {"count": self._count}

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        self._file.tally.seen += 1
        doc = decode(line)
        if doc is None:
            return
        if doc.get("id") == "stumble":
            raise ZeroDivisionError
        self._file.tally.understood += 1
        self._count += 1
        at = epoch_time(doc.get("t")) or T0 + timedelta(days=1)
        yield reading(f"{doc['id']}#{self._count}", doc["n"], at, f"{self._file.path}:{number}")


def toy_document(data: bytes, file: File) -> Iterator[Reading]:
    doc = decode(data) or {}
    for index, message in enumerate(doc.get("messages", [])):
        assert file.modified
        yield reading(f"{text(message, 'id')}", message["n"], file.modified, f"{file.path}#{index}")


class ToyDatabase:
    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._row = int(state.get("row", 0))

    def state(self) -> State:
        return {"row": self._row}

    def read(self, db: sqlite3.Connection, since: datetime | None) -> Iterator[Reading]:
        floor = since.timestamp() if since and not self._row else 0
        for row in db.execute("SELECT rowid, * FROM t WHERE rowid > ? AND at >= ?", (self._row, floor)):
            self._row = row["rowid"]
            at = datetime.fromtimestamp(row["at"], UTC)
            yield reading(str(row["id"]), row["n"], at, f"{self._file.path}#{self._row}")


SOURCES = (
    LogSource(
        name="toy", client="toy", lines=ToyLines, places=(Place(root="{home}/toy", pattern="**/*.jsonl"),)
    ),
    LogSource(
        name="toy-doc",
        client="toy",
        document=toy_document,
        places=(Place(root="{home}/doc", pattern="*/*.json"),),
    ),
    LogSource(
        name="toy-db", client="db", database=ToyDatabase, places=(Place(root="{home}/db", pattern="*.db"),)
    ),
)


def line(name: str, n: int = 1, at: datetime | None = None) -> str:
    return json.dumps({"id": name, "n": n} | ({"t": at.timestamp()} if at else {})) + "\n"


def add(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(text)


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def logs(home: Path, *, now: datetime = T0) -> Logs:
    return Logs(SOURCES, home, env={}, platform="linux", now=lambda: now)


@pytest.fixture
def kept() -> Kept:
    return Kept()


async def started(home: Path, kept: Kept, *, now: datetime = T0) -> Logs:
    followed = logs(home, now=now)
    await followed.begin(kept)
    return followed


class TestLines:
    async def test_history_is_left_alone_and_what_comes_is_given(self, tmp_path: Path, kept: Kept) -> None:
        """The reader has seen the old lines (it counts on), but they are not given."""
        file = put(tmp_path / "toy/a/x.jsonl", line("old") + line("older"))
        followed = await started(tmp_path, kept)

        await followed.poll(kept.take, kept)
        assert kept.given == []

        add(file, line("new", 7))
        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:new#3"]
        assert kept.readings["toy:new#3"].origin == f"{file}:3"
        assert kept.readings["toy:new#3"].log == "toy"

    async def test_a_new_file_is_read_from_its_start(self, tmp_path: Path, kept: Kept) -> None:
        followed = await started(tmp_path, kept)
        put(tmp_path / "toy/later/deep/x.jsonl", line("a") + line("b"))

        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:a#1", "toy:b#2"]

    async def test_half_a_line_waits_for_its_end(self, tmp_path: Path, kept: Kept) -> None:
        followed = await started(tmp_path, kept)
        file = put(tmp_path / "toy/x.jsonl", line("a") + '{"id": "b",')
        await followed.poll(kept.take, kept)
        assert kept.given == ["toy:a#1"]

        add(file, ' "n": 2}')
        await followed.poll(kept.take, kept)
        assert kept.given == ["toy:a#1"]

        add(file, "\n")
        await followed.poll(kept.take, kept)
        assert kept.given == ["toy:a#1", "toy:b#2"]

    @pytest.mark.parametrize("cut", [0, 1, 10, 30, -1])
    async def test_a_restart_neither_misses_nor_repeats(self, tmp_path: Path, kept: Kept, cut: int) -> None:
        """Whatever was written before, at and after the end of the first run."""
        followed = await started(tmp_path, kept)
        rest = line("b") + line("c")
        file = put(tmp_path / "toy/x.jsonl", line("a") + rest[:cut])
        await followed.poll(kept.take, kept)

        add(file, rest[cut:])
        again = await started(tmp_path, kept, now=T0 + timedelta(hours=1))
        await again.poll(kept.take, kept)
        await again.poll(kept.take, kept)

        assert kept.given == ["toy:a#1", "toy:b#2", "toy:c#3"]

    async def test_what_was_written_while_away_is_given(self, tmp_path: Path, kept: Kept) -> None:
        """In a file that was at rest, and so has no place: by the time of its records."""
        now = datetime.now(UTC)
        file = put(tmp_path / "toy/x.jsonl", line("old", at=now - timedelta(days=2)))
        os.utime(file, (now.timestamp() - 172_800,) * 2)
        await started(tmp_path, kept, now=now - timedelta(hours=1))

        add(file, line("away", at=now - timedelta(minutes=1)))
        put(tmp_path / "toy/y.jsonl", line("y", at=now))
        again = await started(tmp_path, kept, now=now)
        await again.poll(kept.take, kept)

        assert kept.given == ["toy:away#2", "toy:y#1"]

    async def test_a_truncated_file_is_read_anew(self, tmp_path: Path, kept: Kept) -> None:
        followed = await started(tmp_path, kept)
        file = put(tmp_path / "toy/x.jsonl", line("a") + line("b"))
        await followed.poll(kept.take, kept)

        put(file, line("c"))
        await followed.poll(kept.take, kept)

        assert kept.given[2:] == ["toy:c#1"]

    async def test_a_file_rewritten_in_place_is_read_anew(self, tmp_path: Path, kept: Kept) -> None:
        """Longer than before, same inode: only its bytes tell."""
        followed = await started(tmp_path, kept)
        file = put(tmp_path / "toy/x.jsonl", line("a") + line("b"))
        await followed.poll(kept.take, kept)

        put(file, line("q") + line("r") + line("s"))
        await followed.poll(kept.take, kept)

        assert kept.given[2:] == ["toy:q#1", "toy:r#2", "toy:s#3"]

    async def test_a_replaced_file_is_read_anew(self, tmp_path: Path, kept: Kept) -> None:
        followed = await started(tmp_path, kept)
        file = put(tmp_path / "toy/x.jsonl", line("a"))
        await followed.poll(kept.take, kept)

        file.rename(tmp_path / "toy/x.jsonl.1")
        put(file, line("n") + line("m"))
        await followed.poll(kept.take, kept)

        assert kept.given[1:] == ["toy:n#1", "toy:m#2"]

    async def test_a_copy_that_takes_the_file_s_place_goes_on(self, tmp_path: Path, kept: Kept) -> None:
        """An editor saves under a new inode; what was read is not read again."""
        followed = await started(tmp_path, kept)
        file = put(tmp_path / "toy/x.jsonl", line("a"))
        await followed.poll(kept.take, kept)

        put(tmp_path / "toy/tmp", line("a") + line("b")).replace(file)
        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:a#1", "toy:b#2"]

    async def test_history_stays_history_when_the_file_is_rewritten(self, tmp_path: Path, kept: Kept) -> None:
        """What was skipped at the start is no news when it comes again with the rest."""
        old = line("old", at=T0 - timedelta(days=1))
        file = put(tmp_path / "toy/x.jsonl", old + line("other", at=T0 - timedelta(hours=2)))
        followed = await started(tmp_path, kept)
        add(file, line("new"))
        await followed.poll(kept.take, kept)

        put(file, old + line("news"))
        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:new#3", "toy:news#2"]

    async def test_a_file_at_rest_that_is_rewritten_is_read_anew(self, tmp_path: Path, kept: Kept) -> None:
        """Nothing had been read of it yet, and it is longer than before."""
        file = put(tmp_path / "toy/x.jsonl", line("old") + line("older"))
        followed = await started(tmp_path, kept)

        put(file, line("q") + line("r") + line("s"))
        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:q#1", "toy:r#2", "toy:s#3"]

    async def test_half_a_line_that_is_rewritten_leaves_nothing_behind(
        self, tmp_path: Path, kept: Kept
    ) -> None:
        followed = await started(tmp_path, kept)
        file = put(tmp_path / "toy/x.jsonl", line("a") + '{"id": "lost"')
        await followed.poll(kept.take, kept)

        put(file, line("a") + line("b", 12345))
        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:a#1", "toy:b#2"]

    async def test_a_removed_file_is_forgotten(self, tmp_path: Path, kept: Kept) -> None:
        followed = await started(tmp_path, kept)
        file = put(tmp_path / "toy/x.jsonl", line("a"))
        await followed.poll(kept.take, kept)
        file.unlink()

        await followed.poll(kept.take, kept)

        assert followed.health() == []

    async def test_a_line_that_a_reader_stumbles_over_stops_nothing(self, tmp_path: Path, kept: Kept) -> None:
        followed = await started(tmp_path, kept)
        put(tmp_path / "toy/x.jsonl", line("a") + line("stumble") + "garbage\n" + line("b"))

        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:a#1", "toy:b#2"]
        assert followed.health()[0].failed == 1

    async def test_a_large_file_starts_at_its_end(self, tmp_path: Path, kept: Kept) -> None:
        """A quarter of a gigabyte of history costs nothing until the file grows, and little then."""
        file = tmp_path / "toy/x.jsonl"
        file.parent.mkdir()
        with file.open("wb") as out:
            out.truncate(1 << 28)
            out.seek(0, os.SEEK_END)
            out.write(b"\n" + line("old").encode() * 3)
        followed = await started(tmp_path, kept)
        assert "toy:" + str(file) in kept.places

        add(file, line("new"))
        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:new#4"]
        assert kept.readings["toy:new#4"].origin == f"{file}:5"

    async def test_a_large_file_at_rest_is_not_read_after_a_restart_either(
        self, tmp_path: Path, kept: Kept
    ) -> None:
        file = put(tmp_path / "toy/x.jsonl", line("old") * 100_000)
        await started(tmp_path, kept)
        add(file, line("new"))

        again = await started(tmp_path, kept, now=T0 + timedelta(days=3))
        await again.poll(kept.take, kept)

        assert [key.split("#")[0] for key in kept.given] == ["toy:new"]

    async def test_an_unreadable_file_is_counted_and_tried_again(
        self, tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        followed = await started(tmp_path, kept)
        put(tmp_path / "toy/x.jsonl", line("a"))
        put(tmp_path / "toy/y.jsonl", line("b"))
        refused = {str(tmp_path / "toy/x.jsonl")}

        def refusing(path: str, *args: object, **more: object) -> object:
            if str(path) in refused:
                raise PermissionError(13, "Permission denied", path)
            return open(path, *args, **more)

        monkeypatch.setattr("kimi_mitm.logs.tail.open", refusing, raising=False)
        await followed.poll(kept.take, kept)
        assert kept.given == ["toy:b#1"]
        assert followed.health()[0].unreadable == 1

        refused.clear()
        await followed.poll(kept.take, kept)
        assert kept.given == ["toy:b#1", "toy:a#1"]
        assert followed.health()[0].unreadable == 0

    async def test_a_format_that_nobody_knows_is_said(self, tmp_path: Path, kept: Kept) -> None:
        followed = await started(tmp_path, kept)
        put(tmp_path / "toy/x.jsonl", "[1]\n" * 30)

        await followed.poll(kept.take, kept)

        health = followed.health()[0]
        assert (health.seen, health.understood, health.not_understood) == (30, 0, True)


class TestDocuments:
    def write(self, home: Path, *messages: tuple[str, int]) -> Path:
        doc = {"messages": [{"id": name, "n": n} for name, n in messages]}
        return put(home / "doc/a/x.json", json.dumps(doc))

    async def test_only_what_changed_is_given(self, tmp_path: Path, kept: Kept) -> None:
        """Old messages stay history although they have no time of their own."""
        self.write(tmp_path, ("old", 1))
        followed = await started(tmp_path, kept, now=datetime.now(UTC))
        self.write(tmp_path, ("old", 1), ("new", 2))
        await followed.poll(kept.take, kept)
        assert kept.given == ["toy:new"]

        self.write(tmp_path, ("old", 1), ("new", 3), ("next", 4))
        again = await started(tmp_path, kept)
        await again.poll(kept.take, kept)

        assert kept.given == ["toy:new", "toy:new", "toy:next"]
        assert kept.readings["toy:new"].usage.input_tokens == 3

    async def test_a_half_written_document_gives_nothing_yet(self, tmp_path: Path, kept: Kept) -> None:
        followed = await started(tmp_path, kept)
        file = self.write(tmp_path, ("a", 1))
        whole = file.read_text()
        put(file, whole[:-5])
        await followed.poll(kept.take, kept)
        assert kept.given == []

        put(file, whole)
        await followed.poll(kept.take, kept)

        assert kept.given == ["toy:a"]

    def test_a_document_that_took_long_is_left_alone_for_a_while(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A notice in the meantime waits; a poll, and the end, do not."""
        clock = [0.0]

        def slowly() -> float:
            clock[0] += 1.0
            return clock[0]

        monkeypatch.setattr("kimi_mitm.logs.collect.time.monotonic", slowly)
        finder = Finder(SOURCES[1], tmp_path, {}, "linux")
        collector = Collector(finder, {}, T0)
        collector.begin(True)
        path = str(self.write(tmp_path, ("a", 1)))
        (file,) = collector.touched([path])
        assert len(list(collector.read(file))) == 1

        self.write(tmp_path, ("a", 1), ("b", 2))

        assert collector.touched([path]) == []
        assert len(collector.changed()) == 1
        clock[0] += 100
        assert len(collector.touched([path])) == 1


class TestDatabases:
    async def test_rows_are_given_from_the_live_log(self, tmp_path: Path, kept: Kept) -> None:
        """What only the write-ahead log holds, while its writer has it open."""
        (tmp_path / "db").mkdir()
        with closing(sqlite3.connect(tmp_path / "db/x.db")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE t (id, n, at)")
            db.execute("INSERT INTO t VALUES ('old', 1, ?)", (T0.timestamp() - 60,))
            db.commit()
            followed = await started(tmp_path, kept)
            db.execute("INSERT INTO t VALUES ('new', 2, ?)", (T0.timestamp() + 60,))
            db.commit()
            await followed.poll(kept.take, kept)
            await followed.poll(kept.take, kept)
            assert kept.given == ["toy:new"]

            db.execute("INSERT INTO t VALUES ('more', 2, ?)", (T0.timestamp() + 61,))
            db.commit()
            await followed.poll(kept.take, kept)

            assert kept.given == ["toy:new", "toy:more"]

    async def test_a_restart_goes_on_behind_the_last_row(self, tmp_path: Path, kept: Kept) -> None:
        (tmp_path / "db").mkdir()
        followed = await started(tmp_path, kept)
        with closing(sqlite3.connect(tmp_path / "db/x.db")) as db:
            db.execute("CREATE TABLE t (id, n, at)")
            for name in ("a", "b"):
                db.execute("INSERT INTO t VALUES (?, 1, ?)", (name, T0.timestamp() + 1))
            db.commit()
            await followed.poll(kept.take, kept)
            db.execute("INSERT INTO t VALUES ('c', 1, ?)", (T0.timestamp() + 2,))
            db.commit()

            again = await started(tmp_path, kept)
            await again.poll(kept.take, kept)

        assert kept.given == ["toy:a", "toy:b", "toy:c"]


@asynccontextmanager
async def running(followed: Logs, kept: Kept) -> AsyncIterator[None]:
    task = asyncio.create_task(followed.follow(kept.take, kept, poll_s=0.5))
    await followed.started.wait()
    try:
        yield
    finally:
        followed.stop()
        async with asyncio.timeout(20):
            await task


async def test_folders_that_appear_later_are_followed(
    tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of all three kinds, in folders that were not there at the start."""
    monkeypatch.setattr("kimi_mitm.logs.follow._APPEAR_S", 0.2)
    async with running(logs(tmp_path), kept):
        file = put(tmp_path / "toy/new/x.jsonl", line("a"))
        assert await kept.until(1) == ["toy:a#1"]
        add(file, line("b"))
        assert await kept.until(2) == ["toy:a#1", "toy:b#2"]
        put(tmp_path / "doc/a/x.json", '{"messages": [{"id": "d", "n": 1}]}')
        await kept.until(3)

    assert set(kept.given) == {"toy:a#1", "toy:b#2", "toy:d"}


async def test_stop_reads_what_was_written_last(tmp_path: Path, kept: Kept) -> None:
    followed = logs(tmp_path)
    async with running(followed, kept):
        put(tmp_path / "toy/x.jsonl", line("a"))
        await kept.until(1)
        add(tmp_path / "toy/x.jsonl", line("last"))

    assert kept.given == ["toy:a#1", "toy:last#2"]


async def test_no_file_is_changed_or_made(tmp_path: Path, kept: Kept) -> None:
    """Reading leaves the folder as it was: names, bytes and times."""

    def look() -> dict[str, tuple[int, int]]:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}

    followed = await started(tmp_path, kept)
    put(tmp_path / "toy/x.jsonl", line("a"))
    put(tmp_path / "doc/a/x.json", '{"messages": [{"id": "d", "n": 1}]}')
    (tmp_path / "db").mkdir()
    with closing(sqlite3.connect(tmp_path / "db/x.db")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (id, n, at)")
        db.execute("INSERT INTO t VALUES ('new', 2, ?)", (T0.timestamp() + 60,))
        db.commit()
    before = look()

    await followed.poll(kept.take, kept)

    assert len(kept.given) == 3
    assert look() == before


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["auto"], ["toy", "toy-doc", "toy-db"]),
        (["off"], []),
        (["toy"], ["toy", "toy-doc"]),
        (["toy-doc", "db"], ["toy-doc", "toy-db"]),
        (["off", "toy-db"], ["toy-db"]),
    ],
)
def test_sources_are_chosen_by_their_name_or_their_client_s(names: list[str], chosen: list[str]) -> None:
    assert [source.name for source in select(names, SOURCES)] == chosen


def test_a_source_that_there_isn_t_is_refused() -> None:
    with pytest.raises(ValueError, match="no such log source: nothing"):
        select(["nothing"], SOURCES)
