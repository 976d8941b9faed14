"""Sessions: list, get or create, switch to, end, clear."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from kimi_mitm.control.models import NewSession, Nothing, Session, SessionList, SessionQuery, UserQuery
from kimi_mitm.control.routes.common import Engine, SessionId, Who, errors, missing

router = APIRouter(tags=["sessions"])


@router.post(
    "/api/sessions",
    response_model=Session,
    status_code=201,
    responses={200: {"model": Session, "description": "The live session."}, **errors(409, body=True)},
)
async def create_session(wanted: NewSession, engine: Engine, who: Who, response: Response) -> Session:
    """Get or create: the live session of this user and config (200), else a new one (201)."""
    session, created = await engine.create_session(wanted, who)
    response.status_code = status.HTTP_201_CREATED if created else status.HTTP_200_OK
    return session


@router.get("/api/sessions", responses=errors(404))
async def list_sessions(engine: Engine, query: Annotated[SessionQuery, Query()]) -> SessionList:
    """Sessions, most recently active first."""
    return await engine.sessions(query)


@router.get("/api/sessions/active", responses=errors())
async def list_active_sessions(engine: Engine, query: Annotated[UserQuery, Query()]) -> SessionList:
    """The current session of each user and client."""
    return SessionList(sessions=list(await engine.active_sessions(query.user)))


@router.get("/api/sessions/{session_id}", responses=errors(404))
async def get_session(session_id: SessionId, engine: Engine) -> Session:
    """One session with its statistics."""
    return _known(await engine.session(session_id))


@router.post("/api/sessions/{session_id}/activate", responses=errors(404, 409, body=True))
async def activate_session(
    session_id: SessionId, engine: Engine, who: Who, body: Nothing | None = None
) -> Session:
    """Switches to it: from now on it is the current session of its user and client."""
    return _known(await engine.activate_session(session_id, who))


@router.post("/api/sessions/{session_id}/end", responses=errors(404, 409, body=True))
async def end_session(
    session_id: SessionId, engine: Engine, who: Who, body: Nothing | None = None
) -> Session:
    """Ends and archives it."""
    return _known(await engine.end_session(session_id, who))


@router.delete("/api/sessions/{session_id}", status_code=204, responses=errors(404, 409, body=True))
async def clear_session(session_id: SessionId, engine: Engine, who: Who) -> None:
    """Clears it: removed, without an archive."""
    if not await engine.clear_session(session_id, who):
        raise missing("session")


def _known(session: Session | None) -> Session:
    if session is None:
        raise missing("session")
    return session
