"""Writes ended sessions to their archives, and live ones to `current.yaml`, from what the store holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from kimi_mitm.archive import files as archive
from kimi_mitm.archive import transcript
from kimi_mitm.archive.document import Transcript
from kimi_mitm.engine.session_keeper import SessionKeeper
from kimi_mitm.records import Exchange
from kimi_mitm.sessions.book import SessionBook
from kimi_mitm.sessions.ledger import Changes
from kimi_mitm.sessions.record import Session
from kimi_mitm.settings import Settings
from kimi_mitm.store import Store
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.store.exchanges import Wanted

_SHARE = 0.05
"""Of the time, at most so much goes into `current.yaml`: a long conversation is written less often."""


_EXCHANGES, _LIVE_EXCHANGES = 20_000, 200
_LIVE_CHARACTERS = 1024 * 1024
"""The last exchanges that an archive and `current.yaml` hold; the last characters that the latter does."""


class Archivist:
    """One per engine. A folder that can't be written is said once; the session's end is told all the same."""

    def __init__(
        self, settings: Settings, store: Store, keeper: SessionKeeper, say: Callable[[str], None]
    ) -> None:
        self._root = Path(settings.archive_dir).expanduser()
        self._content = settings.store_content
        self._live_files = not settings.offline
        self._store = store
        self._keeper = keeper
        self._say = say
        self._troubled = False
        self._changed: dict[str, None] = {}
        self._rested_at = 0.0

    def changed(self, session_id: str | None) -> None:
        """A live session has more to show."""
        if session_id is not None and self._live_files:
            self._changed.pop(session_id, None)
            self._changed[session_id] = None

    async def archive_ended(self) -> None:
        """Archives what has ended since the last call; each is told of when that is done, or can't be."""
        due = self._keeper.book.unarchived()
        if not due:
            return
        await self._store.flush()
        for session in due:
            self._changed.pop(session.session_id, None)
            name = await self._archive(session)
            await self._keeper.change(_archived(session.session_id, name))

    async def write_current(self) -> None:
        """Writes the live sessions that changed since the last call; of one user the one used last. After
        much work it rests for a while."""
        started = time.monotonic()
        if started < self._rested_at:
            return
        latest: dict[str, Session] = {}
        for session_id in self._changed:
            session = self._keeper.book.session(session_id)
            if session is None or not session.live:
                continue
            known = latest.get(session.user)
            if known is None or known.last_activity_at <= session.last_activity_at:
                latest[session.user] = session
        self._changed.clear()
        if latest:
            await self._store.flush()
        for session in latest.values():
            said, exchanges = await self._content_of(session, _LIVE_CHARACTERS, _LIVE_EXCHANGES)
            await self._tried(archive.write_current, self._root, session, said, exchanges)
        took = time.monotonic() - started
        self._rested_at = started + took / _SHARE

    async def _archive(self, session: Session) -> str | None:
        said, exchanges = await self._content_of(session, transcript.CHARACTERS, _EXCHANGES)
        path = await self._tried(archive.write, self._root, session, said, exchanges)
        if self._live_files:
            await self._tried(_clear, self._root, session, said, exchanges)
        return archive.archive_id(path) if path is not None else None

    async def _tried[T](
        self, write: Callable[..., T], root: Path, session: Session, said: object, exchanges: object
    ) -> T | None:
        try:
            done = await asyncio.to_thread(write, root, session, said, exchanges, content=self._content)
            self._troubled = False
            return done
        except OSError as e:
            if not self._troubled:
                self._say(f"conversations can't be archived in {root}: {e.strerror or e}")
            self._troubled = True
            return None

    async def _content_of(
        self, session: Session, characters: int, most: int
    ) -> tuple[Transcript, Sequence[Exchange]]:
        engine = self._store.engine
        if engine is None:
            return [], self._keeper.book.recent(session.session_id)
        wanted = Wanted(session=session.session_id, newest_first=True, limit=most)
        exchanges = [*reversed((await exchange_rows.page(engine, wanted))[0])]
        if not self._content:
            return [], exchanges
        async with engine.connect() as connection:
            said = await transcript.read(connection, session.session_id, characters)
        return [(s.message, s.exchange_id) for s in said], exchanges


def _archived(session_id: str, name: str | None) -> Callable[[SessionBook], Changes]:
    return lambda book: book.archived(session_id, name)


def _clear(root: Path, session: Session, said: object, exchanges: object, *, content: bool) -> None:
    archive.clear_current(root, session)
