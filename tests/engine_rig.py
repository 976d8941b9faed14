"""An engine without processes: frames go in, the database and events come out."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kimi_mitm import link
from kimi_mitm.engine.desk import Desk
from kimi_mitm.engine.intake import Intake
from kimi_mitm.events import Event
from kimi_mitm.records import Exchange
from kimi_mitm.settings import Settings
from kimi_mitm.store import exchanges
from kimi_mitm.store.exchanges import Wanted

EPOCH = 1_770_000_000.0


@dataclass
class Downward:
    """What the recorder would have heard."""

    heard: list[link.Message] = field(default_factory=list)

    def put(self, head: link.Message, payload: Sequence[bytes] = ()) -> bool:
        self.heard.append(head)
        return True

    def words(self) -> list[str]:
        return [m.text for m in self.heard if isinstance(m, link.Word)]

    def notes(self) -> list[link.Note]:
        return [m for m in self.heard if isinstance(m, link.Note)]


class Clock:
    """The engine's clock, which stands until a test moves it."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Rig:
    """A desk and an intake on one thread; each exchange starts a second after the one before. `told` are
    the events that everybody heard."""

    def __init__(self, desk: Desk, downward: Downward, clock: Clock) -> None:
        self.desk = desk
        self.downward = downward
        self.clock = clock
        self.told: list[tuple[str, dict[str, Any]]] = []
        _listen(desk, self.told)
        self.news: list[Any] = []
        self.intake: Intake
        self._numbers = itertools.count(1)

    async def settle(self) -> None:
        """Handles everything that came out of the intake."""
        while self.news:
            batch, self.news[:] = list(self.news), []
            await self.desk.handle(batch)

    async def open(
        self,
        content: dict[str, Any] | bytes,
        *,
        path: str = "/v1/chat/completions",
        host: str = "api.openai.com",
        wire_format: str | None = "openai.chat",
        served_by: str | None = "openai",
        exchange_id: str | None = None,
        at: float | None = None,
        **more: Any,
    ) -> int:
        """A request; gives its number."""
        n = next(self._numbers)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"content-type": "application/json", **more.pop("headers", {})}
        opened = link.Opened(
            n=n,
            flow_id=f"flow-{n}",
            exchange_id=exchange_id or str(uuid.uuid4()),
            at=at if at is not None else EPOCH + n,
            method=more.pop("method", "POST"),
            url=f"https://{host}{path}",
            host=host,
            path=path,
            headers=headers,
            conn=more.pop("conn", "conn"),
            client_address="127.0.0.1",
            wire_format=wire_format,
            operation=more.pop("operation", "chat"),
            served_by=served_by,
            size=len(raw),
            **more,
        )
        self.intake.handle(opened, raw if opened.body == "whole" else b"")
        await self.settle()
        return n

    async def answer(self, n: int, *pieces: bytes, status: int = 200, **headers: str) -> None:
        """The head of the answer and pieces of its body."""
        known = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.intake.handle(link.Answered(n=n, at=EPOCH + n + 0.1, status=status, headers=known), b"")
        for i, piece in enumerate(pieces):
            frame = link.Pieces(n=n, times=[EPOCH + n + 0.2 + i / 100], sizes=[len(piece)])
            self.intake.handle(frame, piece)
        await self.settle()

    async def end(self, n: int, error: str | None = None, lost: int = 0) -> None:
        self.intake.handle(link.Ended(n=n, at=EPOCH + n + 0.9, error=error, lost=lost), b"")
        await self.settle()

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The data of the events of one type."""
        return [data for told, data in self.told if told == kind]

    async def pass_time(self, seconds: float) -> None:
        """Lets time pass, then looks after things once."""
        self.clock.wait(seconds)
        await self.desk.upkeep()

    async def chat(self, model: str = "gpt-4o", text: str = "hello", **more: Any) -> Exchange:
        """A whole chat exchange with reported usage; its record."""
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more.pop("body", {})}
        n = await self.open(body, **more)
        await self.answer(n, chat_answer(model))
        await self.end(n)
        found = next(o for k, o in reversed(self.told) if k == "exchange:completed")
        return await self.record(found["id"])

    async def record(self, exchange_id: str) -> Exchange:
        """One stored exchange."""
        assert self.desk.store.engine is not None
        found = await exchanges.get(self.desk.store.engine, exchange_id)
        assert found is not None
        return found

    async def records(self, **wanted: Any) -> list[Exchange]:
        """What is stored, oldest first."""
        await self.desk.store.flush()
        assert self.desk.store.engine is not None
        return [e async for e in exchanges.stream(self.desk.store.engine, Wanted(**wanted))]


def chat_answer(model: str = "gpt-4o", prompt: int = 12, output: int = 3) -> bytes:
    """A whole chat completion."""
    return json.dumps(
        {
            "id": f"chatcmpl-{uuid.uuid4().hex[:8]}",
            "object": "chat.completion",
            "model": model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
            ],
            "usage": {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output},
        }
    ).encode()


def sse(*documents: dict[str, Any]) -> list[bytes]:
    """Server-sent events, one piece each, with OpenAI's end."""
    return [b"data: " + json.dumps(d).encode() + b"\n\n" for d in documents] + [b"data: [DONE]\n\n"]


def _listen(desk: Desk, told: list[tuple[str, dict[str, Any]]]) -> None:
    publish = desk.hub.publish

    def also(type: str, data: Mapping[str, Any], at: datetime | None = None) -> Event:
        told.append((type, dict(data)))
        return publish(type, data, at)

    desk.hub.publish = also


async def start(folder: Path, clock: Clock | None = None, **settings: Any) -> Rig:
    """An engine on a database in the folder, without logs and control endpoint unless told otherwise;
    whoever starts it closes its desk."""
    values = {
        "db": str(folder / "kimi.db"),
        "control": None,
        "logs": ("off",),
        "archive_dir": str(folder / "users"),
    }
    downward, clock = Downward(), clock or Clock()
    made = Settings(**{**values, **settings})
    desk = Desk(made, downward, datetime.now(UTC), clock=clock)
    rig = Rig(desk, downward, clock)
    rig.intake = await desk.open(rig.news.append)
    return rig


@asynccontextmanager
async def engine(folder: Path, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Rig]:
    """The same, closed at the end."""
    rig = await start(folder, clock, **settings)
    try:
        yield rig
    finally:
        await rig.settle()
        await rig.desk.close()


async def crash(rig: Rig) -> None:
    """The engine's process dies: nothing of it runs any more, and nothing was ended."""
    for task in [*rig.desk._tasks, rig.desk._warming]:
        task.cancel()
    writer = rig.desk.store._writer
    if writer is not None and writer._task is not None:
        writer._task.cancel()
        await writer._disconnect()  # as the end of a process does by itself
    if rig.desk.store.engine is not None:
        await rig.desk.store.engine.dispose()


def files_with(folder: Path, text: str) -> list[Path]:
    """The files below the folder in which the text stands."""
    return [p for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]
