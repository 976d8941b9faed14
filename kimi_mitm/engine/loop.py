"""The engine: the addon's child process, where everything that parses, counts, stores or serves runs.

`python -m kimi_mitm.engine` is started by the recorder with frames on its standard input. It ends when
told to, or when the pipe ends because the proxy is gone: then it finishes and archives what it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

from kimi_mitm import link
from kimi_mitm.engine.core_only import leave_out_orm
from kimi_mitm.faults import place_of
from kimi_mitm.outbox import Outbox

if TYPE_CHECKING:
    from kimi_mitm.engine.desk import Desk
    from kimi_mitm.engine.drafting import News
    from kimi_mitm.engine.intake import Intake

log = logging.getLogger(__name__)

_WAITING = 256
_WAITING_BYTES = 2 * 1024 * 1024
"""News, and bytes of bodies with it, that may wait for the loop; beyond that the intake waits, then the
pipe, then the recorder."""

_LAST_WORDS_S = 2.0
_GATHER_S = 0.05
"""At least so long between two batches: what comes alone is handled at once, a flood by the batch."""


class Engine:
    """One run of the engine, from `Hello` to the end of the pipe."""

    def __init__(self, hello: link.Hello, source: IO[bytes], outbox: Outbox) -> None:
        self._hello = hello
        self._source = source
        self._outbox = outbox
        self._room = threading.Condition()
        self._waiting_bytes = 0
        self._news: deque[News] = deque()
        self._some = asyncio.Event()
        self._awake = False
        self._handled_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Works until the recorder says stop or is gone."""
        leave_out_orm()
        from kimi_mitm.engine.desk import Desk

        self._loop = asyncio.get_running_loop()
        desk = Desk(self._hello.settings, self._outbox, datetime.fromtimestamp(self._hello.at, UTC))
        intake = await desk.open(self._emit)
        _be_humble()
        thread = threading.Thread(target=self._take_in, args=(intake,), name="kimi-intake", daemon=True)
        thread.start()
        try:
            while await self._handle(desk):
                pass
        finally:
            await desk.close()

    async def _handle(self, desk: Desk) -> bool:
        """Handles what is there, all of it at once; False at the end."""
        if not self._news:
            self._some.clear()
            self._awake = False
            if not self._news:
                await self._some.wait()
        wait = self._handled_at + _GATHER_S - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._handled_at = time.monotonic()
        news = [self._news.popleft() for _ in range(len(self._news))]
        going_on = not any(isinstance(n, link.Stop) for n in news)
        try:
            await desk.handle([n for n in news if not isinstance(n, link.Stop)])
        except Exception as e:
            desk.faulty(place_of(e))
        finally:
            with self._room:
                self._waiting_bytes -= sum(map(_weight, news))
                self._room.notify_all()
        return going_on

    def _emit(self, news: News) -> None:
        """Called in the intake's thread. Waking the loop is a system call: only an idle one is woken."""
        assert self._loop is not None
        weight = _weight(news)
        with self._room:
            self._room.wait_for(lambda: self._has_room(weight))
            self._waiting_bytes += weight
        self._news.append(news)
        if not self._awake:
            self._awake = True
            self._loop.call_soon_threadsafe(self._some.set)

    def _has_room(self, weight: int) -> bool:
        if not self._news:
            return True
        return len(self._news) < _WAITING and self._waiting_bytes + weight <= _WAITING_BYTES

    def _take_in(self, intake: Intake) -> None:
        try:
            while (frame := link.read_frame(self._source, link.UPWARD)) is not None:
                if isinstance(frame[0], link.Stop):
                    break
                intake.handle(*frame)
        except (link.LinkError, OSError, ValueError) as e:
            self._outbox.put(link.Word(text=f"the link broke: {e}", level="warning"))
        except Exception as e:
            self._outbox.put(link.Word(text=f"the engine stops ({place_of(e)})", level="warning"))
        finally:
            intake.end_all(time.time(), "the proxy ended before the answer did")
            self._emit(link.Stop())


def _weight(news: News) -> int:
    """Bytes of the body that news holds on to."""
    draft = getattr(news, "draft", None)
    return len(draft.body or b"") if draft is not None else 0


def main() -> int:
    """Runs an engine on standard input and output."""
    _leave_signals_alone()
    source = os.fdopen(os.dup(0), "rb", buffering=0)
    sink = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    outbox = Outbox(16 * 1024 * 1024)
    outbox.attach(sink)
    try:
        first = link.read_frame(source, link.UPWARD)
    except link.LinkError:
        first = None
    if first is None or not isinstance(first[0], link.Hello):
        sys.stderr.write("kimi-mitm's engine is started by its addon; it was not spoken to as by one\n")
        return 2
    try:
        asyncio.run(Engine(first[0], source, outbox).run())
    except Exception as e:
        outbox.put(link.Failed(text=f"the engine can't work ({place_of(e)})"))
        return 1
    finally:
        outbox.close()
        outbox.join(_LAST_WORDS_S)
    return 0


def _be_humble() -> None:
    """The proxy comes first on the processor."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)


def _leave_signals_alone() -> None:
    """What ends everything at once (Ctrl+C, a service's stop) is the proxy's to answer: when it ends, so
    does the pipe, and then this process, with everything recorded and archived."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
