"""Where everything about an exchange comes together: placed in a session, settled, stored, told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kimi_mitm import draft as drafts
from kimi_mitm import error_figures, fusion, link
from kimi_mitm.draft import Draft
from kimi_mitm.events import Hub
from kimi_mitm.intake import Intake, Update
from kimi_mitm.records import Exchange, Reading, Source, Usage
from kimi_mitm.render import exchange_json
from kimi_mitm.settings import Settings
from kimi_mitm.store import Store
from kimi_mitm.tokens import Estimator

log = logging.getLogger(__name__)


class Desk:
    """The engine's loop side. `handle` takes the intake's news one after the other."""

    def __init__(self, settings: Settings, outbox: link.Outbox) -> None:
        self._settings = settings
        self._outbox = outbox
        self.hub = Hub()
        self.lost = link.Lost(bodies=0, frames=0, hurried=0, restarts=0)

    async def open(self, emit: Callable[[Any], None]) -> Intake:
        """Opens the store and everything on it; gives the intake, ready to be fed."""
        self.store = await Store.open(self._settings.db, self.say)
        self.estimator = Estimator(await self.store.learner())
        self._outbox.put(link.Ready(control=None, store=self.store.trouble is None))
        return Intake(self.estimator, emit)

    async def close(self) -> None:
        """Writes what waits and lets go."""
        await self.store.close(30.0)

    def say(self, text: str) -> None:
        """One line for mitmproxy's log."""
        self._outbox.put(link.Word(text=text, level="warning"))

    def faulty(self, error: Exception) -> None:
        """Our own fault; the next exchange is not to suffer."""
        self.say(f"an exchange could not be recorded ({type(error).__name__})")

    async def handle(self, news: object) -> None:
        """Takes one piece of news."""
        match news:
            case Update(stage="started"):
                await self._started(news)
            case Update(stage="updated"):
                self.hub.publish("exchange:updated", exchange_json(news.draft.exchange))
            case Update(stage="completed"):
                await self._completed(news)
            case link.Lost():
                self.lost = news

    async def _started(self, update: Update) -> None:
        exchange = update.draft.exchange
        if not self._settings.offline:
            self.store.save(exchange)
        self.hub.publish("exchange:started", exchange_json(exchange))

    async def _completed(self, update: Update) -> None:
        draft = update.draft
        exchange = settle(draft.exchange, [*update.readings, *_errors(draft)])
        self.store.save(exchange)
        self.hub.publish("exchange:completed", exchange_json(exchange))


def settle(exchange: Exchange, readings: list[Reading]) -> Exchange:
    """The exchange with the figures that its readings settle."""
    fused = fusion.settle(readings)
    settled = replace(
        drafts.with_usage(exchange, fused.usage),
        is_estimated=fused.is_estimated,
        source=fused.source,
        via=fused.via,
    )
    return drafts.priced(settled, fused.usage)


def _errors(draft: Draft) -> list[Reading]:
    exchange = draft.exchange
    if exchange.error is None:
        return []
    stated = error_figures.prompt_tokens_of_error(exchange.error.type, exchange.error.message, None)
    if stated is None:
        return []
    return [
        Reading(
            source=Source.API_ERROR,
            reported=True,
            at=exchange.ended_at or exchange.started_at,
            key=f"error:{exchange.id}",
            origin=f"flow:{exchange.flow_id}",
            usage=Usage(input_tokens=stated.input_tokens),
            lower_bound=stated.lower_bound,
            context_window=stated.context_window,
        )
    ]
