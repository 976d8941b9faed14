"""Has the flow files of `-w` carry an exchange's figures.

mitmproxy writes a flow when its answer is there; our figures come a moment later. So while we run, an
exchange's flow waits for them, for at most a second (longer while the engine is still starting), and
then goes the way it would have gone. The client waits for nothing. Reading from a file, a flow waits as
long as the engine needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mitmproxy import ctx, flow, http
from mitmproxy.addons.save import Save

WAIT_S = 1.0
START_S = 20.0
_MOST = 2000
"""More flows than these don't wait."""
_METHODS = ("save_flow", "done")


class FlowFile:
    """Stands before mitmproxy's `save` addon between `start` and `stop`.

    `awaits` says whether a flow's figures are still to come; `settled` is to be called when they came.
    `starting` is True while the engine has not said anything yet. An unknown `save` addon is left alone.
    """

    def __init__(self, awaits: Callable[[http.HTTPFlow], bool], starting: Callable[[], bool]) -> None:
        self._awaits = awaits
        self._starting = starting
        self._save: Any = None
        self._offline = False
        self._waiting: dict[str, tuple[http.HTTPFlow, asyncio.TimerHandle | None]] = {}
        self._done_put_off = False

    def start(self, *, offline: bool) -> None:
        """Takes its place. `offline`: flows come from a file, one after the other."""
        save = ctx.master.addons.get("save")
        if not isinstance(save, Save) or not all(callable(getattr(save, m, None)) for m in _METHODS):
            return
        self._offline = offline
        self._save = save
        for name, ours in zip(_METHODS, (self._save_flow, self._done), strict=True):
            setattr(save, name, ours)

    def stop(self) -> None:
        """Writes what waits and leaves `save` as it was, closed if that was put off until now."""
        if self._save is None:
            return
        self._write_all()
        for name in _METHODS:
            self._save.__dict__.pop(name, None)
        if self._done_put_off:
            self._save.done()
        self._save = None

    def settled(self, settled: http.HTTPFlow) -> None:
        """A flow's figures are final. What was read from a file before it has none coming."""
        if settled.id not in self._waiting:
            return
        if self._offline:
            for flow_id in list(self._waiting):
                self._write(flow_id)
                if flow_id == settled.id:
                    break
        else:
            self._write(settled.id)

    def _save_flow(self, saved: flow.Flow) -> None:
        if not (self._save.stream and isinstance(saved, http.HTTPFlow) and self._awaits(saved)):
            Save.save_flow(self._save, saved)
            return
        _, earlier = self._waiting.pop(saved.id, (None, None))
        if earlier:
            earlier.cancel()
        timer = None
        if not self._offline:
            wait = START_S if self._starting() else WAIT_S
            timer = asyncio.get_running_loop().call_later(wait, self._write, saved.id)
        self._waiting[saved.id] = (saved, timer)
        if len(self._waiting) > _MOST:
            self._write(next(iter(self._waiting)))

    def _done(self) -> None:
        """At the proxy's end the last figures are still to come; any other end is the option's."""
        if ctx.options.save_stream_file:
            self._done_put_off = True
        else:
            for flow_id in list(self._waiting):
                self._save.active_flows.add(self._taken(flow_id))
            Save.done(self._save)

    def _write(self, flow_id: str) -> None:
        Save.save_flow(self._save, self._taken(flow_id))

    def _taken(self, flow_id: str) -> http.HTTPFlow:
        saved, timer = self._waiting.pop(flow_id)
        if timer:
            timer.cancel()
        return saved

    def _write_all(self) -> None:
        for flow_id in list(self._waiting):
            self._write(flow_id)
