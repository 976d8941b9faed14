"""Health, and figures for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from kimi_mitm.control import metrics
from kimi_mitm.control.models import Health
from kimi_mitm.control.routes.common import Engine, errors

router = APIRouter(tags=["health"])


@router.get(
    "/health",
    responses={503: {"model": Health, "description": "The store can't be written."}, **errors()},
)
async def get_health(engine: Engine, response: Response) -> Health:
    """Whether all is well; needs no token."""
    health = await engine.health()
    if health.store != "ok":
        response.status_code = 503
    return health


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {"description": "Figures.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **errors(),
    },
)
async def get_metrics(engine: Engine) -> Response:
    """The figures in Prometheus' text format."""
    return Response(metrics.render(await engine.metrics()), media_type=metrics.CONTENT_TYPE)
