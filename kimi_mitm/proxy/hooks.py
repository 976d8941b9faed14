"""mitmproxy's hooks of one exchange, from its request's head to its end.

The order of hooks and their traps are mitmproxy 12's: exactly one of `response` and `error` ends a
live flow, an aborted flow from a file gets both, a WebSocket's `response` comes at its start, and an
answer may come before its request is complete. No error of ours leaves a hook.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from kimi_mitm import sieve
from kimi_mitm.proxy import unread
from kimi_mitm.proxy.capture import Capture
from kimi_mitm.proxy.child import Child
from kimi_mitm.proxy.control_host import ControlHost
from kimi_mitm.proxy.people import HEADER, People
from kimi_mitm.proxy.recorder import Recorder
from kimi_mitm.proxy.voice import Voice, guarded
from kimi_mitm.views.annotator import Annotator

if TYPE_CHECKING:
    from mitmproxy import http

LINGER_S = 5.0
"""So long after its connection an exchange is ended for which no hook said so."""
_BIDIRECTIONAL = ("application/connect+", "application/grpc")
_CLEAN_CLOSE = (1000, 1001, 1005)


class Hooks:
    """What the addon does with flows. `recorder` is None while nothing is recorded."""

    def __init__(self) -> None:
        self.voice = Voice(on_fault=self._count_fault)
        self.child: Child | None = None
        self.recorder: Recorder | None = None
        self.people = People()
        self.annotator = Annotator()
        self.control = ControlHost()
        self.offline = False

    @guarded
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        recorder, request = self.recorder, flow.request
        if recorder is None:
            return
        kept, aside = sieve.sift(request.data.headers.fields)
        if HEADER in aside:
            self.people.take(flow)
        place = recorder.place(request, kept)
        concerned = flow.live and self.control.concerns(place.host, request.data.port)
        if concerned and self.control.route(flow):
            return
        user = self.people.user(flow, aside.get("x-user-id"))
        asked = recorder.ask(flow, place, kept, user, self.people.run(flow.client_conn.id))
        if kept.get("content-type", "").startswith(_BIDIRECTIONAL):
            request.stream = request.stream or True
            if asked:
                self._open(flow, None, 0)
        elif asked and request.stream:
            unread.follow_request(flow, recorder.budget)

    @guarded
    def request(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        body, size = unread.request_body(flow)
        if self.recorder is None or not self.recorder.asked(flow):
            return None
        if flow.is_replay == "response" or unread.may_be_replayed():
            return None  # the hook of the answer knows
        self._open(flow, body, size)
        return self._pause(flow)

    @guarded
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        recorder, response = self.recorder, flow.response
        if recorder is None or response is None:
            return
        capture = recorder.of(flow) or self._open_late(flow)
        if capture is not None:
            recorder.answer(flow, capture)
            if flow.live and response.data.status_code != 101 and not unread.must_hold(flow):
                unread.tap(response, capture.tap)
        elif self.control.routed(flow):
            response.stream = True
        elif flow.live:
            unread.pass_through(flow, recorder.budget)

    @guarded
    def response(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        return self._over(flow)

    @guarded
    def error(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if self.recorder is not None and self.recorder.of(flow) is None:
            self._open_late(flow)
        unread.request_body(flow)
        return self._over(flow)

    @guarded
    def websocket_message(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        if self.recorder is None or flow.websocket is None:
            return None
        capture = self.recorder.of(flow)
        if capture is not None:
            self.recorder.message(flow, capture)
        if flow.live and self.recorder.crowded(flow, len(flow.websocket.messages[-1].content)):
            del flow.websocket.messages[:-1]
        return self._pause(flow)

    @guarded
    def websocket_end(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        capture = self.recorder.of(flow) if self.recorder else None
        if self.recorder is not None:
            self.recorder.forget(flow)
        if self.recorder is None or capture is None or flow.websocket is None:
            return None
        code = flow.websocket.close_code
        error = None if code in _CLEAN_CLOSE else f"the WebSocket was closed with {code}"
        self.recorder.end(capture, flow.websocket.timestamp_end or time.time(), error)
        return self._pause(flow)

    def _open(self, flow: http.HTTPFlow, body: bytes | None, size: int) -> Capture | None:
        capture = self.recorder.open(flow, body, size=size) if self.recorder else None
        if capture is not None:
            self.annotator.watch(flow)
        return capture

    def _open_late(self, flow: http.HTTPFlow) -> Capture | None:
        """The end came before the request's own, or what answers it had to be waited for."""
        if self.recorder is None or not self.recorder.asked(flow):
            return None
        if flow.is_replay == "response":
            self.recorder.forget(flow)
            return None
        return self._open(flow, *unread.known_of_request(flow))

    def _over(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        recorder = self.recorder
        capture = recorder.of(flow) if recorder else None
        if recorder is None or capture is None:
            if recorder is not None:
                recorder.forget(flow)
            unread.restore(flow)
            return None
        if flow.websocket is not None:
            return None
        response = flow.response
        ended = (response.data.timestamp_end if response else None) or (
            flow.error.timestamp if flow.error else None
        )
        if response is not None:
            content = response.raw_content
            tapped = unread.untap(response, capture.tap)
            if not capture.size and content:
                capture.whole(content, ended or time.time())
            elif content is None and tapped:
                response.raw_content = capture.body()
        recorder.end(capture, ended or time.time(), flow.error.msg if flow.error else None)
        return self._pause(flow)

    def end_left(self, connection: str) -> None:
        """A client is gone. What no hook ends soon on its connection (another addon may have halted them)
        is ended then."""
        left = self.recorder.of_connection(connection) if self.recorder else []
        if left:
            asyncio.get_running_loop().call_later(LINGER_S, self._end_left, left)

    def _count_fault(self) -> None:
        if self.child is not None and self.recorder is not None:
            self.child.faults += 1
            self.recorder.tell_soon()

    def _end_left(self, left: Sequence[Capture]) -> None:
        for capture in left:
            if self.recorder is not None:
                self.recorder.end(capture, time.time(), "the client's connection was closed")

    def _pause(self, flow: http.HTTPFlow) -> Awaitable[None] | None:
        """What a reader of files waits for before it reads on; a live flow never waits."""
        return None if flow.live or self.child is None else self.child.room()
