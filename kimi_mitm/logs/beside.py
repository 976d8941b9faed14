"""The files beside a log, which readers take titles and the like from.  [I/O]"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kimi_mitm.logs.find import read_file


class Beside:
    """What `File.beside` promises of the file at `path`: bytes by a name relative to its folder, or None."""

    def __init__(self, path: str) -> None:
        self._folder = os.path.dirname(path)
        self._known: dict[str, bytes | None] | None = None

    @contextmanager
    def once(self) -> Iterator[None]:
        """Within it each file is read once, for some readers ask anew for every record; outside of it,
        whenever it is asked for."""
        self._known = {}
        try:
            yield
        finally:
            self._known = None

    def __call__(self, name: str) -> bytes | None:
        if self._known is None:
            return self._read(name)
        if name not in self._known:
            self._known[name] = self._read(name)
        return self._known[name]

    def _read(self, name: str) -> bytes | None:
        return read_file(os.path.join(self._folder, name))
