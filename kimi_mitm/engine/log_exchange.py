"""What a log's record says, fit to be kept: without secrets, and as an exchange of its own."""

from __future__ import annotations

from dataclasses import replace

from kimi_mitm import providers, redact
from kimi_mitm.fusion.match import log_exchange_id
from kimi_mitm.records import Exchange, Operation, Problem, Reading, Source


def clean(reading: Reading) -> Reading:
    """The reading without secrets in the client's own words."""
    return replace(
        reading,
        title=redact.text(reading.title) if reading.title else None,
        problem=_clean(reading.problem),
    )


def made_of(reading: Reading) -> Exchange:
    """The exchange that only a log knows, before its figures are settled."""
    return Exchange(
        id=log_exchange_id(reading),
        started_at=min(reading.started_at or reading.at, reading.at),
        ended_at=reading.at,
        user=reading.user,
        client=reading.client or "unknown",
        client_version=reading.client_version,
        client_session_id=reading.client_session_id,
        provider=providers.provider_of(reading.model),
        model=reading.model,
        operation=Operation.CHAT,
        side=bool(reading.side),
        transport="unknown",
        source=Source.LOGS,
        finish_reason=reading.finish_reason,
        error=_clean(reading.problem),
    )


def _clean(problem: Problem | None) -> Problem | None:
    return Problem(problem.type, redact.text(problem.message)) if problem else None
