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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from kimi_mitm import __version__, link
from kimi_mitm.settings import Settings

log = logging.getLogger(__name__)

QUEUE_LIMIT = 32 * 1024 * 1024
"""Bytes that may wait for the engine. Beyond it bodies are dropped and counted, rows never."""
HURRY_ABOVE = 4 * 1024 * 1024
"""From here on the engine is asked to estimate by length instead of counting."""
_BACKOFF_S = (0.5, 1, 2, 5, 10, 30, 60)


class Child:
    """One engine, whichever process runs it just now.

    `heard` is called on the loop with every message from the engine; `restarted` after a new process
    took the place of one that died. `close` ends it and waits.
    """

    def __init__(
        self,
        settings: Settings,
        heard: Callable[[link.Downward], None],
        restarted: Callable[[], None],
        *,
        command: Sequence[str] = (sys.executable, "-m", "kimi_mitm.engine"),
    ) -> None:
        self._settings = settings
        self._heard = heard
        self._restarted = restarted
        self._command = command
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._outbox: link.Outbox | None = None
        self._closing = False
        self._deaths = 0
        self._retry: asyncio.TimerHandle | None = None
        self._complaints: deque[str] = deque(maxlen=5)
        self.bodies_lost = 0
        self.frames_lost = 0
        self.hurried = 0
        self.restarts = 0

    @property
    def busy(self) -> bool:
        """True while so much waits that exact counting should be put off."""
        return self._outbox is not None and self._outbox.size > HURRY_ABOVE

    def start(self) -> None:
        """Starts a process. A failure is logged, and tried again later."""
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": _python_path(), "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        except OSError as e:
            self._died(f"can't be started: {e}")
            return
        assert process.stdin is not None
        assert process.stderr is not None
        self._process = process
        _widen(process.stdin)
        self._outbox = link.Outbox(process.stdin, QUEUE_LIMIT, lambda error: None)
        self._outbox.put(link.Hello(version=__version__, pid=os.getpid(), settings=self._settings, at=time.time()))
        threading.Thread(target=self._listen, args=(process,), name="kimi-listener", daemon=True).start()
        threading.Thread(
            target=self._overhear, args=(process.stderr,), name="kimi-stderr", daemon=True
        ).start()

    def put(self, head: link.Upward, payload: Sequence[bytes] = ()) -> bool:
        """Hands a frame over; False when it was not taken (full, or no engine)."""
        outbox = self._outbox
        taken = outbox is not None and outbox.put(head, payload, wait=self._settings.offline)
        if not taken:
            if payload:
                self.bodies_lost += 1
            else:
                self.frames_lost += 1
        return taken

    def losses(self) -> link.Lost:
        """What could not be handed over so far."""
        return link.Lost(
            bodies=self.bodies_lost,
            frames=self.frames_lost,
            hurried=self.hurried,
            restarts=self.restarts,
        )

    async def close(self, limit_s: float | None) -> bool:
        """Asks the engine to finish and waits for it; False when it took longer than `limit_s`.

        It is not killed then: it sees the end of its pipe and finishes by itself.
        """
        self._closing = True
        if self._retry:
            self._retry.cancel()
        process, outbox = self._process, self._outbox
        if process is None or outbox is None:
            return True
        outbox.put(self.losses())
        outbox.put(link.Stop())
        outbox.close()
        ended = asyncio.Event()

        def wait() -> None:
            process.wait()
            self._soon(ended.set)

        threading.Thread(target=wait, name="kimi-waiter", daemon=True).start()
        try:
            async with asyncio.timeout(limit_s):
                await ended.wait()
        except TimeoutError:
            return False
        return True

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        pipe = process.stdout
        try:
            while (frame := link.read_frame(pipe, link.DOWNWARD)) is not None:
                self._soon(self._heard, frame[0])
        except (link.LinkError, OSError, ValueError) as e:
            self._complaints.append(str(e))
        code = process.wait()
        pipe.close()
        self._soon(self._ended, process, code)

    def _overhear(self, pipe: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError), pipe:
            for line in pipe:
                self._complaints.append(line.decode(errors="replace").strip()[:300])

    def _soon(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)

    def _ended(self, process: subprocess.Popen[bytes], code: int) -> None:
        if process is self._process and not self._closing:
            self._died(f"ended with {code}")

    def _died(self, how: str) -> None:
        self._process = None
        if self._outbox:
            self._outbox.close()
        self._outbox = None
        delay = _BACKOFF_S[min(self._deaths, len(_BACKOFF_S) - 1)]
        self._deaths += 1
        last = next((f" ({c})" for c in reversed(self._complaints) if c), "")
        log.warning(f"kimi: the engine {how}{last}; traffic goes on, recording resumes in {delay:g} s")
        self._complaints.clear()
        self._retry = self._loop.call_later(delay, self._start_again)

    def _start_again(self) -> None:
        if self._closing:
            return
        self.restarts += 1
        self.start()
        if self._process is not None:
            self._restarted()
            self.put(self.losses())

    def settled(self) -> None:
        """The engine works: the next death is a first one again."""
        self._deaths = 0


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
