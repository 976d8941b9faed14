"""An engine without a process: frames are encoded, decoded and read at once, and a test sees what came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kimi_mitm import link
from kimi_mitm.engine.drafting import Fault, Update
from kimi_mitm.engine.intake import Intake
from kimi_mitm.outbox import Frame
from kimi_mitm.records import Exchange
from kimi_mitm.settings import Settings
from kimi_mitm.tokens import Estimator

DEADLINE_S = 10.0
_HEAD = 8


class Inline:
    """Stands in for `child.Child`. `frames` are all heads with their payload, in order; `records` the
    finished exchanges by id, `ended` the same in the order they finished."""

    last: Inline

    def __init__(
        self,
        settings: Settings,
        heard: Callable[[link.Downward], object],
        died: Callable[[Sequence[Frame]], object],
    ) -> None:
        Inline.last = self
        self.settings = settings
        self.heard, self.died = heard, died
        self.busy = False
        self.hurried = 0
        self.faults = 0
        self.full = False
        self._news = asyncio.Event()
        self.forget_everything()

    def forget_everything(self) -> None:
        """What a new process would know."""
        self.frames: list[tuple[link.Upward, bytes]] = []
        self.started: list[Exchange] = []
        self.updated: list[Exchange] = []
        self.ended: list[Exchange] = []
        self.records: dict[str, Exchange] = {}
        self.errors: list[BaseException] = []
        self._intake = Intake(Estimator({}), self._take)

    def start(self) -> None:
        self.heard(link.Ready(control=self.settings.control))

    def put(self, head: link.Upward, payload: Sequence[bytes] = (), *, wake: bool = True) -> bool:
        if self.full and payload:
            return False
        data = b"".join(payload)
        decoded = link.UPWARD.decode(link.frame_head(head, len(data))[_HEAD:])
        self.frames.append((decoded, data))
        try:
            self._intake.handle(decoded, data)
        except BaseException as e:
            self.errors.append(e)
        self._news.set()
        return True

    def room(self) -> Coroutine[Any, Any, None] | None:
        return None

    def losses(self) -> link.Lost:
        return link.Lost(bodies=0, frames=0, hurried=self.hurried, restarts=0, faults=self.faults)

    async def close(self, limit_s: float | None) -> bool:
        return True

    def heads[M](self, kind: type[M]) -> list[M]:
        """All heads of one kind, in order."""
        return [head for head, _ in self.frames if isinstance(head, kind)]

    async def until[T](self, look: Callable[[], T]) -> T:
        """Waits until `look` gives something, and gives it."""
        async with asyncio.timeout(DEADLINE_S):
            while not (found := look()):
                self._news.clear()
                await self._news.wait()
        return found

    async def record(self, count: int = 1) -> Exchange:
        """The last of `count` finished exchanges."""
        await self.until(lambda: len(self.ended) >= count)
        return self.ended[count - 1]

    def _take(self, news: object) -> None:
        if isinstance(news, Fault):
            self.errors.append(AssertionError(news.place))
        if not isinstance(news, Update):
            return
        exchange = news.draft.exchange
        match news.stage:
            case "started":
                self.started.append(exchange)
            case "updated":
                self.updated.append(exchange)
            case _:
                self.ended.append(exchange)
                self.records[exchange.id] = exchange
