"""The engine's process: started, fed, started again, and ended, without the loop ever waiting for it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kimi_mitm import link
from kimi_mitm.proxy import child as children
from kimi_mitm.proxy.child import Child
from kimi_mitm.settings import Settings

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

DEADLINE_S = 30.0

ECHO = """
import os, sys
from kimi_mitm import link
from kimi_mitm.outbox import Outbox
source, outbox = os.fdopen(0, "rb", buffering=0), Outbox(10**6)
outbox.attach(os.fdopen(1, "wb", buffering=0))
while (frame := link.read_frame(source, link.UPWARD)) is not None:
    head, payload = frame
    outbox.put(link.Word(text=f"{type(head).__name__} {getattr(head, 'conn', '')} {len(payload)}"))
    if isinstance(head, link.Stop):
        break
outbox.close()
outbox.join(10)
"""
"""An engine that says what it got."""

DEAF = "import time; time.sleep(600)"
DYING = "import sys; sys.exit('no such module: the point')"


class Watched:
    """A child of the test's, and what was heard of it."""

    def __init__(self, script: str = ECHO, offline: bool = False) -> None:
        self.heard: list[str] = []
        self.died: list[list[str]] = []
        self._news = asyncio.Event()
        settings = Settings(db="x", offline=offline)
        command = (sys.executable, "-c", script)
        self.child = Child(settings, self._hear, self._die, command=command)

    def _hear(self, message: link.Downward) -> None:
        self.heard.append(getattr(message, "text", type(message).__name__))
        self._news.set()

    def _die(self, frames) -> None:
        self.died.append([head.conn for head, _, _ in frames if isinstance(head, link.Gone)])
        self._news.set()

    async def until(self, look) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not look():
                self._news.clear()
                await self._news.wait()

    async def hears(self, text: str) -> None:
        await self.until(lambda: any(text in line for line in self.heard))

    def say(self, n, payload=()):
        return self.child.put(link.Gone(conn=str(n), at=0.0), payload)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(children, "BACKOFF_S", (0.01,))


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


async def test_it_is_greeted_fed_in_order_and_ended():
    one = Watched()
    one.say("early")
    one.child.start()
    one.say("late", [b"abc"])

    assert await one.child.close(DEADLINE_S) is True
    await one.hears("Stop")

    assert one.heard == ["Hello  0", "Gone early 0", "Gone late 3", "Lost  0", "Stop  0"]


async def test_one_that_dies_is_started_again_and_gets_what_comes_meanwhile(caplog):
    one = Watched()
    one.child.start()
    await one.hears("Hello")
    os.kill(one.child.pid, signal.SIGKILL)
    await one.until(lambda: one.died)
    one.say("meanwhile")
    await one.hears("Gone meanwhile")

    assert one.child.restarts == 1
    assert one.heard.count("Hello  0") == 2
    assert len(warnings(caplog)) == 1
    assert "ended with -9" in warnings(caplog)[0]
    await one.child.close(DEADLINE_S)


async def test_one_that_can_not_work_says_why_and_is_tried_less_and_less(caplog, monkeypatch):
    delays = []
    monkeypatch.setattr(children, "BACKOFF_S", (0.01, 0.02, 0.03))
    one = Watched(DYING)
    call_later = one.child._loop.call_later

    def noting(delay, *args):
        if args[0] == one.child._start_again:
            delays.append(delay)
        return call_later(delay, *args)

    monkeypatch.setattr(one.child._loop, "call_later", noting)
    one.child.start()
    await one.until(lambda: len(one.died) == 5)

    assert delays[:5] == [0.01, 0.02, 0.03, 0.03, 0.03]
    assert all("no such module: the point" in line for line in warnings(caplog))
    assert await one.child.close(DEADLINE_S)


async def test_what_it_said_last_is_told_though_it_is_read_after_its_end(caplog, monkeypatch):
    one = Watched(DYING)
    overhear = one.child._overhear

    def late(pipe):
        one.child._process.wait()
        overhear(pipe)

    monkeypatch.setattr(one.child, "_overhear", late)
    one.child.start()
    await one.until(lambda: len(one.died) == 5)

    assert all("no such module: the point" in line for line in warnings(caplog))
    assert await one.child.close(DEADLINE_S)


async def test_an_stderr_that_stays_open_does_not_hold_up_the_next(caplog, monkeypatch):
    monkeypatch.setattr(children, "_LAST_WORDS_S", 0.01)
    let_go, held = threading.Event(), []
    one = Watched(DYING)

    def stuck(pipe):
        held.append(threading.current_thread())
        with pipe:
            let_go.wait(DEADLINE_S)

    monkeypatch.setattr(one.child, "_overhear", stuck)
    one.child.start()
    await one.until(lambda: len(one.died) == 2)

    assert "ended with 1;" in warnings(caplog)[0]
    assert await one.child.close(DEADLINE_S)
    let_go.set()
    for thread in held:
        thread.join()


async def test_one_that_can_not_be_started_is_tried_again(caplog):
    one = Watched()
    one.child._command = ("/no/such/program",)
    one.child.start()
    await one.until(lambda: one.died)
    assert "can't be started" in warnings(caplog)[0]

    one.child._command = (sys.executable, "-c", ECHO)
    await one.hears("Hello")
    await one.child.close(DEADLINE_S)


async def test_a_long_life_makes_the_next_death_a_first_one(monkeypatch, caplog):
    monkeypatch.setattr(children, "STEADY_S", 0.0)
    monkeypatch.setattr(children, "BACKOFF_S", (0.01, 3600))
    one = Watched()
    one.child.start()
    for n in range(1, 4):
        await one.until(lambda n=n: one.heard.count("Hello  0") == n)
        os.kill(one.child.pid, signal.SIGKILL)
        await one.until(lambda n=n: len(one.died) == n)

    assert all("in 0.01 s" in line for line in warnings(caplog))
    await one.child.close(DEADLINE_S)


async def test_what_a_dead_one_had_not_read_is_given_back():
    one = Watched(DEAF)
    one.child.start()
    assert one.say("fills the pipe", [b"x" * 3_000_000])
    assert one.say("waits")
    os.kill(one.child.pid, signal.SIGKILL)
    await one.until(lambda: one.died)

    assert one.died[0][-1] == "waits"
    one.child._command = (sys.executable, "-c", "")
    await one.child.close(DEADLINE_S)


async def test_putting_never_waits_for_an_engine_that_does_not_read(monkeypatch):
    monkeypatch.setattr(children, "QUEUE_LIMIT", 5_000_000)
    one = Watched(DEAF)
    one.child.start()
    began = time.perf_counter()
    taken = [one.say(n, [b"x" * 100_000]) for n in range(200)]
    rows = [one.say(n) for n in range(200)]
    took = time.perf_counter() - began

    assert not all(taken)
    assert all(rows)
    assert one.child.bodies_lost == taken.count(False)
    assert one.child.losses().bodies == taken.count(False)
    assert one.child.busy
    assert took < 1
    os.kill(one.child.pid, signal.SIGKILL)
    await one.child.close(DEADLINE_S)


async def test_the_end_has_a_limit_and_does_not_kill():
    one = Watched(DEAF)
    one.child.start()
    pid = one.child.pid

    assert await one.child.close(0.05) is False

    os.kill(pid, 0)
    os.kill(pid, signal.SIGKILL)


async def test_an_end_between_two_engines_still_hands_over_what_waits(monkeypatch):
    monkeypatch.setattr(children, "BACKOFF_S", (3600,))
    one = Watched()
    one.child.start()
    await one.hears("Hello")
    os.kill(one.child.pid, signal.SIGKILL)
    await one.until(lambda: one.died)
    one.say("last words")

    assert await one.child.close(DEADLINE_S)
    await one.hears("Gone last words")


async def test_a_reader_of_files_waits_for_room_and_goes_on(monkeypatch):
    monkeypatch.setattr(children, "QUEUE_LIMIT", 1_000_000)
    one = Watched(offline=True)
    assert one.child.room() is None
    for n in range(10):
        one.say(n, [b"x" * 90_000])
    waiting = one.child.room()
    assert waiting is not None
    one.child.start()

    await asyncio.wait_for(waiting, DEADLINE_S)
    assert one.child.room() is None
    await one.child.close(DEADLINE_S)
    await one.hears("Stop")
    assert len([line for line in one.heard if line.startswith("Gone")]) == 10


async def test_a_reader_of_files_does_not_wait_for_an_engine_that_never_works(monkeypatch):
    monkeypatch.setattr(children, "QUEUE_LIMIT", 1000)
    one = Watched(DYING, offline=True)
    one.say(1, [b"x" * 900])
    one.child.start()
    await one.until(lambda: len(one.died) >= 5)
    one.say(2, [b"x" * 900])

    assert one.child.room() is None
    await one.child.close(DEADLINE_S)


async def test_an_engine_that_fails_at_the_end_is_said(caplog):
    one = Watched("import sys; sys.stdin.buffer.read(); sys.exit('the disk is full')")
    one.child.start()

    assert await one.child.close(DEADLINE_S)
    assert len(warnings(caplog)) == 1


async def test_nonsense_from_the_engine_is_one_line(caplog):
    one = Watched("import os; os.write(1, b'\\xff' * 100)")
    one.child.start()
    await one.until(lambda: one.died)

    assert "beyond all bounds" in warnings(caplog)[0]
    await one.child.close(DEADLINE_S)


def test_modules_in_the_folder_where_the_proxy_was_started_are_not_the_engine_s(tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('somebody else')")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run(
        children.COMMAND,
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )

    assert b"started by its addon" in done.stderr
    assert b"somebody else" not in done.stderr
