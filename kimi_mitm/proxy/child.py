"""The engine's process as the recorder sees it: started, fed, listened to, started again when it dies.

Nothing here blocks mitmproxy's loop: writing is the outbox's thread, reading and waiting are threads
of this module, and what they hear reaches the loop through `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import IO, Any

from kimi_mitm import __version__, link
from kimi_mitm.outbox import Frame, Outbox
from kimi_mitm.settings import Settings

log = logging.getLogger(__name__)

QUEUE_LIMIT = 6 * 1024 * 1024
"""Bytes that may wait for the engine. Beyond it bodies are dropped and counted, rows never."""
_LOOK_AGAIN_S = 0.05
_LAST_WORDS_S = 2.0
"""How long an ended engine's stderr is read on: whatever it left running may hold it open for ever."""
HURRY_ABOVE = 2 * 1024 * 1024
"""From here on the engine is asked to estimate by length instead of counting."""
COMMAND: Sequence[str] = (sys.executable, "-P", "-m", "kimi_mitm.engine")
"""`-P`: modules in the folder where the proxy was started are not the engine's."""
BACKOFF_S: Sequence[float] = (0.5, 1, 2, 5, 10, 30, 60)
STEADY_S = 30.0
"""An engine that lived that long had nothing wrong with it from the start: the next death is a first one."""

_HOPELESS = 4
"""After so many deaths in a row a file is read on without waiting for an engine."""


class Child:
    """One engine, whichever process runs it just now.

    What is put while there is none waits for the next. `heard` is called on the loop with every message
    from the engine, `died` with the frames that an engine which died had not read. `close` ends it.
    """

    def __init__(
        self,
        settings: Settings,
        heard: Callable[[link.Downward], object],
        died: Callable[[Sequence[Frame]], object],
        *,
        command: Sequence[str] | None = None,
    ) -> None:
        self._settings = settings
        self._heard = heard
        self._died = died
        self._command = command or COMMAND
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._outbox = Outbox(QUEUE_LIMIT, lambda: self._soon(self._room.set))
        self._room = asyncio.Event()
        self._over = asyncio.Event()
        self._since = time.time()
        self._started_at = 0.0
        self._closing = False
        self._deaths = 0
        self._retry: asyncio.TimerHandle | None = None
        self._complaints: deque[str] = deque(maxlen=5)
        self.bodies_lost = 0
        self.frames_lost = 0
        self.hurried = 0
        self.restarts = 0
        self.faults = 0
        """The recorder's own errors, which it keeps from the traffic."""

    @property
    def pid(self) -> int | None:
        """The engine's process, None while there is none."""
        return self._process.pid if self._process else None

    @property
    def busy(self) -> bool:
        """True while so much waits that exact counting should be put off."""
        return self._outbox.size > HURRY_ABOVE

    def start(self) -> None:
        """Starts a process. A failure is logged, and tried again later."""
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={
                    **os.environ,
                    "MALLOC_ARENA_MAX": "2",
                    "PYTHONPATH": _python_path(),
                    "PYTHONUNBUFFERED": "1",
                },
                start_new_session=True,
            )
        except OSError as e:
            self._gone(f"can't be started: {e}")
            return
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._started_at = self._loop.time()
        _widen(process.stdin)
        hello = link.Hello(version=__version__, pid=os.getpid(), settings=self._settings, at=self._since)
        self._outbox.attach(process.stdin, [hello])
        overhearing = self._thread(self._overhear, process.stderr, name="kimi-stderr")
        self._thread(self._listen, process, process.stdout, overhearing, name="kimi-listener")

    def put(self, head: link.Upward, payload: Sequence[bytes] = (), *, wake: bool = True) -> bool:
        """Hands a frame over; False when it was not taken, which is counted. See `Outbox.put`."""
        taken = self._outbox.put(head, payload, wake=wake)
        if not taken and payload:
            self.bodies_lost += 1
        elif not taken:
            self.frames_lost += 1
        return taken

    def room(self) -> Coroutine[Any, Any, None] | None:
        """What to wait for before more is put, None when there is room. Only a reader of files can wait."""
        hopeless = self._deaths >= _HOPELESS
        return self._wait_for_room() if self._outbox.crowded and not hopeless else None

    def losses(self) -> link.Lost:
        """What could not be handed over so far."""
        return link.Lost(
            bodies=self.bodies_lost,
            frames=self.frames_lost + self._outbox.spoiled,
            hurried=self.hurried,
            restarts=self.restarts,
            faults=self.faults,
        )

    async def close(self, limit_s: float | None) -> bool:
        """Asks the engine to finish and waits for it, until its last word is heard; False when it took
        longer than `limit_s`.

        It is not killed then: it sees the end of its pipe and finishes by itself.
        """
        self._closing = True
        if self._retry:
            self._retry.cancel()
        if self._process is None and self._outbox.depth:
            self.start()
        self._outbox.put(self.losses())
        self._outbox.put(link.Stop())
        self._outbox.close()
        process = self._process
        if process is None:
            return True
        try:
            async with asyncio.timeout(limit_s):
                await self._over.wait()
        except TimeoutError:
            return False
        if process.returncode:
            log.warning(f"kimi: the engine ended with {process.returncode}{self._last_words()}")
        return True

    async def _wait_for_room(self) -> None:
        while self._outbox.crowded and not self._closing:
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), _LOOK_AGAIN_S)

    def _listen(
        self, process: subprocess.Popen[bytes], pipe: IO[bytes], overhearing: threading.Thread
    ) -> None:
        try:
            while (frame := link.read_frame(pipe, link.DOWNWARD)) is not None:
                self._soon(self._heard, frame[0])
        except (link.LinkError, OSError, ValueError) as e:
            self._complaints.append(str(e))
        code = process.wait()
        # The process is gone before what it said last is read: without this its death has no reason.
        overhearing.join(_LAST_WORDS_S)
        with contextlib.suppress(OSError):
            pipe.close()
        self._soon(self._ended, process, code)

    def _overhear(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError), pipe:
            for line in pipe:
                self._complaints.append(line.decode(errors="replace").strip()[:300])

    def _thread(self, work: Callable[..., None], *args: object, name: str) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, name=name, daemon=True)
        thread.start()
        return thread

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def _ended(self, process: subprocess.Popen[bytes], code: int) -> None:
        if process is not self._process:
            return
        if self._closing:
            self._over.set()
        else:
            self._gone(f"ended with {code}")

    def _gone(self, how: str) -> None:
        if self._process is not None and self._loop.time() - self._started_at > STEADY_S:
            self._deaths = 0
        self._process = None
        delay = BACKOFF_S[min(self._deaths, len(BACKOFF_S) - 1)]
        self._deaths += 1
        log.warning(
            f"kimi: the engine {how}{self._last_words()}; traffic goes on, recording resumes in {delay:g} s"
        )
        if not self._closing:
            self._retry = self._loop.call_later(delay, self._start_again)
        self._died(self._outbox.detach())
        self._room.set()

    def _start_again(self) -> None:
        if not self._closing:
            self.restarts += 1
            self.put(self.losses())
            self.start()

    def _last_words(self) -> str:
        last = next((f" ({c})" for c in reversed(self._complaints) if c), "")
        self._complaints.clear()
        return last


def _python_path() -> str:
    """The package may run from a checkout that is installed nowhere."""
    root = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def _widen(pipe: IO[bytes]) -> None:
    """A pipe of 1 MB instead of 64 KB where the system allows it: fewer switches per large body."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, 1024 * 1024)
