"""What the engine holds, as the control endpoint shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kimi_mitm.control.models import Accuracy, ContextLevel, LogSource, SessionFigures, SessionStatus
from kimi_mitm.control.models import Session as SessionView
from kimi_mitm.sessions.record import Session

if TYPE_CHECKING:
    from kimi_mitm.logs.follow import SourceHealth


def session_view(session: Session, current: bool) -> SessionView:
    """A session with its figures; `current`: it is the current one of its scope."""
    stats = session.stats
    figures = SessionFigures(
        requests=stats.requests,
        max_tokens=stats.max_tokens,
        mean_tokens=stats.mean_tokens,
        total_prompt_tokens=stats.total_prompt_tokens,
        total_completion_tokens=stats.total_completion_tokens,
        total_cached_tokens=stats.total_cached_tokens,
        total_reasoning_tokens=stats.total_reasoning_tokens,
        cost_usd=stats.cost_usd,
        unpriced_requests=stats.unpriced_requests,
        estimate_accuracy=Accuracy(
            requests=stats.judged,
            median_error=stats.median_error,
            p90_error=stats.p90_error,
            last_error=stats.last_error,
        ),
        context_tokens=stats.context_tokens,
        context_window=stats.context_window,
        context_percent=stats.context_percent,
        context_level=ContextLevel(stats.context_level.value) if stats.context_level else None,
        memory_tokens=stats.memory_tokens,
        chat_tokens=stats.chat_tokens,
        memory_ratio=stats.memory_ratio,
    )
    return SessionView(
        session_id=session.session_id,
        config_id=session.config_id,
        user_id=session.user,
        session_status=SessionStatus(session.status.value),
        started_at=session.started_at,
        updated_at=session.last_activity_at,
        ended_at=session.ended_at,
        name=session.name,
        provider=session.provider,
        providers=list(stats.providers),
        model=session.model,
        client=session.client,
        client_session_id=session.client_session_id,
        kind=session.kind.value,
        folder=session.folder,
        current=current and session.live,
        archive_id=session.archive_id,
        statistics=figures,
    )


def log_source(health: SourceHealth) -> LogSource:
    """How a followed log does."""
    return LogSource(
        name=health.name,
        state="unreadable" if health.unreadable and not health.files else "following",
        files=health.files,
        records=health.understood,
        not_understood=health.seen - health.understood,
    )
