"""The control endpoint's application: routes, guard, errors and schema put together."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from kimi_mitm.control import errors
from kimi_mitm.control.guard import ControlSettings, Guard
from kimi_mitm.control.live import Live
from kimi_mitm.control.routes import ROUTERS
from kimi_mitm.control.routes.events import STREAMS
from kimi_mitm.control.service import Service

_DESCRIPTION = """\
Sessions, exchanges and figures of the LLM traffic that goes through this mitmproxy, and the switch \
that makes a new session when the provider changes.

Errors are `{"error": {"code", "message"}}`. An unknown field or a wrong type is 422 and changes nothing. \
Unknown figures are null, never 0. Times are ISO 8601 in UTC, money is a decimal string in US dollars.

Live events come from `/events` (server-sent events) and `/ws` (WebSocket); see `x-streams`.
"""

_TAGS = [
    {"name": "auto-session", "description": "Whether a change of provider makes a new session."},
    {"name": "sessions", "description": "Stretches of work of one user with one client."},
    {"name": "exchanges", "description": "LLM exchanges and what they add up to."},
    {"name": "health", "description": "Whether all is well, and figures for Prometheus."},
]


def create_app(service: Service, settings: ControlSettings) -> FastAPI:
    """The application. `app.state.live.close()` ends its event streams; the listener does that."""
    app = FastAPI(
        title="kimi-mitm",
        version=settings.version,
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.state.service = service
    app.state.live = Live()
    for router in ROUTERS:
        app.include_router(router)
    errors.install(app, (route for router in ROUTERS for route in router.routes))
    app.add_middleware(Guard, settings=settings)
    _complete_schema(app, protected=bool(settings.token))
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _complete_schema(app: FastAPI, *, protected: bool) -> None:
    """Adds to the schema what the framework doesn't know: the streams, and the token when there is one."""
    drawn = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = drawn()
            schema["x-streams"] = STREAMS
            if protected:
                _add_token(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation extends it


def _add_token(schema: dict[str, Any]) -> None:
    schemes = schema.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["token"] = {"type": "http", "scheme": "bearer", "description": "`kimi_control_token`"}
    schema["security"] = [{"token": []}]
    schema["paths"]["/health"]["get"]["security"] = []
