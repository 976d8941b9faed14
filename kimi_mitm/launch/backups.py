"""Edits of users' settings files that can be taken back: each file's text before and after ours.  [I/O]"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from kimi_mitm.launch.merge import Tangled, take_back
from kimi_mitm.settings import data_folder

_ORIGINAL, _WRITTEN, _PATH = "original", "written", "path"
_ABSENT = "absent"
_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Edited:
    """A settings file and what we keep of it, in a folder named by the file's path."""

    path: Path

    @property
    def folder(self) -> Path:
        digest = hashlib.sha256(os.fsencode(self.path.absolute())).hexdigest()[:12]
        return data_folder() / "setup" / f"{self.path.name}-{digest}"

    @property
    def known(self) -> bool:
        """Whether there is an edit of ours to take back."""
        return (self.folder / _WRITTEN).is_file()

    def text(self) -> str | None:
        """The file's text, None when there is no file. Raises OSError, and UnicodeError on other bytes."""
        try:
            return self.path.read_bytes().decode()
        except FileNotFoundError:
            return None

    def without_ours(self, current: str | None, empty: str) -> str | None:
        """The text without our edit; `empty` is what an absent file counts as. None: the file was not
        there, and holds nothing but ours. Raises `Tangled`."""
        if not self.known or current is None:
            return current
        original = (self.folder / _ORIGINAL).read_bytes().decode()
        written = (self.folder / _WRITTEN).read_bytes().decode()
        found = take_back(original, written, current)
        absent = (self.folder / _ABSENT).exists()
        return None if absent and "".join(found.split()) == "".join(empty.split()) else found

    def write(self, original: str | None, text: str, empty: str) -> None:
        """Writes our edit, and keeps what was there before it. Raises OSError; nothing has changed then."""
        known = {name: self.folder / name for name in (_ORIGINAL, _WRITTEN, _ABSENT)}
        before = {name: path.read_bytes() for name, path in known.items() if path.is_file()}
        try:
            self._keep(original, text, empty)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._replace_settings(text)
        except OSError:
            for name, path in known.items():
                path.unlink(missing_ok=True)
                if name in before:
                    path.write_bytes(before[name])
            raise

    def _keep(self, original: str | None, text: str, empty: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / _PATH).write_text(f"{self.path.absolute()}\n", encoding="utf-8")
        if original is None:
            (self.folder / _ABSENT).touch()
        else:
            (self.folder / _ABSENT).unlink(missing_ok=True)
        _replace(self.folder / _ORIGINAL, (empty if original is None else original).encode())
        _replace(self.folder / _WRITTEN, text.encode())

    def restore(self, current: str, text: str | None) -> Path:
        """Takes our edit back: writes `text`, or removes the file for None. Gives where `current` is kept.
        Raises OSError."""
        kept = self.folder / f"taken-back-{time.strftime('%Y%m%dT%H%M%S')}"
        _replace(kept, current.encode())
        if text is None:
            self.path.unlink()
        else:
            self._replace_settings(text)
        (self.folder / _WRITTEN).unlink()
        return kept

    def _replace_settings(self, text: str) -> None:
        """Whoever made the file read-only means it, though its folder would let us."""
        if self.path.exists() and not self.path.stat().st_mode & _WRITABLE:
            raise PermissionError(errno.EACCES, "it is read-only", str(self.path))
        _replace(self.path, text.encode())


def _replace(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; behind a link, the file that it leads to. Its mode stays."""
    real = Path(os.path.realpath(path))
    handle, name = tempfile.mkstemp(prefix=f".{real.name}-", dir=real.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(real, name)
        os.replace(name, real)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


__all__ = ["Edited", "Tangled"]
