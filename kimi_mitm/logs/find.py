"""Finding the files of a log source below its folders.  [I/O]"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Final

from kimi_mitm.logs.places import roots
from kimi_mitm.logs.source import LogSource, Place

_DEEPEST: Final = 12
_MOST_FOLDERS: Final = 50_000
"""Folders looked into below one root; more is no log folder but a mistake in a variable."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it lies on the disk: `modified` in ns since 1970."""

    path: str
    size: int
    modified: int
    inode: int


@dataclass(slots=True)
class Finder:
    """Finds the files of one source; `unreadable` counts the folders and files of the last search that
    could not be looked at."""

    source: LogSource
    home: Path
    env: Mapping[str, str]
    platform: str
    unreadable: int = 0
    _real: dict[Path, str] = field(default_factory=dict)

    def files(self) -> Iterator[Found]:
        """Every file that is there now, each once."""
        self.unreadable = 0
        seen: set[str] = set()
        for place in self.source.places:
            for top in self.tops(place):
                for found in self._below(top, place.pattern):
                    if found.path not in seen:
                        seen.add(found.path)
                        yield found

    def tops(self, place: Place) -> Iterator[Path]:
        """The folders (or the file) of one place, there or not."""
        for root in roots(place, self.home, self.env, self.platform):
            if place.registry is None:
                yield root
            elif (listed := read_file(root)) is not None:
                yield from (Path(folder) for folder in place.registry(listed) if folder)

    def watched(self) -> Iterator[tuple[Path, bool]]:
        """Folders whose changes matter, that are there: the folder, and whether those below count too."""
        for place in self.source.places:
            for top in self.tops(place) if place.watch else ():
                fixed, rest = _fixed(place.pattern)
                folder = top / fixed if rest else (top / fixed).parent
                if folder.is_dir():
                    self._real[top] = os.path.realpath(top)
                    yield folder, "/" in rest

    def match(self, path: str) -> Found | None:
        """The file at `path`, if it is one of this source's. `path` may be spelt with links resolved, as
        some systems' change notices do."""
        for place in self.source.places:
            for top in self.tops(place):
                for spelt in {str(top), self._real.get(top, "")} - {""}:
                    below = path[len(spelt) :].replace(os.sep, "/")
                    if not path.startswith(spelt) or not _matches(place.pattern, below):
                        continue
                    return self._stat(os.path.join(top, below.removeprefix("/")) if below else str(top))
        return None

    def _below(self, top: Path, pattern: str) -> Iterator[Found]:
        fixed, rest = _fixed(pattern)
        start = os.path.join(top, fixed) if fixed else str(top)
        if not rest:
            if found := self._stat(start):
                yield found
            return
        parts = tuple(_part(part) for part in rest.split("/"))
        waiting, looked = [(start, _closure(parts, {0}), 0)], 0
        while waiting and looked < _MOST_FOLDERS:
            folder, places, level = waiting.pop()
            looked += 1
            for entry in self._entries(folder):
                name = entry.name
                try:
                    if entry.is_dir(follow_symlinks=False):
                        further = {i if parts[i] is None else i + 1 for i in places if _fits(parts[i], name)}
                        if (below := _closure(parts, further)) and level < _DEEPEST:
                            waiting.append((entry.path, below, level + 1))
                    elif len(parts) - 1 in places and _fits(parts[-1], name) and entry.is_file():
                        stat = entry.stat()
                        yield Found(entry.path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
                except OSError:
                    self.unreadable += 1

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError:
            self.unreadable += 1
            return []

    def _stat(self, path: str) -> Found | None:
        try:
            stat = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            self.unreadable += 1
            return None
        if not S_ISREG(stat.st_mode):
            return None
        return Found(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


def read_file(path: Path | str, limit: int = 4 * 1024 * 1024) -> bytes | None:
    """The bytes of a small file, None when it is not there, can't be read, or isn't small."""
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError):
        return None
    return data if len(data) <= limit else None


def _fixed(pattern: str) -> tuple[str, str]:
    """A pattern's leading folders without wildcards, and what is left (empty when nothing is wild)."""
    parts = pattern.split("/") if pattern else []
    for index, part in enumerate(parts):
        if any(sign in part for sign in "*?["):
            return "/".join(parts[:index]), "/".join(parts[index:])
    return pattern, ""


type _Part = re.Pattern[str] | None
"""One part of a pattern; None is `**`, any number of folders."""


@lru_cache(maxsize=256)
def _part(part: str) -> _Part:
    if part == "**":
        return None
    signs = {"*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(signs.get(sign) or re.escape(sign) for sign in part))


def _fits(part: _Part, name: str) -> bool:
    return part is None or part.fullmatch(name) is not None


def _closure(parts: tuple[_Part, ...], places: set[int]) -> frozenset[int]:
    """The places in a pattern that a folder may stand at: `**` may also stand for no folder."""
    found = {i for i in places if i < len(parts)}
    for i in sorted(found):
        while parts[i] is None and i + 1 < len(parts):
            i += 1
            found.add(i)
    return frozenset(found)


def _matches(pattern: str, below: str) -> bool:
    """True if a path below the root, beginning with `/`, is what `pattern` means."""
    if not pattern or not below.startswith("/"):
        return pattern == below
    parts = tuple(_part(part) for part in pattern.split("/"))
    places = _closure(parts, {0})
    *folders, name = below[1:].split("/")
    for folder in folders:
        places = _closure(
            parts, {i if parts[i] is None else i + 1 for i in places if _fits(parts[i], folder)}
        )
    return len(parts) - 1 in places and _fits(parts[-1], name)
