"""JSON documents that follow one another, whatever is between them.

One document (also one written over many lines), a document per line, documents without anything
between them, and one array that is written element by element (Gemini without `alt=sse`): all are
told apart while they come.
"""

from __future__ import annotations

import re

_OUTSIDE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_OPEN = b"{["
_QUOTE = ord('"')


class Documents:
    """Gives each document, or each element of an array at the top, as soon as its last byte has come.

    Only objects and arrays are documents: loose numbers, strings and separators are passed over.
    `array` is True once an array was seen at the top, `count` how many documents there were.
    """

    __slots__ = ("_buffer", "_depth", "_in_array", "_in_string", "_position", "_start", "array", "count")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._depth = 0
        self._start = -1
        self._in_string = False
        self._in_array = False
        self.array = False
        self.count = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Takes the next bytes, cut anywhere; gives the documents that they complete."""
        self._buffer += data
        buffer = self._buffer
        position = self._position
        documents: list[bytes] = []
        end = len(buffer)
        while position < end:
            if self._in_string:
                match = _IN_STRING.match(buffer, position)
                position = match.end() if match else end
                if position >= end or buffer[position] != _QUOTE:
                    break
                self._in_string = False
                position += 1
                continue
            found = _OUTSIDE.search(buffer, position)
            if found is None:
                position = end
                break
            position = found.end()
            self._at(buffer[position - 1], position, documents)
        self._position = position
        self.count += len(documents)
        self._forget()
        return documents

    def rest(self) -> bytes:
        """What stands of a document that never came to its end; nothing where all did."""
        return bytes(self._buffer[self._start :]) if self._start >= 0 else b""

    def _at(self, byte: int, position: int, documents: list[bytes]) -> None:
        top = 1 if self._in_array else 0
        if byte == _QUOTE:
            self._in_string = True
        elif byte in _OPEN:
            if self._depth == 0 and byte == _OPEN[1] and not self._in_array:
                self._in_array = self.array = True
            elif self._depth == top or self._start < 0:
                self._start = position - 1
            self._depth += 1
        elif self._depth:
            self._depth -= 1
            if self._start >= 0 and self._depth <= top:
                documents.append(bytes(self._buffer[self._start : position]))
                self._start = -1
            if self._depth == 0:
                self._in_array = False

    def _forget(self) -> None:
        """Drops what no later document needs, seldom enough to stay linear."""
        keep = self._start if self._start >= 0 else self._position
        if keep > 1 << 16 or keep == len(self._buffer):
            del self._buffer[:keep]
            self._position -= keep
            if self._start >= 0:
                self._start = 0
