"""Lines for mitmproxy's log that may come again and again: said once, then counted."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any, Concatenate

from kimi_mitm.faults import place_of

log = logging.getLogger("kimi_mitm.addon")

QUIET_S = 60.0
_MOST_LINES = 256


class Voice:
    """Says a line at once, and the same line again only after a minute, with how often it would have been.

    `on_fault` is called at each error of our own that was kept from the traffic.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        on_fault: Callable[[], object] = lambda: None,
    ) -> None:
        self._clock = clock
        self._on_fault = on_fault
        self._said: dict[str, tuple[float, int]] = {}

    def say(self, text: str, level: int = logging.WARNING) -> None:
        """One line, unless it was said within the last minute."""
        now = self._clock()
        last, held_back = self._said.get(text, (None, 0))
        if last is not None and now - last < QUIET_S:
            self._said[text] = (last, held_back + 1)
            return
        if len(self._said) >= _MOST_LINES:
            self._said.clear()
        self._said[text] = (now, 0)
        again = f" (and {held_back} times more since)" if held_back else ""
        log.log(level, f"kimi: {text}{again}")

    def fault(self, error: Exception, where: str) -> None:
        """Our own fault, by kind and place, never with content."""
        self.say(f"{where} failed ({place_of(error)}); the traffic is not touched")
        self._on_fault()


def guarded[S: Any, **P, R](
    hook: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[S, P], R | None]:
    """A hook whose own errors stay in it: they are logged through the object's `voice`, once per kind."""

    @functools.wraps(hook)
    def wrapped(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return hook(self, *args, **kwargs)
        except Exception as e:
            self.voice.fault(e, hook.__name__)
            return None

    return wrapped
