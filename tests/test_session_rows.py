"""Sessions as rows, and back."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import MetaData

from kimi_mitm.sessions.flag import FlagChange
from kimi_mitm.sessions.record import EndReason, Kind, OpenedBy, Session, Status
from kimi_mitm.sessions.rows import from_row, to_row
from kimi_mitm.sessions.stats import NO_FIGURES, SessionStats
from kimi_mitm.store.session_tables import define

_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
_STATS = st.builds(
    SessionStats,
    cost_usd=st.none() | st.decimals(0, 1000, places=6),
    errors=st.lists(st.floats(0, 10), max_size=3).map(tuple),
    largest=st.lists(st.integers(0, 10**9), max_size=3).map(tuple),
    last_turn_at=st.none() | _TIMES,
    context_percent=st.none() | st.floats(0, 200),
    models=st.lists(st.text(max_size=5), max_size=2).map(tuple),
)
_SESSIONS = st.builds(
    Session,
    session_id=st.text(),
    scope=st.text(),
    user=st.text(),
    started_at=_TIMES,
    last_activity_at=_TIMES,
    ended_at=st.none() | _TIMES,
    name=st.none() | st.text(),
    kind=st.sampled_from(Kind),
    status=st.sampled_from(Status),
    opened_by=st.sampled_from(OpenedBy),
    end_reason=st.none() | st.sampled_from(EndReason),
    archive_due=st.booleans(),
    prompts=st.integers(0, 10**9),
    stats=_STATS,
)


@given(_SESSIONS)
def test_a_row_reads_back_as_the_session_it_was(session):
    assert from_row(to_row(session)) == session


def test_times_sort_as_text_whatever_their_fraction():
    times = [datetime(2026, 3, 1, 12, 0, 0, micro, UTC) for micro in (0, 1, 250000, 999999)]
    rows = [
        to_row(Session(session_id="s", scope="", user="u", started_at=at, last_activity_at=at))
        for at in times
    ]

    written = [row["started_at"] for row in rows]
    assert written == sorted(written)


@pytest.mark.parametrize("stats", ["", None, "{", "[]", '{"requests": "many"}', "[" * 5000])
def test_figures_that_cannot_be_read_are_unknown(stats):
    at = datetime(2026, 3, 1, tzinfo=UTC)
    row = to_row(
        Session(
            session_id="s",
            scope="",
            user="u",
            started_at=at,
            last_activity_at=at,
            stats=SessionStats(cost_usd=Decimal(1)),
        )
    )

    assert from_row({**row, "stats": stats}).stats == NO_FIGURES


def test_a_row_of_a_status_that_we_do_not_know_is_refused():
    at = datetime(2026, 3, 1, tzinfo=UTC)
    row = to_row(Session(session_id="s", scope="", user="u", started_at=at, last_activity_at=at))

    with pytest.raises(ValueError, match="status"):
        from_row({**row, "status": "paused"})


def test_tables_have_a_column_for_every_field():
    tables = define(MetaData())

    assert {column.name for column in tables.sessions.columns} == {f.name for f in fields(Session)}
    assert {column.name for column in tables.flags.columns} == {f.name for f in fields(FlagChange)}
