"""An engine without processes: frames go in, the database and events come out."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kimi_mitm import link
from kimi_mitm.desk import Desk
from kimi_mitm.intake import Intake
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


class Rig:
    """A desk and an intake on one thread; `now` moves by a second with each frame's exchange."""

    def __init__(self, desk: Desk, downward: Downward) -> None:
        self.desk = desk
        self.downward = downward
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
            exchange_id=exchange_id or str(uuid.uuid5(uuid.NAMESPACE_URL, f"rig {n}")),
            at=at if at is not None else EPOCH + n,
            method=more.pop("method", "POST"),
            url=f"https://{host}{path}",
            host=host,
            path=path,
            headers=headers,
            conn=more.pop("conn", "conn"),
            client_address="127.0.0.1",
            wire_format=wire_format,
            operation="chat",
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

    async def chat(self, model: str = "gpt-4o", text: str = "hello", **more: Any) -> Exchange:
        """A whole chat exchange with reported usage; its record."""
        n = await self.open({"model": model, "messages": [{"role": "user", "content": text}]}, **more)
        await self.answer(n, chat_answer(model))
        await self.end(n)
        return (await self.records())[-1]

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


@asynccontextmanager
async def engine(folder: Path, **settings: Any) -> AsyncIterator[Rig]:
    """An engine on a database in the folder, without logs and control endpoint unless told otherwise."""
    values = {
        "db": str(folder / "kimi.db"),
        "control": None,
        "logs": ("off",),
        "archive_dir": str(folder / "users"),
    }
    downward = Downward()
    desk = Desk(Settings(**{**values, **settings}), downward, datetime.now(UTC))  # type: ignore[arg-type]
    rig = Rig(desk, downward)
    rig.intake = await desk.open(rig.news.append)
    try:
        yield rig
    finally:
        await rig.settle()
        await desk.close()
