"""A client run in our place: it has the terminal, gets the signals, and its end is ours.  [I/O]"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import IO, Any

from kimi_mitm.launch.one_shot import Watcher

_FORWARDED = ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")
_TERMINALS_OWN = ("SIGINT", "SIGQUIT", "SIGBREAK")
"""The terminal sends these to the client itself."""
_LAST_WORDS_S = 2.0


class NoCommand(Exception):
    """The command can't be started; `code` is what a shell exits with (127 not found, 126 not runnable)."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """One client. `watcher` looks through its standard error, which it then has through a pipe."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], watcher: Watcher | None = None
    ) -> None:
        self._argv = tuple(argv)
        self._environment = environment
        self._watcher = watcher
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def run(self) -> int:
        """Runs it to its end; gives its exit code, or minus the number of the signal that ended it.

        Raises `NoCommand`.
        """
        path = path_of(self._argv[0], self._environment)
        with self._signals():
            try:
                process = subprocess.Popen(
                    [path if sys.platform == "win32" else self._argv[0], *self._argv[1:]],
                    executable=None if sys.platform == "win32" else path,
                    env=dict(self._environment),
                    stderr=subprocess.PIPE if self._watcher else None,
                )
            except OSError as e:
                raise NoCommand(f"{self._argv[0]}: {e.strerror or e}", 126) from e
            self._process = process
            for number in self._early:
                self._forward(number, None)
            return self._follow(process)

    def _follow(self, process: subprocess.Popen[bytes]) -> int:
        if self._watcher is None or process.stderr is None:
            return _wait(process)
        work = (process.stderr, self._watcher)
        thread = threading.Thread(target=_pass_on, args=work, name="kimi-stderr", daemon=True)
        thread.start()
        code = _wait(process)
        thread.join(_LAST_WORDS_S)  # what it left running may hold the pipe open for ever
        return code

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        before: dict[int, Any] = {}
        for name in (*_FORWARDED, *_TERMINALS_OWN):
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is signal.SIG_IGN:
                continue
            # a handler of Python's own is not inherited, as ignoring the signal would be
            before[number] = signal.signal(number, self._forward if name in _FORWARDED else _leave)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _forward(self, number: int, frame: FrameType | None) -> None:
        if self._process is None:
            self._early.append(number)
        else:
            with contextlib.suppress(OSError):
                self._process.send_signal(number)


def path_of(command: str, environment: Mapping[str, str]) -> str:
    """The program that a command names. Raises `NoCommand`."""
    path = shutil.which(command, path=environment.get("PATH"))
    if path is None:
        raise NoCommand(f"{command}: command not found", 127)
    return path


def end_like(code: int) -> int:
    """Ends this process as the client ended: by the same signal, or by giving its exit code."""
    if code >= 0:
        return code
    number = -code
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        if number != getattr(signal, "SIGKILL", None):
            signal.signal(number, signal.SIG_DFL)
        sys.stdout.flush()
        sys.stderr.flush()
        os.kill(os.getpid(), number)
    return 128 + number


def _leave(number: int, frame: FrameType | None) -> None:
    return None


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Waits; a client that stops itself (Ctrl+Z) stops us too, so that the shell has its terminal again."""
    if sys.platform == "win32":
        return process.wait()
    while True:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode
        # the terminal's own stop held us too: by now both of us may have been continued
        pid, status = os.waitpid(process.pid, os.WNOHANG | os.WCONTINUED)
        if not pid:
            os.kill(os.getpid(), signal.SIGSTOP)
            process.send_signal(signal.SIGCONT)
        elif not os.WIFCONTINUED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode


def _pass_on(pipe: IO[bytes], watcher: Watcher) -> None:
    with contextlib.suppress(OSError, ValueError), pipe:
        while piece := os.read(pipe.fileno(), 65536):
            watcher.feed(piece)
            sys.stderr.buffer.write(piece)
            sys.stderr.buffer.flush()
