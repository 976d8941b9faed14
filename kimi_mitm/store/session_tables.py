"""The tables of sessions, of each scope's current session, and of the flag's history."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Boolean, Column, Index, Integer, MetaData, String, Table, Text

INSTANT = String(27)
"""ISO 8601 in UTC with microseconds and a Z: sorts as text, the same in every database."""


@dataclass(frozen=True, slots=True)
class SessionTables:
    """`sessions`: one row per session. `currents`: a scope's current session; the primary key is what
    keeps two processes from making two. `flags`: the flag's changes, the last one is the flag."""

    sessions: Table
    currents: Table
    flags: Table


def define(metadata: MetaData) -> SessionTables:
    """Adds the tables to the metadata, once. Columns are named as the fields of `Session` and
    `FlagChange`."""
    return SessionTables(_sessions(metadata), _currents(metadata), _flags(metadata))


def _sessions(metadata: MetaData) -> Table:
    return Table(
        "sessions",
        metadata,
        Column("session_id", String(100), primary_key=True),
        Column("scope", Text, nullable=False),
        Column("user", Text, nullable=False),
        Column("client", Text),
        Column("provider", String(100)),
        Column("model", Text),
        Column("client_session_id", Text),
        Column("config_id", Text),
        Column("name", Text),
        Column("folder", Text),
        Column("kind", String(20), nullable=False),
        Column("status", String(20), nullable=False),
        Column("opened_by", String(20), nullable=False),
        Column("previous_session_id", String(100)),
        Column("started_at", INSTANT, nullable=False),
        Column("last_activity_at", INSTANT, nullable=False),
        Column("ended_at", INSTANT),
        Column("end_reason", String(20)),
        Column("archive_id", Text),
        Column("archive_due", Boolean, nullable=False),
        Column("owner", String(200), nullable=False),
        Column("version", Integer, nullable=False),
        Column("prompts", Integer, nullable=False),
        Column("last_prompt", Text),
        Column("exchanges", Integer, nullable=False),
        Column("turns", Integer, nullable=False),
        Column("resumed", Integer, nullable=False),
        Column("returns", Integer, nullable=False),
        Column("carried", Integer, nullable=False),
        Column("side_kept", Integer, nullable=False),
        Column("stats", Text, nullable=False),
        Index("sessions_by_status", "status", "last_activity_at"),
        Index("sessions_by_activity", "last_activity_at", "session_id"),
        Index("sessions_by_user", "user", "last_activity_at"),
        Index("sessions_by_scope", "scope", "status"),
        Index("sessions_to_archive", "archive_due"),
    )


def _currents(metadata: MetaData) -> Table:
    return Table(
        "session_currents",
        metadata,
        Column("scope", String(600), primary_key=True),
        Column("session_id", String(100), nullable=False),
        Index("session_currents_by_session", "session_id"),
    )


def _flags(metadata: MetaData) -> Table:
    return Table(
        "flag_history",
        metadata,
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("at", INSTANT, nullable=False),
        Column("by", Text),
        Column("action", String(20), nullable=False),
        Column("provider", String(100)),
        Column("value", Boolean),
        Column("enabled", Boolean, nullable=False),
        Column("forced", Boolean),
        Column("providers", Text, nullable=False),
    )
