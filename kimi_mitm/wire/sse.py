"""Server-sent events, in all the dialects that providers write.

The format: https://html.spec.whatwg.org/multipage/server-sent-events.html. Beyond it, as found in
real traffic: events that only a line end separates, a last event without its blank line, JSON lines
without `data:`.
"""

from __future__ import annotations

import msgspec

type Event = tuple[str | None, bytes]
"""An event's name, where the framing has one, and its JSON."""

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t"
_DONE = (b"[DONE]", b"")
_is_json = msgspec.json.Decoder(msgspec.Raw).decode


class EventLines:
    """Splits a stream into events; each byte is looked at once, however long the events are.

    `done` is True once `[DONE]` was seen, which ends the streams of OpenAI and many others.
    """

    __slots__ = ("_after_cr", "_data", "_name", "_stray", "_tail", "done")

    def __init__(self) -> None:
        self._tail: list[bytes] = []
        self._data: list[bytes] = []
        self._stray: list[bytes] = []
        self._name: str | None = None
        self._after_cr = False
        self.done = False

    def feed(self, data: bytes) -> list[Event]:
        """Takes the next bytes, cut anywhere; gives the events that they complete."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
        if not data:
            return []
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        else:
            self._after_cr = False
        if b"\n" not in data:
            self._tail.append(data)
            return []
        lines = data.split(b"\n")
        if self._tail:
            self._tail.append(lines[0])
            lines[0] = b"".join(self._tail)
        self._tail = [rest] if (rest := lines.pop()) else []
        events: list[Event] = []
        for line in lines:
            self._line(line, events)
        return events

    def finish(self) -> list[Event]:
        """Takes the end of the stream; gives the last event where its blank line is missing."""
        events: list[Event] = []
        self._line(b"".join(self._tail), events)
        self._tail = []
        self._end(events)
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data or self._stray or self._name:
                self._end(events)
        elif line.startswith(b"data:"):
            if self._data:
                self._end_at_line(events)
            self._data.append(line[5:])
        elif line.startswith(b"event:"):
            if self._data:
                self._end(events)
            self._name = line[6:].strip().decode("utf-8", "replace") or None
        elif line.startswith(_BOM):
            self._line(line.removeprefix(_BOM), events)
        elif line[0] in _SPACE and line.lstrip().startswith((b"data:", b"event:")):
            self._line(line.lstrip(), events)
        elif self._stray or line.lstrip().startswith(b"{"):
            self._stray.append(line)

    def _end_at_line(self, events: list[Event]) -> None:
        """Ends an event before its next `data:` line if what it has is a whole document already."""
        if len(self._data) == 1:
            data = self._data[0].strip()
            if data in _DONE or _whole(data):
                self._end(events)

    def _end(self, events: list[Event]) -> None:
        name, self._name = self._name, None
        if self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            self._data = []
            data = data.strip()
            if data not in _DONE:
                events.append((name, data))
            elif data:
                self.done = True
        if self._stray:
            stray = b"\n".join(self._stray)
            events.append((name, stray))
            self._stray = []


def _whole(data: bytes) -> bool:
    try:
        _is_json(data)
    except (ValueError, RecursionError):
        return False
    return True
