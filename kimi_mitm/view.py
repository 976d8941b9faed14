"""Figures on flows, for mitmproxy's own views: comment, marker, metadata."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING

from mitmproxy import ctx, hooks
from mitmproxy.utils import asyncio_utils

if TYPE_CHECKING:
    from mitmproxy import http

    from kimi_mitm import link

log = logging.getLogger(__name__)


class Annotator:
    """Writes the engine's figures onto the flows that are still there."""

    def __init__(self) -> None:
        self._flows: weakref.WeakValueDictionary[str, http.HTTPFlow] = weakref.WeakValueDictionary()
        self._ours: dict[str, str] = {}

    def watch(self, flow: http.HTTPFlow) -> None:
        """The engine may have something to say about this flow."""
        self._flows[flow.id] = flow

    def apply(self, note: link.Note) -> None:
        """Writes one note; a comment or marker that the user set stays."""
        if note.line:
            log.info(note.line)
        flow = self._flows.get(note.flow_id)
        if flow is None:
            return
        if not flow.comment or flow.comment == self._ours.get(flow.id):
            flow.comment = note.comment
            self._ours[flow.id] = note.comment
        if not flow.marked or flow.marked == flow.metadata.get("kimi.marker"):
            flow.marked = note.marker
        flow.metadata.update(note.metadata)
        if ctx.master.addons.get("view") is not None:
            asyncio_utils.create_task(
                ctx.master.addons.trigger_event(hooks.UpdateHook([flow])),
                name="kimi update",
                keep_ref=True,
            )
