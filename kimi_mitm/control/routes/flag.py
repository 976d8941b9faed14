"""The flag: whether a change of provider makes a new session."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from kimi_mitm.control.models import AutoSession, AutoSessionHistory, HistoryQuery, Nothing, SetAutoSession
from kimi_mitm.control.routes.common import Admin, Engine, ProviderId, Who, errors

router = APIRouter(tags=["auto-session"])


@router.get("/api/auto-session", responses=errors())
async def get_auto_session(engine: Engine) -> AutoSession:
    """The flag now."""
    return await engine.auto_session()


@router.put("/api/auto-session", responses=errors(body=True))
async def set_auto_session(wanted: SetAutoSession, engine: Engine, who: Who) -> AutoSession:
    """Sets the flag. It is persisted before the answer, and everybody who listens hears of it."""
    return await engine.set_auto_session(wanted.enabled, who)


@router.post("/api/auto-session/toggle", responses=errors(body=True))
async def toggle_auto_session(engine: Engine, who: Who, body: Nothing | None = None) -> AutoSession:
    """Flips the flag."""
    return await engine.toggle_auto_session(who)


@router.get("/api/auto-session/history", responses=errors())
async def get_auto_session_history(
    engine: Engine, query: Annotated[HistoryQuery, Query()]
) -> AutoSessionHistory:
    """The flag's changes, newest first."""
    return AutoSessionHistory(history=list(await engine.auto_session_history(query.limit)))


@router.put("/api/auto-session/providers/{provider}", responses=errors(body=True))
async def set_provider_auto_session(
    provider: ProviderId, wanted: SetAutoSession, engine: Engine, who: Who
) -> AutoSession:
    """Gives a provider a value of its own, which wins over the flag for it."""
    return await engine.set_provider_auto_session(provider, wanted.enabled, who)


@router.delete("/api/auto-session/providers/{provider}", responses=errors(body=True))
async def clear_provider_auto_session(provider: ProviderId, engine: Engine, who: Who) -> AutoSession:
    """Takes a provider's own value away; the flag holds for it again."""
    return await engine.set_provider_auto_session(provider, None, who)


@router.put("/api/auto-session/forced", responses=errors(body=True))
async def force_auto_session(wanted: SetAutoSession, engine: Engine, who: Admin) -> AutoSession:
    """Holds the flag at a value that others can't change. Needs the admin's token."""
    return await engine.force_auto_session(wanted.enabled, who)


@router.delete("/api/auto-session/forced", responses=errors(body=True))
async def release_auto_session(engine: Engine, who: Admin) -> AutoSession:
    """Lets the flag go. Needs the admin's token."""
    return await engine.force_auto_session(None, who)


@router.get("/api/sessions/auto-status", responses=errors())
async def get_auto_status(engine: Engine) -> AutoSession:
    """The dashboard's older name for `GET /api/auto-session`."""
    return await engine.auto_session()


@router.post("/api/sessions/toggle-auto", responses=errors(body=True))
async def set_auto_status(wanted: SetAutoSession, engine: Engine, who: Who) -> AutoSession:
    """The dashboard's older name for `PUT /api/auto-session`."""
    return await engine.set_auto_session(wanted.enabled, who)
