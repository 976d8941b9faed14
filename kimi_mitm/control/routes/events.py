"""Live events: `/events` as server-sent events, `/ws` as a WebSocket.

Neither is among the schema's paths: tools that walk those wait for each answer's end, and these
have none. The schema describes them under `x-streams`.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response, WebSocket

from kimi_mitm.control.errors import error_response
from kimi_mitm.control.live import EventStream, serve_socket
from kimi_mitm.control.routes.common import Engine
from kimi_mitm.control.service import ControlError
from kimi_mitm.events import HEARTBEAT_S, TYPES, TooManyReaders

router = APIRouter()

_MAX_ID = 64
_EVENT_EXAMPLE = {
    "id": "5f1c09aa-17",
    "type": "session:switched",
    "at": "2026-03-01T12:00:00.250000Z",
    "data": {"old_session": "s_01jnx4c8q2", "new_session": "s_01jnx4f0dk"},
}

STREAMS: dict[str, Any] = {
    "/events": {
        "method": "GET",
        "answer": "text/event-stream",
        "description": "Every event as `id`, `event` (its type) and `data` (JSON). `Last-Event-ID` "
        f"goes on after an event. A `heartbeat` comes every {HEARTBEAT_S:.0f} s.",
    },
    "/ws": {
        "method": "GET (WebSocket)",
        "answer": "text messages",
        "description": "Every event as one JSON object; `?last_event_id=` goes on after an event. What a "
        "client sends is ignored.",
    },
    "event": {
        "type": "object",
        "required": ["id", "type", "at", "data"],
        "properties": {
            "id": {"type": "string"},
            "type": {"type": "string", "enum": list(TYPES)},
            "at": {"type": "string", "format": "date-time"},
            "data": {"type": "object"},
        },
        "examples": [_EVENT_EXAMPLE],
    },
}
"""What the schema says about the streams."""


@router.get("/events", include_in_schema=False)
async def stream_events(
    request: Request, engine: Engine, last_event_id: Annotated[str | None, Header(max_length=_MAX_ID)] = None
) -> Response:
    """Live events as server-sent events."""
    try:
        reader = engine.subscribe(last_event_id)
    except TooManyReaders as error:
        raise ControlError(503, "too_many_readers", f"{error}.") from None
    return EventStream(request.app.state.live, reader)


@router.websocket("/ws")
async def socket_events(websocket: WebSocket, engine: Engine) -> None:
    """Live events as WebSocket messages."""
    last_id = websocket.query_params.get("last_event_id")
    try:
        reader = engine.subscribe(last_id and last_id[:_MAX_ID])
    except TooManyReaders as error:
        await websocket.send_denial_response(error_response(503, "too_many_readers", f"{error}."))
        return
    with reader:
        await websocket.accept()
        await serve_socket(websocket, websocket.app.state.live, reader)
