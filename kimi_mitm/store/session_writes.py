"""One transaction of session changes: compared with what is stored, then written, or refused.

The functions take a connection on which a write transaction has begun: on SQLite `BEGIN IMMEDIATE`,
else two processes could compare before either writes; other databases lock the rows that are
compared. From async code: `await connection.run_sync(writes.apply, changes)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, CursorResult, Table, and_, bindparam, func, insert, or_, select, update

from kimi_mitm.sessions.flag import FlagChange
from kimi_mitm.sessions.ledger import Changes, Found
from kimi_mitm.sessions.record import Session, Status
from kimi_mitm.sessions.rows import flag_from_row, flag_to_row, from_row, to_row
from kimi_mitm.store.session_tables import SessionTables


class SessionWrites:
    """Reads and writes the session tables over a connection that it is given."""

    def __init__(self, tables: SessionTables) -> None:
        self._tables = tables
        sessions, currents = tables.sessions, tables.currents
        self._in_scopes = _locked(currents, currents.c.scope)
        self._named = _locked(sessions, sessions.c.session_id)
        self._rewrite = update(sessions).where(sessions.c.session_id == bindparam("key"))

    def apply(self, connection: Connection, changes: Changes) -> Found | None:
        """Writes the changes. If the store holds something else than they expect, it writes nothing and
        returns what it found; the transaction should then be rolled back. Raises IntegrityError when
        another process inserts the same row at the same time, which SQLite's lock excludes: same cure."""
        found = self._find(connection, changes)
        if not _as_expected(changes, found):
            return found
        self._write(connection, changes)
        return None

    def unfinished(self, connection: Connection) -> Found:
        """The sessions that are live or have an archive due, for `recover`, and the flag."""
        sessions = self._tables.sessions
        wanted = or_(sessions.c.status != Status.ENDED.value, sessions.c.archive_due.is_(True))
        rows = connection.execute(select(sessions).where(wanted)).mappings()
        return Found(sessions=_sessions(rows), flag=self._last_flag(connection))

    def flag_counts(self, connection: Connection) -> dict[str, int]:
        """What the flag did, over all sessions: `created` for a change of provider, `resumed` instead,
        `suppressed` while it was off, `side_kept` for side traffic on another provider."""
        sessions = self._tables.sessions.c
        row = connection.execute(
            select(
                func.count().filter(sessions.opened_by == "flag").label("created"),
                func.coalesce(func.sum(sessions.returns), 0).label("resumed"),
                func.coalesce(func.sum(sessions.carried), 0).label("suppressed"),
                func.coalesce(func.sum(sessions.side_kept), 0).label("side_kept"),
            )
        ).mappings()
        return {name: int(count) for name, count in row.one().items()}

    def _find(self, connection: Connection, changes: Changes) -> Found:
        scopes = dict.fromkeys(changes.currents)
        pointed: dict[str, str] = {}
        if scopes:
            held = _rows(connection, self._in_scopes, sorted(scopes))
            pointed = {row.scope: row.session_id for row in held}
        wanted = {save.session.session_id for save in changes.saves} | set(pointed.values())
        wanted |= changes.absent | changes.versions.keys()
        wanted |= self._live_in(connection, changes).union(*changes.live.values())
        rows: Iterable[Any] = ()
        if wanted:
            rows = _rows(connection, self._named, sorted(wanted)).mappings()
        stored = _sessions(rows)
        return Found(
            sessions=stored,
            gone=frozenset(wanted - {session.session_id for session in stored}),
            currents={scope: pointed.get(scope) for scope in scopes},
            flag=self._last_flag(connection) if changes.flag_version is not None else None,
        )

    def _live_in(self, connection: Connection, changes: Changes) -> set[str]:
        if not changes.live:
            return set()
        sessions = self._tables.sessions.c
        wanted = and_(sessions.scope.in_(sorted(changes.live)), sessions.status != Status.ENDED.value)
        return set(connection.execute(select(sessions.session_id).where(wanted)).scalars())

    def _last_flag(self, connection: Connection) -> FlagChange | None:
        flags = self._tables.flags
        row = connection.execute(select(flags).order_by(flags.c.version.desc()).limit(1)).mappings().first()
        return flag_from_row(dict(row)) if row is not None else None

    def _write(self, connection: Connection, changes: Changes) -> None:
        tables = self._tables
        new = [to_row(save.session) for save in changes.saves if save.before is None]
        if new:
            connection.execute(insert(tables.sessions), new)
        known = [to_row(save.session) for save in changes.saves if save.before is not None]
        if known:
            connection.execute(self._rewrite, [{**row, "key": row["session_id"]} for row in known])
        for scope, session_id in changes.switches.items():
            self._point(connection, scope, session_id, changes.currents.get(scope) is None)
        if changes.flag is not None:
            connection.execute(insert(tables.flags), flag_to_row(changes.flag))

    def _point(self, connection: Connection, scope: str, session_id: str, first: bool) -> None:
        currents = self._tables.currents
        row = {"scope": scope, "session_id": session_id}
        if first:
            connection.execute(insert(currents), row)
        else:
            connection.execute(update(currents).where(currents.c.scope == scope).values(row))


def _as_expected(changes: Changes, found: Found) -> bool:
    stored = {session.session_id: session.version for session in found.sessions}
    return (
        all(found.currents[scope] == current for scope, current in changes.currents.items())
        and all(_live(found, scope) == names for scope, names in changes.live.items())
        and not any(session_id in stored for session_id in changes.absent)
        and all(stored.get(name) == version for name, version in changes.versions.items())
        and all(stored.get(save.session.session_id) == save.before for save in changes.saves)
        and changes.flag_version in (None, found.flag.version if found.flag else 0)
    )


def _live(found: Found, scope: str) -> frozenset[str]:
    return frozenset(
        session.session_id for session in found.sessions if session.live and session.scope == scope
    )


def _locked(table: Table, column: Any) -> tuple[Any, Any]:
    """The rows whose column is `name`, and those where it is among `names`; made once, since making them
    takes longer than running them."""
    one = select(table).where(column == bindparam("name")).with_for_update()
    return one, select(table).where(column.in_(bindparam("names", expanding=True))).with_for_update()


def _rows(connection: Connection, locked: tuple[Any, Any], names: list[str]) -> CursorResult[Any]:
    """What `_locked` selects. One name is what it is nearly always, and a list is unfolded anew each time."""
    if len(names) == 1:
        return connection.execute(locked[0], {"name": names[0]})
    return connection.execute(locked[1], {"names": names})


def _sessions(rows: Iterable[Any]) -> tuple[Session, ...]:
    return tuple(from_row(dict(row)) for row in rows)
