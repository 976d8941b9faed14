"""The live exchanges: recognised, opened, fed and ended, each handed to the engine as it goes.

The addon's hooks call this; it knows flows but nothing of mitmproxy's machinery. What repeats from
request to request (host, path, what an address may be) is remembered, for all of this runs on the
proxy's loop.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from kimi_mitm import exchange_id, link, recognise, redact, sieve
from kimi_mitm.outbox import Frame
from kimi_mitm.proxy.capture import Budget, Capture, Messages, said
from kimi_mitm.proxy.child import Child
from kimi_mitm.proxy.people import Run
from kimi_mitm.proxy.recent import MOST_TOLD, Recent, Story
from kimi_mitm.proxy.voice import Voice, guarded
from kimi_mitm.records import Operation

if TYPE_CHECKING:
    from mitmproxy import http

    from kimi_mitm.proxy.gate import Gate

TICK_S = 0.25
_MOST_PLACES = 2048
_MOST_ASKED = 4096
_UNSURE = recognise.Candidate(None, Operation.OTHER, None, certain=False)
"""A POST to a host that the user named: its body decides."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes, and what it may be: None when it is surely no LLM exchange."""

    host: str
    url: str
    path: str
    candidate: recognise.Candidate | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request whose body is not complete yet. `kept`: its headers that may be kept; `run`: the run of
    `kimi-mitm run` that it is of."""

    place: Place
    candidate: recognise.Candidate
    kept: dict[str, str]
    user: str | None
    run: Run | None


class Recorder:
    """All exchanges between their request's head and their end."""

    def __init__(self, child: Child, gate: Gate, voice: Voice) -> None:
        self.voice = voice
        self._child = child
        self._gate = gate
        self._numbers = itertools.count(1)
        self._by_content = exchange_id.ByContent()
        self._places: dict[tuple[object, ...], Place] = {}
        self._asked: dict[str, Asked] = {}
        self._sockets: dict[str, Messages] = {}
        self._live: dict[str, Capture] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._said_losses = link.Lost(bodies=0, frames=0, hurried=0, restarts=0)
        self._recent = Recent()
        self.budget = Budget()

    def place(self, request: http.Request, kept: Mapping[str, str]) -> Place:
        """Where a request goes."""
        data = request.data
        content_type, upgrade = kept.get("content-type"), kept.get("upgrade")
        named = (data.authority, kept.get("host"), data.host, data.port)
        key = (data.method, data.scheme, named, data.path, content_type, upgrade)
        found = self._places.get(key)
        if found is None:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            found = self._places[key] = self._look(request, kept)
        return found

    def ask(
        self, flow: http.HTTPFlow, place: Place, kept: dict[str, str], user: str | None, run: Run | None
    ) -> bool:
        """A request's head is there; True when it may be an LLM exchange."""
        candidate = place.candidate
        if candidate is None or flow.is_replay == "response":
            return False
        if len(self._asked) >= _MOST_ASKED:  # requests that other addons have halted
            del self._asked[next(iter(self._asked))]
        self._asked[flow.id] = Asked(place, candidate, kept, user, run)
        return True

    def asked(self, flow: http.HTTPFlow) -> bool:
        """Whether the flow may be an LLM exchange that is not opened yet."""
        return flow.id in self._asked

    def of(self, flow: http.HTTPFlow) -> Capture | None:
        """The flow's live exchange, if it is one."""
        return self._live.get(flow.id)

    def open(self, flow: http.HTTPFlow, body: bytes | None, *, size: int | None = None) -> Capture | None:
        """The request is there as far as it ever will be; None when its body says it is no LLM exchange.

        `body` None: it is not known, and was `size` bytes long.
        """
        asked = self._asked.pop(flow.id, None)
        if asked is None:
            return None
        sure = asked.candidate.certain or "content-encoding" in asked.kept
        if not sure and (body is None or not recognise.sniff(body)):
            return None
        opened = self._opened(flow, asked, body, size)
        self._child.hurried += opened.hurry
        unreadable = asked.candidate.certain and asked.candidate.wire_format is None
        capture = Capture(opened, self.budget, flow, body, quiet=unreadable, full=self._send_pieces)
        self._live[flow.id] = capture
        self._send_opening(capture, body)
        self.tell_soon()
        return capture

    def answer(self, flow: http.HTTPFlow, capture: Capture) -> None:
        """The head of the answer is there."""
        response = flow.response
        assert response is not None
        capture.answered = link.Answered(
            n=capture.opened.n,
            at=response.data.timestamp_start or time.time(),
            status=response.data.status_code,
            headers=sieve.sift(response.data.headers.fields)[0],
        )
        self._child.put(capture.answered, wake=False)

    def message(self, flow: http.HTTPFlow, capture: Capture) -> None:
        """A WebSocket message passed."""
        assert flow.websocket is not None
        message = flow.websocket.messages[-1]
        if not self._child.put(said(capture.opened.n, message), [message.content]):
            capture.missed(len(message.content))

    def end(self, capture: Capture, at: float, error: str | None) -> None:
        """The exchange is over. A second end is none."""
        if capture.finished:
            return
        self._send_pieces(capture, wake=False)
        ended = link.Ended(n=capture.opened.n, at=at, error=error, lost=capture.lost)
        self._child.put(ended)
        if not (capture.over or capture.quiet) and capture.resent <= MOST_TOLD:
            self._recent.keep(capture.opened.flow_id, [*capture.story(), (ended, [])])
        self._live.pop(capture.opened.flow_id, None)
        capture.release()

    def settled(self, flow_id: str) -> None:
        """The engine has recorded the exchange of this flow."""
        self._recent.settled(flow_id)

    def crowded(self, flow: http.HTTPFlow, size: int) -> bool:
        """One more message of this size is kept by mitmproxy on a flow's WebSocket, an LLM's or not; True
        when the older ones must go."""
        kept = self._sockets.get(flow.id)
        if kept is None:
            kept = self._sockets[flow.id] = Messages(self.budget)
        return kept.add(size)

    def forget(self, flow: http.HTTPFlow) -> None:
        """The flow is over: what is still kept of it that is no exchange."""
        self._asked.pop(flow.id, None)
        socket = self._sockets.pop(flow.id, None)
        if socket is not None:
            socket.release()

    def tell_soon(self) -> None:
        """Has pieces and losses told at the next tick."""
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def end_all(self, why: str) -> None:
        """Ends what is under way."""
        for capture in list(self._live.values()):
            self.end(capture, time.time(), why)
        if self._ticking:
            self._ticking.cancel()

    def of_connection(self, connection: str) -> list[Capture]:
        """What is under way on a client's connection."""
        return [c for c in self._live.values() if c.opened.conn == connection]

    def again(self, unread: Sequence[Frame]) -> None:
        """An engine died. What it had not said to have recorded is told again from its beginning."""
        recent = {head.n for story in self._recent.stories() for head, _ in story if hasattr(head, "n")}
        known = recent | {c.opened.n for c in self._live.values()}
        complete = {head.n for head, _, _ in unread if isinstance(head, link.Opened)} - known
        for head, payload, _ in unread:
            if getattr(head, "n", None) in complete or isinstance(head, link.Gone | link.Tls):
                self._child.put(head, payload)  # type: ignore[arg-type]  # it was put once before
        if self._live and not recent:
            next(iter(self._live.values())).resent += 1
        for story in self._recent.tell():
            self._tell(story)
        for capture in list(self._live.values()):
            if capture.over:
                capture.lost = capture.size - sum(map(len, capture.pieces))
            if capture.resent <= MOST_TOLD:
                self._tell(capture.story())

    def _tell(self, story: Story) -> None:
        for head, payload in story:
            if self._child.put(head, payload) or not payload:
                continue
            if isinstance(head, link.Opened):
                self._child.put(_dropped(head))

    def _look(self, request: http.Request, kept: Mapping[str, str]) -> Place:
        host = request.pretty_host
        candidate = recognise.look(request.method, host, request.port, request.path, kept)
        if candidate is None and request.method == "POST" and self._gate.named(host):
            candidate = _UNSURE
        if candidate is not None and candidate.operation is Operation.COUNT_TOKENS:
            candidate = None
        url = redact.url(_clean(request.pretty_url))
        return Place(_clean(host), url, _clean(request.path).split("?", 1)[0], candidate)

    def _opened(self, flow: http.HTTPFlow, asked: Asked, body: bytes | None, size: int | None) -> link.Opened:
        candidate, place, request = asked.candidate, asked.place, flow.request.data
        at = request.timestamp_start
        peer = flow.client_conn.peername
        method = request.method.decode("ascii", "replace")
        if not flow.live and peer == ("127.0.0.1", 0):  # what mitmproxy makes of a HAR file
            name = self._by_content.name(at, method, place.url, body or b"")
        else:
            name = exchange_id.of_flow(flow.id, at)
        return link.Opened(
            n=next(self._numbers),
            flow_id=flow.id,
            exchange_id=name,
            at=at,
            method=method,
            url=place.url,
            host=place.host,
            path=place.path,
            headers=asked.kept,
            user=asked.user,
            conn=flow.client_conn.id,
            client_address=peer[0],
            run=asked.run.id if asked.run else None,
            run_client=asked.run.client if asked.run else None,
            wire_format=candidate.wire_format,
            operation=candidate.operation,
            served_by=candidate.served_by,
            certain=candidate.certain,
            poll=candidate.poll,
            websocket=asked.kept.get("upgrade", "").lower() == "websocket",
            live=flow.live,
            size=len(body) if body is not None else (size or 0),
            body="whole" if body is not None else "cut",
            hurry=self._child.busy and flow.live,
        )

    def _send_opening(self, capture: Capture, body: bytes | None) -> None:
        if not self._child.put(capture.opened, [body] if body else ()) and body:
            self._child.put(_dropped(capture.opened))

    def _send_pieces(self, capture: Capture, *, wake: bool = True) -> None:
        taken = capture.take()
        if taken is not None and not self._child.put(*taken, wake=wake):
            capture.missed(sum(taken[0].sizes))

    @guarded
    def _tick(self) -> None:
        self._ticking = None
        for capture in list(self._live.values()):
            self._send_pieces(capture)
        losses = self._child.losses()
        if losses != self._said_losses and self._child.put(losses):
            self._said_losses = losses
        if self._live:
            self.tell_soon()


def _dropped(opened: link.Opened) -> link.Opened:
    return msgspec.structs.replace(opened, body="dropped", hurry=True)


def _clean(text: str) -> str:
    """Text without the halves of surrogate pairs by which mitmproxy carries bytes that are no text."""
    return text.encode("utf-8", "replace").decode("utf-8")
