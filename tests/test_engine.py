"""The engine as a process of its own, spoken to over its pipes as the recorder does."""

from __future__ import annotations

import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm import __version__, link
from kimi_mitm.settings import Settings
from tests.engine_rig import chat_answer

LIMIT_S = 90.0
"""The machine may be busy: an engine starts in a second or two when it is not."""


class Engine:
    """A running engine's two ends."""

    def __init__(
        self, folder: Path, command: Sequence[str] = ("-m", "kimi_mitm.engine"), **settings: Any
    ) -> None:
        values = {
            "db": str(folder / "kimi.db"),
            "control": None,
            "logs": ("off",),
            "archive_dir": str(folder / "users"),
        }
        self.settings = Settings(**{**values, **settings})
        self.process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._heard: queue.Queue[link.Downward | None] = queue.Queue()
        self.words: list[str] = []
        self._numbers = iter(range(1, 1_000_000))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        while (frame := link.read_frame(self.process.stdout, link.DOWNWARD)) is not None:
            self._heard.put(frame[0])
        self._heard.put(None)

    def send(self, head: link.Upward, payload: bytes = b"") -> None:
        self.raw(link.frame_head(head, len(payload)) + payload)

    def raw(self, data: bytes) -> None:
        assert self.process.stdin is not None
        link.write_all(self.process.stdin, data)

    def hello(self) -> link.Ready:
        self.send(link.Hello(version=__version__, pid=os.getpid(), settings=self.settings, at=time.time()))
        return self.hear(link.Ready)

    def hear[M: link.Message](self, kind: type[M], fits: Callable[[M], bool] = lambda m: True) -> M:
        """The next message of a kind."""
        deadline = time.monotonic() + LIMIT_S
        while (message := self._heard.get(timeout=max(0.1, deadline - time.monotonic()))) is not None:
            if isinstance(message, link.Word):
                self.words.append(message.text)
            if isinstance(message, kind) and fits(message):
                return message
        raise AssertionError(f"the engine ended: {self.errors()}")

    def open(self, text: str = "hello", **more: Any) -> int:
        n = next(self._numbers)
        body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}).encode()
        known = {
            "n": n,
            "flow_id": f"flow-{n}",
            "exchange_id": str(uuid.uuid4()),
            "at": time.time(),
            "method": "POST",
            "url": "https://api.openai.com/v1/chat/completions",
            "host": "api.openai.com",
            "path": "/v1/chat/completions",
            "headers": {"content-type": "application/json"},
            "user": "alice",
            "wire_format": "openai.chat",
            "operation": "chat",
            "served_by": "openai",
            "size": len(body),
        }
        self.send(link.Opened(**{**known, **more}), body)
        return n

    def answer(self, n: int) -> None:
        data, now = chat_answer(), time.time()
        headers = {"content-type": "application/json"}
        self.send(link.Answered(n=n, at=now, status=200, headers=headers))
        self.send(link.Pieces(n=n, times=[now], sizes=[len(data)]), data)

    def end(self, n: int) -> None:
        self.send(link.Ended(n=n, at=time.time()))

    def chat(self, text: str = "hello") -> link.Note:
        """A whole exchange; its settled note."""
        n = self.open(text)
        self.answer(n)
        self.end(n)
        return self.hear(link.Note, lambda note: note.settled and note.flow_id == f"flow-{n}")

    def wait(self) -> int:
        return self.process.wait(LIMIT_S)

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def rest(self) -> list[str]:
        """Its last words."""
        while (message := self._heard.get(timeout=LIMIT_S)) is not None:
            if isinstance(message, link.Word):
                self.words.append(message.text)
        return self.words

    def close_pipe(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def destroy(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


type Begin = Callable[..., Engine]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts an engine; all are gone at the end."""
    made: list[Engine] = []

    def one(**settings: Any) -> Engine:
        made.append(Engine(tmp_path, **settings))
        return made[-1]

    yield one
    for engine in made:
        engine.destroy()


def rows(folder: Path, what: str = "id, ended_at, input_tokens, error") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "kimi.db")) as database:
        return database.execute(f"select {what} from exchanges order by seq").fetchall()


def test_it_says_that_it_is_ready_notes_each_exchange_and_ends_when_told(
    begin: Begin, tmp_path: Path
) -> None:
    engine = begin()
    ready = engine.hello()
    n = engine.open()
    first = engine.hear(link.Note)
    engine.answer(n)
    engine.end(n)
    last = engine.hear(link.Note, lambda note: note.settled)
    engine.send(link.Stop())

    assert ready.control is None
    assert ready.store is True
    assert (first.flow_id, first.settled) == (f"flow-{n}", False)
    assert first.comment.startswith("≈")
    assert "+3" in last.comment
    assert engine.wait() == 0
    assert engine.rest() == []
    assert [(r[2], r[3]) for r in rows(tmp_path)] == [(12, None)]


def test_what_is_in_the_pipe_when_it_is_told_to_stop_is_recorded(begin: Begin, tmp_path: Path) -> None:
    engine = begin()
    engine.hello()
    for i in range(300):
        n = engine.open(f"message {i}")
        engine.answer(n)
        engine.end(n)
    engine.send(link.Stop())

    assert engine.wait() == 0
    assert [r[2] for r in rows(tmp_path)] == [12] * 300


def test_the_end_of_the_pipe_ends_what_is_open_and_archives(begin: Begin, tmp_path: Path) -> None:
    engine = begin()
    engine.hello()
    engine.open("unanswered question")
    engine.hear(link.Note)
    engine.close_pipe()

    assert engine.wait() == 0
    assert [json.loads(r[3])["type"] for r in rows(tmp_path)] == ["no_answer"]
    assert rows(tmp_path)[0][1] is not None
    archives = list((tmp_path / "users" / "alice" / "dialogs" / "archived").iterdir())
    assert "unanswered question" in archives[0].read_text()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\xff" * 64, id="beyond all bounds"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", id="http"),
        pytest.param(link.frame_head(link.Gone(conn="c", at=0.0), 5)[:-3], id="cut"),
        pytest.param((4).to_bytes(4, "little") + bytes(4) + b"\xc1\xc1\xc1\xc1", id="no frame"),
    ],
)
def test_garbage_on_the_pipe_is_one_line_and_a_clean_end(
    begin: Begin, tmp_path: Path, garbage: bytes
) -> None:
    engine = begin()
    engine.hello()
    engine.chat()
    engine.raw(garbage)
    engine.close_pipe()

    assert engine.wait() == 0
    assert engine.errors() == ""
    assert [w for w in engine.rest() if not w.startswith("the link broke: ")] == []
    assert len(engine.words) <= 1
    assert [r[2] for r in rows(tmp_path)] == [12]


@pytest.mark.parametrize("first", [b"", b"hello", b"\xff" * 100], ids=["nothing", "short", "long"])
def test_whoever_does_not_say_hello_is_told_in_one_line(begin: Begin, first: bytes) -> None:
    engine = begin()
    engine.raw(first)
    engine.close_pipe()

    assert engine.wait() == 2
    assert len(engine.errors().splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_ends_everything_at_once_is_the_proxys_to_answer(begin: Begin, tmp_path: Path) -> None:
    engine = begin()
    engine.hello()
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        engine.process.send_signal(name)
    engine.chat()
    engine.send(link.Stop())

    assert engine.wait() == 0
    assert len(rows(tmp_path)) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_being_killed_loses_at_most_the_last_batch(begin: Begin, tmp_path: Path) -> None:
    engine = begin()
    engine.hello()
    told = [engine.chat(f"message {i}").flow_id for i in range(40)]
    open_ = engine.open("never answered")
    engine.hear(link.Note, lambda note: note.flow_id == f"flow-{open_}")
    engine.process.kill()
    engine.process.wait()

    found = rows(tmp_path, "flow_id, ended_at is null")
    assert found == [*((flow, 0) for flow in told), (f"flow-{open_}", 1)]

    again = begin()
    again.hello()
    again.chat("after")
    again.send(link.Stop())
    assert again.wait() == 0
    assert [json.loads(r[3])["type"] for r in rows(tmp_path) if r[3]] == ["aborted"]
    assert len(rows(tmp_path)) == 42
    assert len(list((tmp_path / "users" / "alice" / "dialogs" / "archived").iterdir())) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_another_process_reads_all_the_while_and_never_sees_half_an_exchange(
    begin: Begin, tmp_path: Path
) -> None:
    engine = begin()
    engine.hello()
    engine.chat()
    counts = []
    with closing(sqlite3.connect(f"file:{tmp_path / 'kimi.db'}?mode=ro", uri=True)) as reader:
        for i in range(20):
            engine.chat(f"message {i}")
            ended = "select count(*) from exchanges where ended_at is not null and total_tokens = 15"
            counts.append(reader.execute(ended).fetchone()[0])
    engine.send(link.Stop())
    engine.wait()

    assert counts == list(range(2, 22))


def test_two_engines_on_one_database_share_it(begin: Begin, tmp_path: Path) -> None:
    one, two = begin(), begin()
    one.hello()
    two.hello()
    for i in range(15):
        for engine in (one, two):
            n = engine.open(f"message {i}")
            engine.answer(n)
            engine.end(n)
    for engine in (one, two):
        engine.send(link.Stop())
    for engine in (one, two):
        assert engine.wait() == 0
        assert engine.rest() == []

    assert [r[2] for r in rows(tmp_path)] == [12] * 30
    with closing(sqlite3.connect(tmp_path / "kimi.db")) as database:
        counted = database.execute("select sum(exchanges), count(*) from sessions").fetchone()
        live = database.execute("select count(*) from sessions where status != 'ended'").fetchone()
    assert counted[0] == 30
    assert counted[1] in (1, 2)  # whoever ends first ends the session; the other's next turn begins anew
    assert live == (0,)


def test_without_a_usable_database_it_says_so_once_and_goes_on(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "kimi.db").write_text("Dear diary,\n" * 500)
    engine = begin()
    ready = engine.hello()
    engine.chat()
    engine.chat()
    engine.send(link.Stop())

    assert ready.store is False
    assert engine.wait() == 0
    assert engine.rest() == [
        "the database can't be opened: file is not a database; nothing is stored, everything else goes on"
    ]


def test_a_corrupt_database_is_said_once_and_it_goes_on(begin: Begin, tmp_path: Path) -> None:
    engine = begin()
    engine.hello()
    engine.chat()
    engine.send(link.Stop())
    engine.wait()
    data = bytearray((tmp_path / "kimi.db").read_bytes())
    data[4096 * 2 :] = b"\x55" * (len(data) - 4096 * 2)
    (tmp_path / "kimi.db").write_bytes(data)

    engine = begin()
    engine.hello()
    engine.chat()
    engine.chat()
    engine.send(link.Stop())

    assert engine.wait() == 0
    assert len(engine.rest()) == 1
    assert "malformed" in engine.words[0]


def test_a_file_that_is_read_twice_is_recorded_once_and_noted_again(begin: Begin, tmp_path: Path) -> None:
    for _ in range(2):
        engine = begin(offline=True)
        engine.hello()
        for i in range(3):
            n = engine.open(f"message {i}", exchange_id=str(uuid.UUID(int=i + 1)), at=1_770_000_000.0 + i)
            engine.answer(n)
            engine.end(n)
            note = engine.hear(link.Note, lambda note, n=n: note.settled and note.flow_id == f"flow-{n}")
            assert "+3" in note.comment
        engine.send(link.Stop())
        assert engine.wait() == 0

    assert len(rows(tmp_path)) == 3


def test_a_file_that_is_read_again_beside_live_traffic_changes_nothing(begin: Begin, tmp_path: Path) -> None:
    """As with `mitmweb -r FILE`, and in a proxy that loads a file while it runs."""
    first = begin()
    first.hello()
    told = [_chat_at(first, i, live=True) for i in range(3)]
    first.send(link.Stop())
    assert first.wait() == 0
    stored, sessions = rows(tmp_path), rows(tmp_path, "session_id")

    engine = begin()
    engine.hello()
    again = [_chat_at(engine, i, live=False) for i in range(3)]
    new = _chat_at(engine, 3, live=False)
    once_more = _chat_at(engine, 3, live=False)
    engine.send(link.Stop())

    assert engine.wait() == 0
    assert [note.comment for note in again] == [note.comment for note in told]
    assert new.comment == once_more.comment
    assert rows(tmp_path)[:3] == stored
    assert rows(tmp_path, "session_id")[:3] == sessions
    assert len(rows(tmp_path)) == 4
    assert sum(counted for (counted,) in _stats(tmp_path)) == 4


def _chat_at(engine: Engine, i: int, *, live: bool) -> link.Note:
    """A whole exchange of a known name and time; its settled note."""
    n = engine.open(f"message {i}", exchange_id=str(uuid.UUID(int=i + 1)), at=1_770_000_000.0 + i, live=live)
    engine.answer(n)
    engine.end(n)
    return engine.hear(link.Note, lambda note: note.settled and note.flow_id == f"flow-{n}")


def _stats(folder: Path) -> list[tuple[int]]:
    with closing(sqlite3.connect(folder / "kimi.db")) as database:
        return database.execute("select json_extract(stats, '$.requests') from sessions").fetchall()


def test_nothing_it_says_goes_to_its_standard_output_but_frames(begin: Begin) -> None:
    """A library that prints must not break the link."""
    script = (
        "import sys, kimi_mitm.engine.loop as e, kimi_mitm.engine.desk as d\n"
        "was = d.Desk.open\n"
        "async def noisy(self, emit):\n"
        "    print('a library prints')\n"
        "    return await was(self, emit)\n"
        "d.Desk.open = noisy\n"
        "sys.exit(e.main())\n"
    )
    engine = begin(command=("-c", script))
    engine.hello()
    engine.send(link.Stop())

    assert engine.wait() == 0
    assert "a library prints" in engine.errors()
