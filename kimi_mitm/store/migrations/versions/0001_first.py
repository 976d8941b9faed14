"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _exchanges()
    _facts()
    _flag_history()
    _learner_states()
    _log_offsets()
    _messages()
    _readings()
    _session_currents()
    _sessions()


def _exchanges() -> None:
    op.create_table(
        "exchanges",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("flow_id", sa.Text),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("first_token_at", sa.Text),
        sa.Column("ended_at", sa.Text),
        sa.Column("ttft_ms", sa.Float),
        sa.Column("duration_ms", sa.Float),
        sa.Column("session_id", sa.Text),
        sa.Column("user", sa.Text),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("client_version", sa.Text),
        sa.Column("client_session_id", sa.Text),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("served_by", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("response_model", sa.Text),
        sa.Column("wire_format", sa.Text),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("side", sa.Boolean, nullable=False),
        sa.Column("method", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("stream", sa.Boolean),
        sa.Column("transport", sa.Text, nullable=False),
        sa.Column("estimated_input_tokens", sa.Integer),
        sa.Column("tiktoken_input_tokens", sa.Integer),
        sa.Column("estimate_kind", sa.Text),
        sa.Column("estimate_p90_error", sa.Float),
        sa.Column("input_tokens", sa.Integer),
        sa.Column("output_tokens", sa.Integer),
        sa.Column("cache_read_tokens", sa.Integer),
        sa.Column("cache_write_tokens", sa.Integer),
        sa.Column("reasoning_tokens", sa.Integer),
        sa.Column("total_tokens", sa.Integer),
        sa.Column("is_estimated", sa.Boolean, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("via", sa.Text),
        sa.Column("delta_tokens", sa.Integer),
        sa.Column("history_ratio", sa.Float),
        sa.Column("is_noise", sa.Boolean),
        sa.Column("composition", sa.Text),
        sa.Column("context_window", sa.Integer),
        sa.Column("context_percent", sa.Float),
        sa.Column("cost_usd", sa.Text),
        sa.Column("response_id", sa.Text),
        sa.Column("finish_reason", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("notes", sa.Text),
        sa.Column("owner", sa.Text),
    )
    op.create_index("exchanges_by_response", "exchanges", ["response_id"])
    op.create_index("exchanges_by_session", "exchanges", ["session_id", "started_at"])
    op.create_index("exchanges_by_start", "exchanges", ["started_at"])


def _facts() -> None:
    op.create_table(
        "facts",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def _flag_history() -> None:
    op.create_table(
        "flag_history",
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("by", sa.Text),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("provider", sa.String(100)),
        sa.Column("value", sa.Boolean),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("forced", sa.Boolean),
        sa.Column("providers", sa.Text, nullable=False),
    )


def _learner_states() -> None:
    op.create_table(
        "learner_states",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("state", sa.LargeBinary, nullable=False),
        sa.Column("updated_at", sa.Text, nullable=False),
    )


def _log_offsets() -> None:
    op.create_table(
        "log_offsets",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
    )


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("exchange_id", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("messages_by_session", "messages", ["session_id", "digest"], unique=True)


def _readings() -> None:
    op.create_table(
        "readings",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("exchange_id", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("client", sa.Text),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("readings_by_exchange", "readings", ["exchange_id"])


def _session_currents() -> None:
    op.create_table(
        "session_currents",
        sa.Column("scope", sa.String(600), primary_key=True),
        sa.Column("session_id", sa.String(100), nullable=False),
    )
    op.create_index("session_currents_by_session", "session_currents", ["session_id"])


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("session_id", sa.String(100), primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("client", sa.Text),
        sa.Column("provider", sa.String(100)),
        sa.Column("model", sa.Text),
        sa.Column("client_session_id", sa.Text),
        sa.Column("config_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("folder", sa.Text),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("opened_by", sa.String(20), nullable=False),
        sa.Column("previous_session_id", sa.String(100)),
        sa.Column("started_at", sa.String(27), nullable=False),
        sa.Column("last_activity_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("end_reason", sa.String(20)),
        sa.Column("archive_id", sa.Text),
        sa.Column("archive_due", sa.Boolean, nullable=False),
        sa.Column("owner", sa.String(200), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("prompts", sa.Integer, nullable=False),
        sa.Column("last_prompt", sa.Text),
        sa.Column("exchanges", sa.Integer, nullable=False),
        sa.Column("turns", sa.Integer, nullable=False),
        sa.Column("resumed", sa.Integer, nullable=False),
        sa.Column("returns", sa.Integer, nullable=False),
        sa.Column("carried", sa.Integer, nullable=False),
        sa.Column("side_kept", sa.Integer, nullable=False),
        sa.Column("stats", sa.Text, nullable=False),
    )
    op.create_index("sessions_by_activity", "sessions", ["last_activity_at", "session_id"])
    op.create_index("sessions_by_scope", "sessions", ["scope", "status"])
    op.create_index("sessions_by_status", "sessions", ["status", "last_activity_at"])
    op.create_index("sessions_by_user", "sessions", ["user", "last_activity_at"])
    op.create_index("sessions_to_archive", "sessions", ["archive_due"])
