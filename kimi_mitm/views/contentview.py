"""mitmproxy's view "LLM": an exchange's figures, and the conversation in its bodies.

It is chosen by itself for what is an LLM exchange, and for nothing else. It runs on the proxy's loop, so
it reads no more of a body than it shows; wire formats are loaded when the first body is looked at.
"""

from __future__ import annotations

import weakref
from functools import lru_cache
from typing import TYPE_CHECKING

from mitmproxy import http
from mitmproxy.contentviews import Contentview, Metadata, SyntaxHighlight

from kimi_mitm import recognise
from kimi_mitm.views.excerpt import Unreadable
from kimi_mitm.views.figure_text import figure_lines

if TYPE_CHECKING:
    from mitmproxy.websocket import WebSocketMessage

_NO = -1.0
_YES = 2.0
"""Above all of mitmproxy's own views, whose best is 1."""
_HEAD = 16 * 1024
_RAW_BOUND = 200_000


class LLM(Contentview):
    """See the module."""

    def __init__(self) -> None:
        self._formats: weakref.WeakKeyDictionary[http.HTTPFlow, tuple[object, str | None]]
        self._formats = weakref.WeakKeyDictionary()

    @property
    def name(self) -> str:
        return "LLM"

    @property
    def syntax_highlight(self) -> SyntaxHighlight:
        return "yaml"

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        flow = metadata.flow
        if not data or not isinstance(flow, http.HTTPFlow):
            return _NO
        if metadata.http_message is None and metadata.websocket_message is None:
            return _NO
        return _YES if self._format(flow) else _NO

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        flow = metadata.flow
        wire_format = self._format(flow) if isinstance(flow, http.HTTPFlow) else None
        if wire_format is None or not isinstance(flow, http.HTTPFlow):
            raise ValueError("this is no LLM exchange that can be read")
        try:
            lines = _lines(wire_format, data, flow, metadata)
        except Unreadable as e:
            lines = [f"# This can't be read as {wire_format}: {e}. As it is:", _raw(data)]
        message = metadata.websocket_message
        first = message is None or (flow.websocket is not None and message is flow.websocket.messages[0])
        figures = figure_lines(flow.metadata) if first else []
        if figures and message is not None:
            figures.insert(0, "# the last turn's figures")
        return "\n".join([*figures, *(["---"] if figures else []), *lines])

    def _format(self, flow: http.HTTPFlow) -> str | None:
        """The flow's wire format: what the engine found, or what can be told from here."""
        told = flow.metadata.get("kimi.wire_format")
        if isinstance(told, str):
            return told
        if isinstance(flow.metadata.get("kimi.id"), str):
            return None
        known, found = self._formats.get(flow, (None, None))
        request, response = flow.request, flow.response
        state = (
            request.pretty_host,
            request.path,
            request.raw_content,
            response.status_code if response else None,
        )
        if known != state:
            found = _guess(flow)
            self._formats[flow] = (state, found)
        return found


def _lines(wire_format: str, data: bytes, flow: http.HTTPFlow, metadata: Metadata) -> list[str]:
    from kimi_mitm.views import answer_text, prompt_text

    if metadata.websocket_message is not None:
        return _socket_lines(wire_format, data, metadata.websocket_message)
    if metadata.http_message is flow.request:
        return prompt_text.prompt_lines(wire_format, data)
    response = flow.response
    headers = {k.lower(): v for k, v in response.headers.items()} if response else {}
    status = response.status_code if response else 200
    return answer_text.answer_lines(wire_format, data, status=status, headers=headers)


def _socket_lines(wire_format: str, data: bytes, message: WebSocketMessage) -> list[str]:
    from kimi_mitm.views import answer_text, prompt_text

    if message.from_client:
        try:
            return prompt_text.prompt_lines(wire_format, data)
        except Unreadable:
            return answer_text.event_lines(wire_format, data)
    return answer_text.event_lines(wire_format, data)


def _raw(data: bytes) -> str:
    text = data[:_RAW_BOUND].decode("utf-8", "backslashreplace")
    left = len(data) - _RAW_BOUND
    return f"{text}\n… {left:,} bytes left out, see the view Raw …" if left > 0 else text


@lru_cache(maxsize=512)
def _look(
    method: str, host: str, port: int, path: str, content_type: str, upgrade: str
) -> recognise.Candidate | None:
    return recognise.look(method, host, port, path, {"content-type": content_type, "upgrade": upgrade})


def _guess(flow: http.HTTPFlow) -> str | None:
    request, response = flow.request, flow.response
    told = [request.headers.get(name, "") for name in ("content-type", "upgrade")]
    candidate = _look(request.method, request.pretty_host, request.port, request.path, *told)
    if candidate is None:
        return None
    if candidate.certain:
        return candidate.wire_format
    body = request.get_content(strict=False) or b""
    if not recognise.sniff(body):
        return None
    headers = {k.lower(): v for k, v in request.headers.items()}
    answer = (response.get_content(strict=False) or b"")[:_HEAD] if response else b""
    status = response.status_code if response else None
    found = recognise.settle(candidate, request.method, request.path, headers, body, status, answer)
    return found.wire_format if found else None
