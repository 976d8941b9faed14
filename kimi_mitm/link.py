"""The link between the recorder (inside mitmproxy) and the engine (its child process).

A frame is a head and a payload: two little-endian u32 lengths, the head as tagged MessagePack,
the payload as raw bytes (a body, or pieces of one). Frames go both ways over the child's pipes.

What is here blocks, so it is for threads: `outbox` is the end that mitmproxy's loop may touch.
"""

from __future__ import annotations

import struct
from typing import IO, Any

import msgspec

from kimi_mitm.settings import Settings

_LENGTHS = struct.Struct("<II")
_MAX_HEAD = 16 * 1024 * 1024
_MAX_PAYLOAD = 1024 * 1024 * 1024


class LinkError(Exception):
    """The other end is gone, or sent what is no frame."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """A frame's head. Times are Unix seconds, as mitmproxy's clock gave them."""


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """The first frame: who speaks, since when, and the user's settings."""

    version: str
    pid: int
    settings: Settings
    at: float = 0.0


class Opened(Message, frozen=True, kw_only=True, tag="opened"):
    """A request is complete (or its streaming began). Payload: its body as it was on the wire.

    `body` says what became of it: `whole`, `dropped` (the link was full) or `cut` (beyond the bound);
    `size` is its true length in bytes. `hurry`: the queue is long, estimate by length. `run` and
    `run_client`: the run of `kimi-mitm run` that it is of, and the client which that started.
    """

    n: int
    flow_id: str
    exchange_id: str
    at: float
    method: str
    url: str
    host: str
    path: str
    headers: dict[str, str]
    user: str | None = None
    conn: str = ""
    client_address: str | None = None
    run: str | None = None
    run_client: str | None = None
    wire_format: str | None = None
    operation: str = "other"
    served_by: str | None = None
    certain: bool = True
    poll: bool = False
    websocket: bool = False
    live: bool = True
    body: str = "whole"
    size: int = 0
    hurry: bool = False


class Answered(Message, frozen=True, kw_only=True, tag="answered"):
    """The head of the answer is here. `headers` are the allowed ones, lower-case."""

    n: int
    at: float
    status: int
    headers: dict[str, str]


class Pieces(Message, frozen=True, kw_only=True, tag="pieces"):
    """Pieces of the answer's body, in order. `times` and `sizes` have one entry a piece."""

    n: int
    times: list[float]
    sizes: list[int]


class Said(Message, frozen=True, kw_only=True, tag="said"):
    """One WebSocket message; the payload is its inflated content."""

    n: int
    at: float
    from_client: bool
    text: bool


class Ended(Message, frozen=True, kw_only=True, tag="ended"):
    """The exchange is over. `error` is mitmproxy's word for what broke it; `lost` counts answer bytes
    that the recorder had to leave out."""

    n: int
    at: float
    error: str | None = None
    lost: int = 0


class Gone(Message, frozen=True, kw_only=True, tag="gone"):
    """A client's connection is closed."""

    conn: str
    at: float


class Tls(Message, frozen=True, kw_only=True, tag="tls"):
    """A host is passed through undecrypted since its clients refuse our certificate."""

    host: str
    at: float


class Call(Message, frozen=True, kw_only=True, tag="call"):
    """A command of mitmproxy's asks the engine something; answered by `Reply` with the same number."""

    n: int
    name: str
    args: dict[str, Any] = {}


class Lost(Message, frozen=True, kw_only=True, tag="lost"):
    """What the recorder could not hand over so far, in all, and its own errors: shown by `/health`."""

    bodies: int
    frames: int
    hurried: int
    restarts: int
    faults: int = 0


class Stop(Message, frozen=True, kw_only=True, tag="stop"):
    """Finish what is there, archive, close."""


type Upward = Hello | Opened | Answered | Pieces | Said | Ended | Gone | Tls | Call | Lost | Stop


class Ready(Message, frozen=True, kw_only=True, tag="ready"):
    """The engine serves. `control` is the control endpoint's address, None when it is off."""

    control: tuple[str, int] | None = None
    store: bool = True


class Note(Message, frozen=True, kw_only=True, tag="note"):
    """Figures for a flow: what the UIs show."""

    flow_id: str
    comment: str = ""
    marker: str = ""
    metadata: dict[str, str | int | float | bool | None] = {}
    settled: bool = False
    line: str | None = None


class Word(Message, frozen=True, kw_only=True, tag="word"):
    """One line for mitmproxy's log."""

    text: str
    level: str = "info"


class Reply(Message, frozen=True, kw_only=True, tag="reply"):
    """The answer to a `Call`: `value` is JSON-like, or `error` one line."""

    n: int
    value: Any = None
    error: str | None = None


class LiveSession(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A live session as commands show it; unknown is None."""

    id: str
    user: str
    client: str | None = None
    name: str | None = None
    provider: str | None = None
    model: str | None = None
    requests: int = 0
    tokens: int | None = None
    percent: float | None = None
    cost: str | None = None
    current: bool = False


class State(Message, frozen=True, kw_only=True, tag="state"):
    """What commands answer at once: the flag, the live sessions used last, and how many there are."""

    auto_session: bool
    sessions: list[LiveSession] = []
    live: int = 0


class Failed(Message, frozen=True, kw_only=True, tag="failed"):
    """The engine cannot work at all; the text says why and what to do."""

    text: str


type Downward = Ready | Note | Word | Reply | State | Failed

_encoder = msgspec.msgpack.Encoder()
UPWARD: msgspec.msgpack.Decoder[Upward] = msgspec.msgpack.Decoder(
    Hello | Opened | Answered | Pieces | Said | Ended | Gone | Tls | Call | Lost | Stop
)
DOWNWARD: msgspec.msgpack.Decoder[Downward] = msgspec.msgpack.Decoder(
    Ready | Note | Word | Reply | State | Failed
)


def frame_head(head: Message, payload_size: int) -> bytes:
    """A frame's beginning, up to its payload. Raises `ValueError` and the like on what can't be encoded."""
    encoded = _encoder.encode(head)
    return _LENGTHS.pack(len(encoded), payload_size) + encoded


def write_all(pipe: IO[bytes], data: bytes | bytearray) -> None:
    """Writes everything, however little an unbuffered pipe takes at a time."""
    view = memoryview(data)
    while view:
        view = view[pipe.write(view) :]


def read_frame[M](pipe: IO[bytes], decoder: msgspec.msgpack.Decoder[M]) -> tuple[M, bytes] | None:
    """The next frame's head and payload, None at the end of the pipe.

    Raises `LinkError` on what is no frame. Blocks: for threads only.
    """
    start = _read_exactly(pipe, _LENGTHS.size)
    if start is None:
        return None
    head_size, payload_size = _LENGTHS.unpack(start)
    if head_size > _MAX_HEAD or payload_size > _MAX_PAYLOAD:
        raise LinkError("a frame beyond all bounds")
    head = _read_exactly(pipe, head_size)
    payload = _read_exactly(pipe, payload_size) if payload_size else b""
    if head is None or payload is None:
        return None
    try:
        return decoder.decode(head), payload
    except msgspec.DecodeError as e:
        raise LinkError(f"a frame that can't be read: {e}") from e


def _read_exactly(pipe: IO[bytes], size: int) -> bytes | None:
    first = pipe.read(size)
    if len(first) == size:
        return first
    pieces, have = [first], len(first)
    while first and have < size:
        piece = pipe.read(size - have)
        if not piece:
            return None
        pieces.append(piece)
        have += len(piece)
    return b"".join(pieces) if first else None
