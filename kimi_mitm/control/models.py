"""What goes in and out of the control endpoint: the flag, sessions, health, errors.

Records and figures are in `figures`. Every field has an example; the schema's examples are made
of them.
"""

from __future__ import annotations

import enum

from pydantic import Field

from kimi_mitm.control.fields import (
    Cursor,
    Dollars,
    Input,
    Instant,
    Name,
    Output,
    Query,
    Since,
    Word,
    eg,
    example_of,
)

_AT = "2026-03-01T12:00:00.250000Z"
_LATER = "2026-03-01T12:04:31.008112Z"


class ErrorBody(Output):
    """What went wrong, for a program (`code`) and for a person (`message`)."""

    code: str = eg("invalid", "A word that stays the same.")
    message: str = eg("enabled: Input should be a valid boolean", "One sentence.")


class ErrorAnswer(Output):
    """The body of every error."""

    error: ErrorBody = eg({"code": "not_found", "message": "There is no such session."})


class SetAutoSession(Input):
    """The flag's new value."""

    enabled: bool = eg(True)


class Nothing(Input):
    """A body without fields."""


class FlagCounts(Output):
    """What the flag did since the database was made."""

    created: int = eg(12, "Sessions created because the provider changed.", default=0)
    resumed: int = eg(3, "Live sessions gone back to instead.", default=0)
    suppressed: int = eg(1, "Changes of provider without a new session, the flag being off.", default=0)


class AutoSession(Output):
    """The flag: whether a change of provider makes a new session."""

    enabled: bool = eg(True)
    updated_at: Instant | None = eg(_AT, "null while it has its first value.", default=None)
    updated_by: str | None = eg("alice", "Who set it last.", default=None)
    forced: bool = eg(False, "True while an admin holds it; others can't change it.", default=False)
    providers: dict[str, bool] = eg({"moonshotai": False}, "Providers with a value of their own.", default={})
    counts: FlagCounts = eg({"created": 12, "resumed": 3, "suppressed": 1}, default=FlagCounts())


class AutoSessionChange(Output):
    """One change of the flag."""

    enabled: bool | None = eg(False, "The new value; null when a value of its own was taken away.")
    updated_at: Instant = eg(_AT)
    updated_by: str | None = eg("alice")
    provider: str | None = eg(None, "The provider whose own value it was.", default=None)
    forced: bool = eg(False, "True when an admin forced it.", default=False)


class AutoSessionHistory(Output):
    """Changes of the flag, newest first."""

    history: list[AutoSessionChange] = eg([example_of(AutoSessionChange)])


class HistoryQuery(Query):
    limit: int = Field(default=100, ge=1, le=1000, description="How many changes at most.")


class SessionStatus(enum.StrEnum):
    """Where a session is in its life."""

    STARTED = "started"
    ACTIVE = "active"
    IDLE = "idle"
    ENDED = "ended"


class ContextLevel(enum.StrEnum):
    """How full the context window is: from 80, 90 and 95 per cent on."""

    NORMAL = "normal"
    HIGH = "high"
    VERY_HIGH = "very_high"
    CRITICAL = "critical"


class Accuracy(Output):
    """How far estimates were from what providers reported: |estimate - reported| / reported."""

    requests: int = eg(18, "Exchanges with both figures.", default=0)
    median_error: float | None = eg(0.012, default=None)
    p90_error: float | None = eg(0.061, default=None)
    last_error: float | None = eg(0.004, default=None)


class SessionFigures(Output):
    """A session's figures so far; unknown is null, never 0."""

    requests: int = eg(18, default=0)
    max_tokens: int | None = eg(48211, "The largest exchange, input and output.", default=None)
    mean_tokens: float | None = eg(20110.5, default=None)
    total_prompt_tokens: int | None = eg(351204, default=None)
    total_completion_tokens: int | None = eg(10785, default=None)
    total_cached_tokens: int | None = eg(290112, default=None)
    total_reasoning_tokens: int | None = eg(4096, default=None)
    cost_usd: Dollars | None = eg("0.8213", default=None)
    unpriced_requests: int = eg(0, "Exchanges whose price is unknown; not part of the cost.", default=0)
    estimate_accuracy: Accuracy = eg({"requests": 18, "median_error": 0.012}, default=Accuracy())
    context_tokens: int | None = eg(48211, "The last turn's prompt.", default=None)
    context_window: int | None = eg(262144, default=None)
    context_percent: float | None = eg(18.4, default=None)
    context_level: ContextLevel | None = eg("normal", default=None)
    memory_tokens: int | None = eg(1200, "What memory tools put into prompts.", default=None)
    chat_tokens: int | None = eg(47011, default=None)
    memory_ratio: float | None = eg(0.025, default=None)


class Session(Output):
    """A stretch of work of one user with one client."""

    session_id: str = eg("s_01jnx4c8q2")
    config_id: str | None = eg("team-config", "What `POST /api/sessions` was asked for.", default=None)
    user_id: str = eg("alice")
    session_status: SessionStatus = eg("active")
    started_at: Instant = eg(_AT)
    updated_at: Instant = eg(_LATER, "The last activity or change.")
    ended_at: Instant | None = eg(None, default=None)
    name: str | None = eg("refactoring", default=None)
    provider: str | None = eg("moonshotai", default=None)
    providers: list[str] = eg(["moonshotai"], "All that were used, first use first.", default=[])
    model: str | None = eg("kimi-k2.5", "The last model of the conversation.", default=None)
    client: str | None = eg("claude-code", default=None)
    client_session_id: str | None = eg(None, "The client's own id.", default=None)
    kind: str = eg("interactive", "`one_shot` for a run that ended with one prompt.", default="interactive")
    folder: str | None = eg(None, "The folder of work, where a log told it.", default=None)
    current: bool = eg(True, "True for the current session of its user and client.", default=False)
    archive_id: str | None = eg(None, "Names the archived conversation.", default=None)
    statistics: SessionFigures = eg(
        {"requests": 18, "total_prompt_tokens": 351204, "context_percent": 18.4}, default=SessionFigures()
    )


class SessionList(Output):
    """Sessions, most recently active first. `next` goes on as `after`; null at the end."""

    sessions: list[Session] = eg([example_of(Session)])
    next: str | None = eg(None, default=None)


class NewSession(Input):
    """Which session is wanted; the live one of this user and config is given if there is one."""

    config_id: Name = eg("team-config")
    user_id: Name | None = eg("alice", default=None)
    name: Name | None = eg("refactoring", default=None)
    provider: Word | None = eg("moonshotai", default=None)
    model: Name | None = eg("kimi-k2.5", default=None)


class SessionQuery(Query):
    user: Name | None = None
    status: SessionStatus | None = None
    provider: Word | None = None
    after: Cursor | None = Field(default=None, description="`next` of the page before.")
    limit: int = Field(default=100, ge=1, le=1000)


class UserQuery(Query):
    user: Name | None = None


class StatsQuery(Query):
    session: Name | None = None
    since: Since | None = Field(default=None, description="ISO 8601; without a zone it is UTC.")


class FusionQuery(Query):
    session: Name | None = Field(default=None, description="The current session when left out.")


class LogSource(Output):
    """One log that is followed."""

    name: str = eg("claude-code")
    state: str = eg("following", "`following`, `absent`, `unreadable`, `off`.")
    files: int = eg(4, default=0)
    records: int = eg(210, "Records understood.", default=0)
    not_understood: int = eg(0, "Records seen but not understood.", default=0)


class Health(Output):
    """Whether all is well."""

    status: str = eg("ok", "`ok`, `degraded` (something is wrong, recording goes on), `failing`.")
    version: str = eg("0.1.0")
    uptime_s: float = eg(86.2)
    active_sessions: int = eg(2)
    exchanges: int = eg(1204, "Recorded in all.")
    queue_depth: int = eg(0, "Exchanges on their way into the store.")
    dropped: int = eg(0, "Pieces lost because a queue was full.")
    store: str = eg("ok", "`ok`, or a word for what is wrong: `unwritable`, `full`, `newer_schema`.")
    log_sources: list[LogSource] = eg([{"name": "claude-code", "state": "following"}], default=[])
    warnings: list[str] = eg([], "One sentence for each thing to look at.", default=[])
