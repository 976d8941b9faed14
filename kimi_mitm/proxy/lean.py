"""Leaves mitmproxy faster than we found it: `kimi_lean`.

Two thirds of what mitmproxy 12 spends on a small request goes into asking some thirty addons, with a
context manager each, whether they have a hook for one of eight events; and a full garbage collection
stops every stream for some 60 ms. So, once started: what was allocated so far is frozen out of the
collector, the proxy's own debug log is silenced, and `AddonManager.trigger_event` asks only the
addons that have the hook and something to do.

This replaces a private method, so it is guarded: an unknown mitmproxy is left as it is. Options keep
working when they are set while running, and scripts may still be added, reloaded and removed.
"""

from __future__ import annotations

import gc
import inspect
import logging
from collections.abc import Callable
from typing import Any

from mitmproxy import addonmanager, exceptions, hooks
from mitmproxy.master import Master

_IDLE_UNLESS: dict[str, str] = {
    "anticache": "anticache",
    "anticomp": "anticomp",
    "blocklist": "block_list",
    "maplocal": "map_local",
    "mapremote": "map_remote",
    "modifybody": "modify_body",
    "modifyheaders": "modify_headers",
    "proxyauth": "proxyauth",
    "save": "save_stream_file",
    "savehar": "hardump",
    "stickyauth": "stickyauth",
    "stickycookie": "stickycookie",
    "upstreamauth": "upstream_auth",
}
"""Built-in addon → the option without which each of its flow hooks returns at once (mitmproxy 12)."""

_TRIGGER_EVENT_SOURCE = ("for i in self.chain:", "await self.invoke_addon(i, event)")


class Lean:
    """The housekeeping of one master; `stop` puts everything back."""

    def __init__(self, master: Master) -> None:
        self._master = master
        self._manager: Any = master.addons
        self._having: dict[str, list[tuple[Any, Callable[..., Any]]]] = {}
        self._asking_everyone = self._manager.trigger_event
        self._proxy_log = logging.getLogger("mitmproxy.proxy")
        self._level = self._proxy_log.level
        self._patched: list[str] = []

    def start(self) -> bool:
        """Takes effect; False when this mitmproxy is not one that we know, and only memory was tidied."""
        if getattr(self._master.options, "termlog_verbosity", "info") != "debug":
            self._proxy_log.setLevel(logging.WARNING)
        known = _known(self._manager)
        if known:
            self._wrap("register", self._forgetting(self._manager.register))
            self._wrap("remove", self._forgetting(self._manager.remove))
            self._wrap("trigger_event", self._trigger_event)
            self._master.options.changed.connect(self._options_changed)
        gc.collect()
        gc.freeze()
        return known

    def stop(self) -> None:
        """Leaves mitmproxy as it was."""
        self._proxy_log.setLevel(self._level)
        for name in self._patched:
            self._manager.__dict__.pop(name, None)
        if self._patched:
            self._master.options.changed.disconnect(self._options_changed)
        self._patched.clear()
        self._having.clear()
        gc.unfreeze()

    def _wrap(self, name: str, function: Callable[..., Any]) -> None:
        setattr(self._manager, name, function)
        self._patched.append(name)

    def _forgetting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(addon: Any) -> Any:
            try:
                return function(addon)
            finally:
                self._having.clear()

        return wrapped

    def _options_changed(self, updated: set[str]) -> None:
        self._having.clear()

    async def _trigger_event(self, event: hooks.Hook) -> None:
        having = self._having.get(event.name)
        if having is None:
            if event.name in _LIFECYCLE:
                await self._asking_everyone(event)
                return
            having = self._find(event.name)
        args = event.args()
        for _, function in having:
            try:
                result = function(*args)
                if result is not None and inspect.isawaitable(result):
                    await result
            except exceptions.AddonHalt:
                return
            except Exception as e:
                with addonmanager.safecall():
                    raise e

    def _find(self, name: str) -> list[tuple[Any, Callable[..., Any]]]:
        options = self._master.options
        having = []
        for addon in addonmanager.traverse(self._manager.chain):
            function = getattr(addon, name, None)
            if not callable(function):
                continue
            option = _IDLE_UNLESS.get(type(addon).__name__.lower())
            ours = type(addon).__module__.startswith("mitmproxy.addons.")
            if ours and option is not None and not getattr(options, option, True):
                continue
            having.append((addon, function))
        self._having[name] = having
        return having


_LIFECYCLE = frozenset({"load", "configure", "running", "done"})
"""Rare, and what answers them may change who is there: asked as mitmproxy asks."""


def _known(manager: Any) -> bool:
    try:
        source = inspect.getsource(type(manager).trigger_event)
    except (OSError, TypeError):
        return False
    return all(line in source for line in _TRIGGER_EVENT_SOURCE)
