"""Figures on flows, for mitmproxy's own views: comment, marker, metadata."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from mitmproxy import ctx, hooks
from mitmproxy.utils import asyncio_utils

if TYPE_CHECKING:
    from mitmproxy import http

    from kimi_mitm import link

log = logging.getLogger(__name__)

UPDATE_S = 0.5
"""At least so long between two updates of one flow: each makes mitmweb hash both of its bodies."""
COMMENT_KEY = "kimi.comment"
MARKER_KEY = "kimi.marker"


class Annotator:
    """Writes the engine's figures onto the flows that are still there.

    The keys `kimi.comment` and `kimi.marker` of a flow's metadata hold what we wrote last: where comment
    or marker differ from it, they are the user's and stay. That holds for flows read from a file too.
    `settled` is called with each flow whose figures are final.
    """

    def __init__(self, settled: Callable[[http.HTTPFlow], None] = lambda flow: None) -> None:
        self.settled = settled
        self._flows: weakref.WeakValueDictionary[str, http.HTTPFlow] = weakref.WeakValueDictionary()
        self._unsettled: weakref.WeakSet[http.HTTPFlow] = weakref.WeakSet()
        self._resting: dict[str, bool] = {}

    def watch(self, flow: http.HTTPFlow) -> None:
        """The engine will have something to say about this flow."""
        self._flows[flow.id] = flow
        self._unsettled.add(flow)

    def awaits(self, flow: http.HTTPFlow) -> bool:
        """Whether the flow's figures are not final yet. A WebSocket may always have another turn."""
        return flow in self._unsettled or (flow.websocket is not None and flow.id in self._flows)

    def apply(self, note: link.Note) -> None:
        """Writes one note."""
        if note.line:
            log.info(note.line)
        flow = self._flows.get(note.flow_id)
        if flow is None:
            return
        _write(flow, note)
        if note.settled:
            self._unsettled.discard(flow)
            self.settled(flow)
        if flow.id in self._resting:
            self._resting[flow.id] = True
        elif ctx.master.addons.get("view") is not None:
            self._show(flow)

    def _show(self, flow: http.HTTPFlow) -> None:
        asyncio_utils.create_task(
            ctx.master.addons.trigger_event(hooks.UpdateHook([flow])), name="kimi update", keep_ref=True
        )
        self._resting[flow.id] = False
        asyncio.get_running_loop().call_later(UPDATE_S, self._rested, flow.id)

    def _rested(self, flow_id: str) -> None:
        changed = self._resting.pop(flow_id, False)
        flow = self._flows.get(flow_id)
        if changed and flow is not None:
            self._show(flow)


def _write(flow: http.HTTPFlow, note: link.Note) -> None:
    metadata = flow.metadata
    values: dict[str, str | int | float | bool | None] = dict(note.metadata)
    if flow.comment == metadata.get(COMMENT_KEY, ""):
        flow.comment = values[COMMENT_KEY] = note.comment
    if flow.marked == metadata.get(MARKER_KEY, ""):
        flow.marked = values[MARKER_KEY] = note.marker
    for key in [k for k in metadata if k.startswith("kimi.") and k not in values]:
        if key not in (COMMENT_KEY, MARKER_KEY):
            del metadata[key]
    metadata.update(values)
