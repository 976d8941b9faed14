"""The recorder: mitmproxy's hooks. Each recognises, hands over to the engine, and returns.

The order of hooks and their traps are mitmproxy 12's: exactly one of `response` and `error` ends a
live flow, an aborted flow from a file gets both, a WebSocket's `response` comes at its start.
A script reload calls `done` and `running` synchronously, so both are plain functions that return a
task; the old instance's task is awaited by the new one, which then finds its port free.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import uuid
import weakref
from collections.abc import Sequence

import msgspec
from mitmproxy import ctx, exceptions, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import server_hooks

from kimi_mitm import __version__, link, options, recognise, redact, unread
from kimi_mitm.capture import KEEP_SOCKET, Budget, Capture
from kimi_mitm.child import Child
from kimi_mitm.control_host import ControlHost
from kimi_mitm.gate import Gate
from kimi_mitm.lean import Lean
from kimi_mitm.people import People
from kimi_mitm.records import Operation
from kimi_mitm.settings import Settings
from kimi_mitm.view import Annotator

log = logging.getLogger(__name__)

_NAMESPACE = uuid.UUID("6b1d9a52-4d0c-5a5e-9c55-1f4f0f6f2b3a")
_TICK_S = 0.25
_EXIT_LIMIT_S = 10.0
_UNSURE = recognise.Candidate(None, Operation.OTHER, None, certain=False)
"""A POST to a host that the user named: its body decides."""
_BIDIRECTIONAL = ("application/connect+", "application/grpc")

_stopping: asyncio.Task[None] | None = None
"""The previous instance's end; it outlives a script reload, which does not import this module again."""


class KimiMitm:
    """One recorder; state is made in `running` and given up in `done`."""

    name = "kimi"

    def __init__(self) -> None:
        self.settings: Settings | None = None
        self.child: Child | None = None
        self.gate = Gate()
        self.people = People()
        self.annotator = Annotator()
        self.control = ControlHost()
        self._numbers = itertools.count(1)
        self._budget = Budget()
        self._candidates: dict[str, recognise.Candidate] = {}
        self._live: dict[str, Capture] = {}
        self._requests: weakref.WeakValueDictionary[str, http.HTTPFlow] = weakref.WeakValueDictionary()
        self._socket_bytes: dict[str, int] = {}
        self._ticking = False
        self._started: asyncio.Task[None] | None = None
        self._lean: Lean | None = None
        self._said_losses = link.Lost(bodies=0, frames=0, hurried=0, restarts=0)

    def load(self, loader: Loader) -> None:
        options.declare(loader)

    def configure(self, updated: set[str]) -> None:
        settings = options.read(ctx.options)
        if self._started is not None and self.settings is not None and settings != self.settings:
            changed = [n for n in updated if n.startswith("kimi_")]
            raise exceptions.OptionsError(
                f"{', '.join(sorted(changed))}: takes effect at the next start only"
            )
        self.settings = settings
        self.gate = Gate(settings.hosts, settings.intercept_all)

    def running(self) -> asyncio.Task[None]:
        self._started = asyncio.create_task(self._start())
        return self._started

    def done(self) -> asyncio.Task[None]:
        global _stopping
        _stopping = asyncio.create_task(self._stop())
        return _stopping

    async def _start(self) -> None:
        if _stopping:
            await _stopping
        if self.settings is None:
            return
        offline = bool(ctx.options.rfile) and not ctx.options.server
        self.settings = msgspec.structs.replace(self.settings, offline=offline)
        self.child = Child(self.settings, self._heard, self._resend)
        self.child.start()
        log.info(f"kimi {__version__} active")
        if self.settings.lean:
            self._lean = Lean(ctx.master)
            if not self._lean.start():
                log.info("kimi_lean: this mitmproxy is not known, its addons are left as they are")

    async def _stop(self) -> None:
        if self._started is not None:
            await asyncio.wait([self._started])
        if self._lean:
            self._lean.stop()
        if self.child is None or self.settings is None:
            return
        for capture in list(self._live.values()):
            self._finish(capture, time.time(), "the proxy was stopped")
        limit = None if self.settings.offline else _EXIT_LIMIT_S
        if not await self.child.close(limit):
            log.warning(f"kimi: the engine still works after {limit:g} s and finishes by itself")
        self.child = None

    # What passes undecrypted

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        if ctx.options.allow_hosts or data.context.client.proxy_mode.type_name == "reverse":
            return
        address = data.context.server.address
        host = data.client_hello.sni or (address[0] if address else None)
        if not self.gate.decrypts(host):
            data.ignore_connection = True

    def tls_established_client(self, data: tls.TlsData) -> None:
        if data.conn.sni:
            self.gate.accepted(data.conn.sni)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        host = data.conn.sni
        if host and self.gate.refused(host, data.conn.error or ""):
            log.warning(
                f"kimi: clients refuse our certificate for {host}; it is passed through unread from now on. "
                f"Make the client trust mitmproxy's CA (see certs/README.md) and restart the proxy."
            )
            self._put(link.Tls(host=host, at=time.time()))

    # Who is talking

    def http_connect(self, flow: http.HTTPFlow) -> None:
        self.people.connect(flow)
        self.control.refuse_connect(flow)

    async def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        await self.control.guard(data)

    def client_disconnected(self, client: object) -> None:
        conn = getattr(client, "id", "")
        self.people.forget(conn)
        self.control.forget(conn)
        self._put(link.Gone(conn=conn, at=time.time()))

    # One exchange

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        self.people.request(flow)
        if self.control.route(flow):
            return
        request = flow.request
        if request.headers.get("content-type", "").startswith(_BIDIRECTIONAL):
            request.stream = True
            return
        candidate = recognise.look(
            request.method, request.pretty_host, request.port, request.path, _lower(request.headers)
        )
        if candidate is None and request.method == "POST" and self.gate.wanted(request.pretty_host):
            candidate = _UNSURE
        if candidate is None or candidate.operation is Operation.COUNT_TOKENS or flow.is_replay == "response":
            return
        self._candidates[flow.id] = candidate
        if request.stream:
            unread.follow_request(flow, self._budget)

    def request(self, flow: http.HTTPFlow) -> None:
        candidate = self._candidates.pop(flow.id, None)
        if candidate is None:
            return
        body = flow.request.raw_content
        if body is None:
            body = unread.request_body(flow)
        encoded = "content-encoding" in flow.request.headers
        if not (candidate.certain or encoded) and not recognise.sniff(body or b""):
            return
        self._open(flow, candidate, body)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        assert flow.response is not None
        capture = self._live.get(flow.id)
        if capture is None:
            if flow.live and not self.control.routed(flow):
                unread.pass_through(flow, self._budget)
            return
        capture.answered = link.Answered(
            n=capture.opened.n,
            at=flow.response.timestamp_start or time.time(),
            status=flow.response.status_code,
            headers=dict(redact.headers(_lower(flow.response.headers).items())),
        )
        self._put(capture.answered)
        if flow.live and not capture.opened.websocket:
            flow.response.stream = capture.tap

    def response(self, flow: http.HTTPFlow) -> None:
        capture = self._live.get(flow.id)
        if capture is None:
            unread.restore(flow)
            return
        if flow.websocket is None:
            self._end(flow, capture)

    def error(self, flow: http.HTTPFlow) -> None:
        self._candidates.pop(flow.id, None)
        capture = self._live.get(flow.id)
        if capture is None:
            unread.restore(flow)
        elif flow.websocket is None:
            self._end(flow, capture)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        capture = self._live.get(flow.id)
        if capture is None or flow.websocket is None:
            return
        message = flow.websocket.messages[-1]
        said = link.Said(
            n=capture.opened.n,
            at=message.timestamp,
            from_client=message.from_client,
            text=message.is_text,
        )
        if not self._put(said, [message.content]):
            capture.missed([message.content])
        held = self._socket_bytes.get(flow.id, 0) + len(message.content)
        if flow.live and held > KEEP_SOCKET:
            del flow.websocket.messages[:-1]
            held = len(message.content)
        self._socket_bytes[flow.id] = held

    def websocket_end(self, flow: http.HTTPFlow) -> None:
        self._socket_bytes.pop(flow.id, None)
        capture = self._live.get(flow.id)
        if capture is None or flow.websocket is None:
            return
        code = flow.websocket.close_code
        error = None if code in (1000, 1001, 1005) else f"WebSocket closed with {code}"
        self._finish(capture, flow.websocket.timestamp_end or time.time(), error)

    def _open(self, flow: http.HTTPFlow, candidate: recognise.Candidate, body: bytes | None) -> None:
        child, request = self.child, flow.request
        if child is None:
            return
        headers = _lower(request.headers)
        opened = link.Opened(
            n=next(self._numbers),
            flow_id=flow.id,
            exchange_id=str(uuid.uuid5(_NAMESPACE, f"{flow.id} {request.timestamp_start!r}")),
            at=request.timestamp_start,
            method=request.method,
            url=redact.url(request.pretty_url),
            host=request.pretty_host,
            path=request.path.split("?", 1)[0],
            headers=dict(redact.headers(headers.items())),
            user=self.people.user(flow, headers),
            conn=flow.client_conn.id,
            client_address=flow.client_conn.peername[0] if flow.client_conn.peername else None,
            wire_format=candidate.wire_format,
            operation=candidate.operation,
            served_by=candidate.served_by,
            certain=candidate.certain,
            poll=candidate.poll,
            websocket=headers.get("upgrade", "").lower() == "websocket",
            live=flow.live,
            size=len(body or b""),
            body="whole" if body is not None else "cut",
            hurry=child.busy and not self._offline,
        )
        child.hurried += opened.hurry
        capture = Capture(opened, self._budget)
        self._live[flow.id] = capture
        self._requests[flow.id] = flow
        self.annotator.watch(flow)
        self._send_opening(capture, body)
        self._keep_ticking()

    def _send_opening(self, capture: Capture, body: bytes | None) -> None:
        if self._put(capture.opened, [body] if body else ()):
            return
        self._put(msgspec.structs.replace(capture.opened, body="dropped", hurry=True))

    def _end(self, flow: http.HTTPFlow, capture: Capture) -> None:
        response, error = flow.response, flow.error.msg if flow.error else None
        ended = (response.timestamp_end if response else None) or (
            flow.error.timestamp if flow.error else None
        )
        if response is not None and flow.live:
            body = capture.body()
            if body is not None:
                response.raw_content = body
            response.stream = True
        elif response is not None and response.raw_content:
            times = [response.timestamp_end or response.timestamp_start or 0.0]
            whole = link.Pieces(n=capture.opened.n, times=times, sizes=[len(response.raw_content)])
            self._put(whole, [response.raw_content])
        self._finish(capture, ended or time.time(), error)

    def _finish(self, capture: Capture, at: float, error: str | None) -> None:
        if capture.finished:
            return
        self._send_pieces(capture)
        self._put(link.Ended(n=capture.opened.n, at=at, error=error, lost=capture.lost))
        capture.release()
        self._live.pop(capture.opened.flow_id, None)

    # Handing over

    @property
    def _offline(self) -> bool:
        return self.settings is not None and self.settings.offline

    def _put(self, head: link.Upward, payload: Sequence[bytes] = ()) -> bool:
        return self.child is not None and self.child.put(head, payload)

    def _send_pieces(self, capture: Capture) -> None:
        taken = capture.take()
        if taken is not None and not self._put(*taken):
            capture.missed(taken[1])

    def _keep_ticking(self) -> None:
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        for capture in list(self._live.values()):
            self._send_pieces(capture)
        if self.child is not None:
            losses = self.child.losses()
            if losses != self._said_losses and self._put(losses):
                self._said_losses = losses
        if self._live:
            self._keep_ticking()

    def _resend(self) -> None:
        for capture in list(self._live.values()):
            flow = self._requests.get(capture.opened.flow_id)
            capture.again()
            self._send_opening(capture, flow.request.raw_content if flow else None)
            if capture.answered:
                self._put(capture.answered)
            self._send_pieces(capture)

    def _heard(self, message: link.Downward) -> None:
        match message:
            case link.Note():
                self.annotator.apply(message)
            case link.Reply():
                pass
            case link.Ready():
                self.control.opened(message.control)
                if self.child:
                    self.child.settled()
            case link.Word():
                log.log(
                    logging.WARNING if message.level == "warning" else logging.INFO, f"kimi: {message.text}"
                )
            case link.Failed():
                log.warning(f"kimi: {message.text}")


def _lower(headers: http.Headers) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): value.decode("utf-8", "surrogateescape")
        for name, value in headers.fields
    }
