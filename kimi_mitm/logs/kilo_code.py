"""Kilo Code: the legacy extension's tasks (`tasks`, figures as Roo Code's); since 7.x opencode's store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kimi_mitm.logs.opencode import DatabaseReader, read_message, read_old_session
from kimi_mitm.logs.roo_code import cached_is_more
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.logs.tasks import read_task, task_places
from kimi_mitm.records import Reading

CLIENT: Final = "kilo-code"


def read_legacy(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one task of the legacy extension."""
    return read_task(data, file, CLIENT, cached_is_more)


def open_store(file: File, state: State) -> DatabaseReader:
    """Opens a reader of `kilo.db`."""
    return DatabaseReader(file, state, CLIENT)


def read_stored(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one message of the old JSON storage."""
    return read_message(data, file, CLIENT)


def read_stored_session(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one session of the old JSON storage."""
    return read_old_session(data, file, CLIENT)


SOURCES: Final = (
    LogSource(
        name="kilo-code",
        client=CLIENT,
        database=open_store,
        places=(Place(root="{data}/kilo", env="KILO_DATA_DIR", pattern="kilo*.db"),),
    ),
    LogSource(
        name="kilo-code-storage",
        client=CLIENT,
        document=read_stored,
        places=(Place(root="{data}/kilo", env="KILO_DATA_DIR", pattern="storage/message/*/*.json"),),
    ),
    LogSource(
        name="kilo-code-storage-sessions",
        client=CLIENT,
        document=read_stored_session,
        places=(Place(root="{data}/kilo", env="KILO_DATA_DIR", pattern="storage/session/*/*.json"),),
    ),
    LogSource(
        name="kilo-code-tasks",
        client=CLIENT,
        document=read_legacy,
        places=task_places("kilocode.kilo-code"),
    ),
)
