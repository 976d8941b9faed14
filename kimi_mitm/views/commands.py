"""mitmproxy's commands: what can be said is said at once, the rest comes in the event log.

A command of mitmproxy can't wait, and the proxy's loop must not. So commands answer from the state that
the engine told last, or ask it and log its answer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import webbrowser
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import mitmproxy.types
from mitmproxy import ctx
from mitmproxy.log import ALERT

from kimi_mitm import link
from kimi_mitm.notes import short

if TYPE_CHECKING:
    from mitmproxy.addonmanager import Loader

log = logging.getLogger(__name__)

_NOT_RUNNING = "kimi is not running"
_LATER = "asked; the answer is in the event log"
_MOST_WAITING = 100


class Commands:
    """An addon beside the recorder's. `put` hands a frame to the engine and says whether it was taken;
    `page` gives the control page's address, None while it is off."""

    name = "kimi.commands"

    def __init__(self, put: Callable[[link.Call], bool], page: Callable[[], str | None]) -> None:
        self._put = put
        self._page = page
        self._numbers = itertools.count(1)
        self._waiting: dict[int, str] = {}
        self._state: link.State | None = None

    def load(self, loader: Loader) -> None:
        loader.add_command("kimi.toggle", self.toggle)
        loader.add_command("kimi.session.new", self.new_session)
        loader.add_command("kimi.session.end", self.end_session)
        loader.add_command("kimi.sessions", self.sessions)
        loader.add_command("kimi.stats", self.stats)
        loader.add_command("kimi.export", self.export)
        loader.add_command("kimi.open", self.open_page)

    def told(self, state: link.State) -> None:
        """The engine says how things are."""
        self._state = state

    def answered(self, reply: link.Reply) -> None:
        """The engine answers what a command asked."""
        name = self._waiting.pop(reply.n, None)
        if name is None:
            return
        if reply.error is not None:
            log.warning(f"kimi.{name}: {reply.error}")
            return
        _say(f"kimi.{name}", str(reply.value).splitlines())

    def toggle(self) -> str:
        """Switch automatic sessions on or off: whether a change of provider begins a new session."""
        if not self._ask("toggle"):
            return _NOT_RUNNING
        if self._state is None:
            return _LATER
        return f"automatic sessions: {_on(self._state.auto_session)} → {_on(not self._state.auto_session)}"

    def new_session(self, name: str = "", user: str = "") -> str:
        """Begin a new session, for the user who was active last unless another is named."""
        if not self._ask("session.new", name=name, user=user):
            return _NOT_RUNNING
        before = next((f", after {_line(s)}" for s in self._sessions() if s.current), "")
        return f"a new session{before}; its id is in the event log"

    def end_session(self, session: str = "") -> str:
        """End and archive a session: the one used last, or the one whose id begins so."""
        found = next((s for s in self._sessions() if s.id.startswith(session)), None)
        if self._state is not None and found is None:
            return "there is no such live session"
        if not self._ask("session.end", session=found.id if found else session):
            return _NOT_RUNNING
        return f"ending {_line(found)}" if found else _LATER

    def sessions(self) -> str:
        """List the live sessions, those used last first."""
        if self._state is None:
            return _NOT_RUNNING
        lines = [_line(s) for s in self._sessions()]
        if self._state.live > len(lines):
            lines.append(f"and {self._state.live - len(lines)} more")
        _say("kimi.sessions", lines)
        return "\n".join(lines) or "no live session"

    def stats(self, session: str = "") -> str:
        """Log what all recorded exchanges, or a session's, add up to."""
        return _LATER if self._ask("stats", session=session) else _NOT_RUNNING

    def export(self, path: mitmproxy.types.Path) -> str:
        """Write every recorded exchange to a file: as CSV if its name ends so, else a JSON object a line."""
        whole = os.path.abspath(os.path.expanduser(path))
        return f"writing {whole}; see the event log" if self._ask("export", path=whole) else _NOT_RUNNING

    def open_page(self) -> str:
        """Open the control page in a browser, and tell its address."""
        url = self._page()
        if url is None:
            return "the control endpoint is off (see kimi_control)"
        asyncio.get_running_loop().run_in_executor(None, _browse, url)
        return url

    def _sessions(self) -> Iterator[link.LiveSession]:
        return iter(self._state.sessions if self._state else ())

    def _ask(self, asked: str, **args: str) -> bool:
        n = next(self._numbers)
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting.clear()
        self._waiting[n] = asked
        if self._put(link.Call(n=n, name=asked, args=args)):
            return True
        del self._waiting[n]
        return False


def _say(name: str, lines: Iterable[str]) -> None:
    """Alerts are shown in the console's bottom line, but not at all in mitmweb's event log."""
    level = ALERT if ctx.master.addons.get("consoleaddon") else logging.INFO
    for line in lines:
        log.log(level, f"{name}: {line}")


def _on(enabled: bool) -> str:
    return "on" if enabled else "off"


def _line(session: link.LiveSession) -> str:
    said = [
        f"{session.id[:10]} {session.user}/{session.client or 'any client'}",
        session.name,
        session.model or session.provider,
        f"{session.requests} exchange{'s' * (session.requests != 1)}",
        f"{short(session.tokens)} in" if session.tokens is not None else None,
        f"{session.percent:.0f} %" if session.percent is not None else None,
        session.cost,
        "current" if session.current else None,
    ]
    return " · ".join(filter(None, said))


def _browse(url: str) -> None:
    """A window, never a browser in the terminal that mitmproxy uses."""
    for name in ("windows-default", "macosx", "wslview %s", "xdg-open", "gnome-open", "x-www-browser"):
        try:
            browser = webbrowser.get(name)
        except webbrowser.Error:
            continue
        if browser.open(url):
            return
    log.info(f"kimi.open: no browser found; open {url}")
