"""What readers of JSON lines have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode
from kimi_mitm.logs.source import File, State
from kimi_mitm.records import Reading


class RecordReader:
    """A `LineReader` of files with one JSON object a line, each of which says all by itself."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)

    def state(self) -> State:
        return {}

    def feed(self, line: bytes, number: int) -> Iterable[Reading]:
        self._file.tally.seen += 1
        return self._read(decode(line) or {}, number)

    def _read(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        """The readings in one record, which may be anything; a line that holds none is empty."""
        raise NotImplementedError
