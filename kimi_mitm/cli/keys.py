"""Keys as they are pressed, without waiting for a line, on terminals of both kinds.  [I/O]"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator

_POLL_S = 0.1


@contextlib.contextmanager
def keys() -> Iterator[Callable[[], Awaitable[str]]]:
    """Gives a function that waits for the next key. The terminal is as before afterwards.

    Where standard input is no terminal, no key ever comes.
    """
    if not sys.stdin.isatty():
        yield _never
    elif sys.platform == "win32":
        yield _windows
    else:
        with _unbuffered():
            yield _posix


async def _never() -> str:
    await asyncio.Event().wait()
    return ""


async def _windows() -> str:
    if sys.platform != "win32":
        return ""
    import msvcrt

    while not msvcrt.kbhit():  # noqa: ASYNC110 (Windows has no event for it)
        await asyncio.sleep(_POLL_S)
    return msvcrt.getwch()


async def _posix() -> str:
    loop = asyncio.get_running_loop()
    pressed: asyncio.Future[str] = loop.create_future()

    def look() -> None:
        if not pressed.done():
            pressed.set_result(os.read(sys.stdin.fileno(), 1).decode("latin-1"))

    loop.add_reader(sys.stdin.fileno(), look)
    try:
        found = await pressed
    finally:
        loop.remove_reader(sys.stdin.fileno())
    if not found:
        await asyncio.Event().wait()  # the terminal is gone; the end comes as a signal
    return found


@contextlib.contextmanager
def _unbuffered() -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
