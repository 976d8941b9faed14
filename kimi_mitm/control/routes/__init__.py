"""The routes, by noun; `ROUTERS` is all of them."""

from kimi_mitm.control.routes import events as events_routes
from kimi_mitm.control.routes import exchanges, flag, health, pages, sessions

ROUTERS = (
    health.router,
    flag.router,
    sessions.router,
    exchanges.router,
    events_routes.router,
    pages.router,
)
