"""Content encodings, undone as the bytes come.

gzip, deflate (with and without zlib's header: both occur), br, zstd, alone or stacked. What is
labelled wrongly is still read: bytes that look like text are taken as they are, and gzip, zlib and
zstd are known by their first bytes whatever the label says (recorders decode bodies and keep the label).
UTF-16 is undone here too: it disguises JSON no less.
"""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from kimi_mitm.wire.codecs import CODECS, ERRORS, GUESSED, MAGIC, STARTS, Codec, Make

_SNIFFED = 16
"""So many bytes tell text from compressed data: a compressed stream starts with as many printable ones
about once in ten million."""
_SLICE = 1024
"""Bytes fed to a codec at once. zstd makes 128 KiB of four bytes: this bounds what one call may yield."""
_REPLAYED = 1 << 20
"""So much of a compressed body is kept to be read again up to the very byte where it is damaged."""
_NO_ENCODING = frozenset(
    {"", "identity", "none", "utf-8", "utf8", "aws-chunked", "chunked", "binary", "8bit"}
)
_MOST_STAGES = 6
_NO_LIMIT = 1 << 40
_DAMAGED = "the compressed data is damaged"
_TEXT = bytes((9, 10, 13, *range(32, 127)))


class Decoder:
    """Undoes a body's content encoding piece by piece, and never raises.

    `content_encoding` is the header's value, None when there is none; `limit` is in decoded bytes: what
    comes after is dropped, and `exceeded` set. `damaged` says what is wrong with the data, if
    anything is; what was decoded before stays good.
    """

    __slots__ = ("_room", "_stages", "_unknown", "exceeded")

    def __init__(self, content_encoding: str | None, limit: int) -> None:
        labels = [label.strip() for label in (content_encoding or "").lower().split(",")]
        names = [label for label in reversed(labels) if label not in _NO_ENCODING][:_MOST_STAGES]
        self._stages: list[_Stage] = [_Stage(CODECS.get(name, ())) for name in names]
        self._stages.append(_Stage(()))
        self._unknown = next((name for name in names if name not in CODECS), None)
        self._room = max(limit, 0)
        self.exceeded = False

    @property
    def damaged(self) -> str | None:
        return next((stage.damaged for stage in self._stages if stage.damaged), None)

    def feed(self, data: bytes) -> bytes:
        """Takes the next bytes off the wire; gives what they decode to, perhaps nothing yet."""
        for stage in self._stages:
            if not data:
                return b""
            data = stage.feed(data, self._room + 1)
        return self._within(data)

    def finish(self) -> bytes:
        """Takes the end of the body; gives what was held back until then."""
        data = b""
        for stage in self._stages:
            data = (stage.feed(data, self._room + 1) if data else b"") + stage.finish(self._room + 1)
        return self._within(data)

    def _within(self, data: bytes) -> bytes:
        if len(data) > self._room:
            self.exceeded = True
            data = data[: self._room]
        self._room -= len(data)
        return data


@dataclass(frozen=True, slots=True)
class Decoded:
    """A whole body without its content encoding; `damaged` and `exceeded` as in `Decoder`."""

    data: bytes
    damaged: str | None
    exceeded: bool


def decode_body(body: bytes, content_encoding: str | None, limit: int) -> Decoded:
    """Undoes a whole body's content encoding, up to `limit` decoded bytes; never raises."""
    decoder = Decoder(content_encoding, limit)
    data = decoder.feed(body)
    return Decoded(data + decoder.finish(), decoder.damaged, decoder.exceeded)


class _Stage:
    """One encoding. Without codecs, only the first bytes say what the data is."""

    __slots__ = (
        "_codec",
        "_history",
        "_labelled",
        "_made",
        "_make",
        "_plain",
        "_untried",
        "_waiting",
        "damaged",
    )

    def __init__(self, labelled: tuple[Make, ...]) -> None:
        self._labelled = labelled
        self._waiting: bytes | None = b""
        self._untried: list[Make] = []
        self._make: Make | None = None
        self._codec: Codec | None = None
        self._history: bytearray | None = bytearray()
        self._made = False
        self._plain = False
        self.damaged: str | None = None

    def feed(self, data: bytes, room: int) -> bytes:
        if self._plain:
            return data
        if self._waiting is not None:
            data = self._waiting + data
            if len(data) < _SNIFFED and (self._labelled or data[0] in MAGIC):
                self._waiting = data
                return b""
            return self._start(data, room)
        return self._decode(data, room)

    def finish(self, room: int) -> bytes:
        data = self._start(self._waiting, room) if self._waiting else b""
        if self._codec and not self.damaged and not self._codec.ended():
            self.damaged = "the compressed data ends too early"
        return data

    def _start(self, data: bytes, room: int) -> bytes:
        self._waiting = None
        head = data[:_SNIFFED]
        self._untried = [] if _is_plain(head) else _candidates(head, self._labelled)
        if not self._untried:
            self._plain = True
            return data
        self._next_codec()
        return self._decode(data, room)

    def _next_codec(self) -> None:
        self._make = self._untried.pop(0)
        self._codec = self._make()
        self._history = bytearray()

    def _decode(self, data: bytes, room: int) -> bytes:
        made = []
        for start in range(0, len(data), _SLICE):
            if self.damaged or room <= 0:
                break
            part = self._step(data[start : start + _SLICE], room)
            room -= len(part)
            made.append(part)
        return made[0] if len(made) == 1 else b"".join(made)

    def _step(self, piece: bytes, room: int) -> bytes:
        if self._codec is None:
            return piece
        try:
            made = self._codec.decode(piece, room)
        except ERRORS:
            return self._recover(piece, room)
        if self._history is not None:
            self._history += piece
            if len(self._history) > _REPLAYED:
                self._history = None
        self._made = self._made or bool(made)
        return made

    def _recover(self, piece: bytes, room: int) -> bytes:
        """Gives what comes before the damage; if nothing was decoded ever, tries what else it may be."""
        history = self._history
        if history is None:
            self.damaged = _DAMAGED
            return b""
        made = self._up_to_the_damage(bytes(history), piece, room)
        if not made and not self._made:
            data = bytes(history) + piece
            if self._untried:
                self._next_codec()
                return self._decode(data, room)
            if data.lstrip().startswith(STARTS):
                self._plain, self._codec = True, None
                return data
        self.damaged = _DAMAGED
        return made

    def _up_to_the_damage(self, before: bytes, piece: bytes, room: int) -> bytes:
        assert self._make
        codec = self._make()
        made = b""
        try:
            codec.decode(before, _NO_LIMIT)
            for byte in piece:
                made += codec.decode(bytes((byte,)), max(room - len(made), 1))
        except ERRORS:
            pass
        return made


def _is_plain(head: bytes) -> bool:
    """True for text, and for an AWS event stream, whose first eight bytes have their own checksum."""
    rest = head.translate(None, _TEXT)
    if not rest or crc32(head[:8]) == int.from_bytes(head[8:12]):
        return True
    return min(rest) >= 0x80 and head.lstrip().startswith(STARTS) and _is_utf_8(head)


def _is_utf_8(head: bytes) -> bool:
    """Whether the bytes are UTF-8 up to a last character that may be cut."""
    try:
        head.decode()
    except UnicodeDecodeError as e:
        return e.reason == "unexpected end of data"
    return True


def _candidates(head: bytes, labelled: tuple[Make, ...]) -> list[Make]:
    """The codecs to try, best first. A stream's start tells more than its label, but zlib's is short."""
    starts = MAGIC.get(head[0], ()) if head else ()
    found = next((name for start, name in starts if head.startswith(start)), None)
    told = CODECS[found] if found else ()
    guessed = (GUESSED,) if labelled and not told and not head.lstrip().startswith(STARTS) else ()
    return [*labelled, *told] if found == "deflate" else [*told, *labelled, *guessed]
