"""Exchanges, statistics and fused readings."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response

from kimi_mitm.control.figures import ExchangePage, ExchangeQuery, ExchangeView, Fusion, Stats
from kimi_mitm.control.models import FusionQuery, StatsQuery
from kimi_mitm.control.routes.common import Engine, ExchangeId, errors, missing
from kimi_mitm.render import exchange_json

router = APIRouter(tags=["exchanges"])


@router.get("/api/exchanges", response_model=ExchangePage, responses=errors(404))
async def list_exchanges(engine: Engine, query: Annotated[ExchangeQuery, Query()]) -> Response:
    """Exchanges, oldest first unless asked otherwise, page by page."""
    exchanges, following = await engine.exchanges(query)
    page = {"exchanges": [exchange_json(exchange) for exchange in exchanges], "next": following}
    return _json(page)


@router.get("/api/exchanges/{exchange_id}", response_model=ExchangeView, responses=errors(404))
async def get_exchange(exchange_id: ExchangeId, engine: Engine) -> Response:
    """One exchange."""
    exchange = await engine.exchange(exchange_id)
    if exchange is None:
        raise missing("exchange")
    return _json(exchange_json(exchange))


@router.get("/api/stats", responses=errors())
async def get_stats(engine: Engine, query: Annotated[StatsQuery, Query()]) -> Stats:
    """Totals and estimate accuracy, of a session or of all, by provider and by model."""
    return await engine.stats(query)


@router.get("/api/fusion", responses=errors(404))
async def get_fusion(engine: Engine, query: Annotated[FusionQuery, Query()]) -> Fusion:
    """The current fused reading of a session, the rule that won, and every candidate."""
    fusion = await engine.fusion(query.session)
    if fusion is None:
        raise missing("session")
    return fusion


def _json(value: object) -> Response:
    """Records go out as `render` makes them; checking each against the model again costs ten times more."""
    return Response(msgspec.json.encode(value, enc_hook=str), media_type="application/json")
