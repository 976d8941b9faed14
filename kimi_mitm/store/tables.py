"""The database's tables. A change here needs a migration (store/migrations/versions) in the same commit.

Times are UTC in ISO 8601 with microseconds, as text: they sort, and every database keeps them.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

from kimi_mitm.store import session_tables

metadata = MetaData()

exchanges = Table(
    "exchanges",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("flow_id", Text),
    Column("started_at", Text, nullable=False),
    Column("first_token_at", Text),
    Column("ended_at", Text),
    Column("ttft_ms", Float),
    Column("duration_ms", Float),
    Column("session_id", Text),
    Column("user", Text),
    Column("client", Text, nullable=False),
    Column("client_version", Text),
    Column("client_session_id", Text),
    Column("provider", Text, nullable=False),
    Column("served_by", Text),
    Column("model", Text),
    Column("response_model", Text),
    Column("wire_format", Text),
    Column("operation", Text, nullable=False),
    Column("side", Boolean, nullable=False),
    Column("method", Text),
    Column("url", Text),
    Column("status", Integer),
    Column("stream", Boolean),
    Column("transport", Text, nullable=False),
    Column("estimated_input_tokens", Integer),
    Column("tiktoken_input_tokens", Integer),
    Column("estimate_kind", Text),
    Column("estimate_p90_error", Float),
    Column("input_tokens", Integer),
    Column("output_tokens", Integer),
    Column("cache_read_tokens", Integer),
    Column("cache_write_tokens", Integer),
    Column("reasoning_tokens", Integer),
    Column("total_tokens", Integer),
    Column("is_estimated", Boolean, nullable=False),
    Column("source", Text, nullable=False),
    Column("via", Text),
    Column("delta_tokens", Integer),
    Column("history_ratio", Float),
    Column("is_noise", Boolean),
    Column("composition", Text),
    Column("context_window", Integer),
    Column("context_percent", Float),
    Column("cost_usd", Text),
    Column("response_id", Text),
    Column("finish_reason", Text),
    Column("error", Text),
    Column("notes", Text),
    Column("owner", Text),
    Index("exchanges_by_session", "session_id", "started_at"),
    Index("exchanges_by_start", "started_at"),
    Index("exchanges_by_response", "response_id"),
)

readings = Table(
    "readings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("exchange_id", Text),
    Column("source", Text, nullable=False),
    Column("client", Text),
    Column("at", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("document", Text, nullable=False),
    Index("readings_by_exchange", "exchange_id"),
)

messages = Table(
    "messages",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("session_id", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("exchange_id", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("document", Text, nullable=False),
    Index("messages_by_session", "session_id", "digest", unique=True),
)

learner_states = Table(
    "learner_states",
    metadata,
    Column("key", Text, primary_key=True),
    Column("state", LargeBinary, nullable=False),
    Column("updated_at", Text, nullable=False),
)

log_offsets = Table(
    "log_offsets",
    metadata,
    Column("path", Text, primary_key=True),
    Column("state", Text, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

sessions = session_tables.define(metadata)
