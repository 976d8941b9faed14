"""What mitmproxy's own views show of us: figures on flows, the view LLM, flow files, commands."""

from __future__ import annotations

import asyncio
import importlib
import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from mitmproxy import contentviews, ctx, hooks
from mitmproxy.utils import asyncio_utils

from kimi_mitm.views.contentview import LLM
from kimi_mitm.views.flow_file import FlowFile

if TYPE_CHECKING:
    from mitmproxy import http
    from mitmproxy.addonmanager import Loader

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
        self.silent = True
        """No note has come yet: the engine is only starting."""

    def watch(self, flow: http.HTTPFlow) -> None:
        """The engine will have something to say about this flow."""
        self._flows[flow.id] = flow
        self._unsettled.add(flow)

    def awaits(self, flow: http.HTTPFlow) -> bool:
        """Whether the flow's figures are not final yet. A WebSocket may always have another turn."""
        return flow in self._unsettled or (flow.websocket is not None and flow.id in self._flows)

    def apply(self, note: link.Note) -> None:
        """Writes one note."""
        self.silent = False
        flow = self._flows.get(note.flow_id)
        if flow is not None:
            self._apply(flow, note)
        if note.line:
            log.info(note.line)

    def _apply(self, flow: http.HTTPFlow, note: link.Note) -> None:
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


class View:
    """An addon beside the recorder's: the view LLM, mitmweb's comment column, and flow files that wait for
    the annotator's figures. `offline` says whether flows are read from a file."""

    name = "kimi.view"

    def __init__(self, annotator: Annotator, offline: Callable[[], bool]) -> None:
        self._offline = offline
        self._flow_file = FlowFile(annotator.awaits, lambda: annotator.silent)
        annotator.settled = self._flow_file.settled

    def load(self, loader: Loader) -> None:
        contentviews.add(LLM())

    def running(self) -> None:
        self._flow_file.start(offline=self._offline())
        if "web_columns" in ctx.options:
            _show_comments()
        if ctx.master.addons.get("view") is not None:
            asyncio.get_running_loop().run_in_executor(None, _load_formats)

    def done(self) -> None:
        self._flow_file.stop()


def _show_comments() -> None:
    """Adds mitmweb's comment column, unless the user chose columns. A name that it doesn't know would blank
    every row, so an unknown mitmweb is left alone."""
    try:
        from mitmproxy.tools.web.web_columns import AVAILABLE_WEB_COLUMNS
    except ImportError:
        return
    if "comment" in AVAILABLE_WEB_COLUMNS and not ctx.options.has_changed("web_columns"):
        ctx.options.update(web_columns=[*ctx.options.web_columns, "comment"])


def _load_formats() -> None:
    """In a thread, before anybody looks at a body."""
    importlib.import_module("kimi_mitm.views.answer_text")
    importlib.import_module("kimi_mitm.views.prompt_text")
