"""Ended sessions as files that people read: `<root>/<user>/dialogs/archived/<YYYY-MM-DD-HH-MM-SS>.yaml`.

The time is the session's end, in UTC. A file appears whole or not at all, and none is ever
overwritten: a name that exists gets a suffix. The user's live session is `dialogs/current.yaml`,
written over as it grows and emptied at its end.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from kimi_mitm.archive.document import Transcript, document
from kimi_mitm.archive.names import folder_name
from kimi_mitm.archive.yaml_text import dump
from kimi_mitm.records import Exchange
from kimi_mitm.render import instant
from kimi_mitm.sessions.record import Session

_SUFFIXES = 10_000


def write(
    root: Path,
    session: Session,
    transcript: Transcript,
    exchanges: Sequence[Exchange],
    *,
    content: bool = True,
) -> Path:
    """Archives an ended session and returns the new file. `exchanges` in order of their start; without
    `content` only figures are written. Raises OSError, leaving nothing behind."""
    folder = _dialogs(root, session) / "archived"
    temporary = _temporary(folder, document(session, transcript, exchanges, content=content))
    try:
        return _named(temporary, folder, _stamp(session.ended_at or session.last_activity_at))
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def write_current(
    root: Path,
    session: Session,
    transcript: Transcript,
    exchanges: Sequence[Exchange],
    *,
    content: bool = True,
) -> Path:
    """Writes the user's live session over the one before. It writes all of it: call it every few seconds
    at most. Raises OSError."""
    text = document(session, transcript, exchanges, content=content)
    return _replace(_dialogs(root, session) / "current.yaml", text)


def clear_current(root: Path, session: Session) -> None:
    """Empties `current.yaml` if it shows this session. Raises OSError."""
    path = _dialogs(root, session) / "current.yaml"
    with suppress(FileNotFoundError):
        with path.open(encoding="utf-8") as file:
            shown = file.readline(1000)
        if shown == _first_line(session):
            _replace(path, "")


def archive_id(path: Path) -> str:
    """The archive's name for people and events: `<user's folder>/<time>`, the same on every system."""
    return f"{path.parents[2].name}/{path.stem}"


def _first_line(session: Session) -> str:
    return dump({"session_id": session.session_id})


def _dialogs(root: Path, session: Session) -> Path:
    return root / folder_name(session.user) / "dialogs"


def _stamp(at: datetime) -> str:
    return instant(at)[:19].replace(":", "-").replace("T", "-")


def _temporary(folder: Path, text: str) -> Path:
    """A file of its own in the folder, readable by its owner only, on disk before it gets its name."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=folder)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def _named(temporary: Path, folder: Path, stamp: str) -> Path:
    for number in range(1, _SUFFIXES):
        path = folder / (f"{stamp}.yaml" if number == 1 else f"{stamp}-{number}.yaml")
        with suppress(FileExistsError):
            _name(temporary, path)
            _sync(folder)
            return path
    raise FileExistsError(f"{_SUFFIXES} archives of one second")


def _name(temporary: Path, path: Path) -> None:
    """Gives the file its name unless there is one of that name: by a link where the file system has
    links; else the name is taken with an empty file, which ours then replaces."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        with path.open("x"):
            pass
        os.replace(temporary, path)


def _replace(path: Path, text: str) -> Path:
    temporary = _temporary(path.parent, text)
    try:
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink()
        raise
    _sync(path.parent)
    return path


def _sync(folder: Path) -> None:
    """Puts the folder's entries on disk; Windows has no such thing, and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
