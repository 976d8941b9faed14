"""What every route needs: the service, who asks, and the errors it may answer with."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import Depends, Path
from starlette.requests import HTTPConnection

from kimi_mitm.control.fields import ID_PATTERN, WORD_PATTERN
from kimi_mitm.control.models import ErrorAnswer
from kimi_mitm.control.service import Caller, ControlError, Service

_MAX_CALLER = 64


async def service_of(connection: HTTPConnection) -> Service:
    """The service that the application was made with."""
    return cast(Service, connection.app.state.service)


async def caller_of(connection: HTTPConnection) -> Caller:
    """Who asks, by `X-User-Id`; `api` without one."""
    name = connection.headers.get("x-user-id", "")[:_MAX_CALLER].strip()
    admin = bool(getattr(connection.state, "admin", False))
    return Caller(name if name and name.isprintable() else "api", admin)


async def admin_of(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    """The same, refusing everybody but the admin."""
    if not caller.admin:
        raise ControlError(403, "not_admin", "This needs the admin's token.")
    return caller


Engine = Annotated[Service, Depends(service_of)]
Who = Annotated[Caller, Depends(caller_of)]
Admin = Annotated[Caller, Depends(admin_of)]
SessionId = Annotated[str, Path(pattern=ID_PATTERN, description="A session's id.")]
ExchangeId = Annotated[str, Path(pattern=ID_PATTERN, description="An exchange's id.")]
ProviderId = Annotated[str, Path(pattern=WORD_PATTERN, description="A provider's id.")]

_ERRORS = {
    400: "The body can't be parsed.",
    401: "The token is missing or wrong.",
    403: "Not from here: a foreign Host or site, or somebody else's to change.",
    404: "There is no such thing.",
    405: "The route has no such method.",
    408: "The body did not come in time.",
    409: "Its state does not allow that.",
    413: "The body is too large.",
    415: "The body isn't JSON.",
    422: "A field is unknown, missing or of the wrong type; nothing was changed.",
    500: "A fault of ours.",
    503: "Not possible now.",
}
_ALWAYS = (401, 403, 405, 422, 500)
_WITH_BODY = (400, 408, 413, 415)


def errors(*statuses: int, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for the schema."""
    wanted = sorted({*_ALWAYS, *statuses, *(_WITH_BODY if body else ())})
    return {status: {"model": ErrorAnswer, "description": _ERRORS[status]} for status in wanted}


def missing(what: str) -> ControlError:
    """The 404 for a thing that was asked for by its id."""
    return ControlError(404, "not_found", f"There is no such {what}.")
