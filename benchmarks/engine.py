"""What the engine's processor time goes to: exchanges, events of a stream, a growing conversation.

    python benchmarks/engine.py [--rounds 5] [--scenario small,stream,agent] [--json FILE] [--profile NAME]

No proxy and no pipe: frames go into an intake and its news into a desk, in this process, with a database in
a temporary folder. Figures are processor milliseconds (this process, all threads), medians over the rounds:

- `small`: a short chat and its answer, 8 exchanges a batch, as under load; `alone`: one a batch.
- `stream`: what one server-sent event of an answer costs, in microseconds.
- `agent`: a turn of a coding agent whose request carries 200,000 tokens of history, of which 2,000 are new.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from kimi_mitm import link
from kimi_mitm.engine.desk import Desk
from kimi_mitm.engine.drafting import News
from kimi_mitm.engine.intake import Intake
from kimi_mitm.outbox import Outbox
from kimi_mitm.settings import Settings

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 1, "total_tokens": 13},
    }
).encode()
EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1770000000,"model":"gpt-4o",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-1","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":12,'
    b'"completion_tokens":200,"total_tokens":212}}\n\ndata: [DONE]\n\n'
)
EVENTS = 10_000
A_FRAME = 12
WORDS = Path(__file__).read_text(encoding="utf-8").split()


class Bench:
    """An engine, and exchanges to feed it."""

    def __init__(self, desk: Desk, intake: Intake, news: list[News]) -> None:
        self.desk, self.intake, self._news = desk, intake, news
        self._n = 0

    def exchange(self, body: bytes, pieces: list[bytes], session: str = "") -> None:
        self._n += 1
        n, at = self._n, time.time()
        headers = {"user-agent": "bench/1", "content-type": "application/json"}
        if session:
            headers["session_id"] = session
        opened = link.Opened(
            n=n,
            flow_id=str(uuid.uuid4()),
            exchange_id=str(uuid.uuid4()),
            at=at,
            method="POST",
            url="https://api.openai.com/v1/chat/completions",
            host="api.openai.com",
            path="/v1/chat/completions",
            headers=headers,
            conn="c",
            client_address="127.0.0.1",
            wire_format="openai.chat",
            operation="chat",
            served_by="openai",
            size=len(body),
        )
        self.intake.handle(opened, body)
        kind = "application/json" if len(pieces) == 1 else "text/event-stream"
        self.intake.handle(link.Answered(n=n, at=at, status=200, headers={"content-type": kind}), b"")
        for i in range(0, len(pieces), A_FRAME):
            some = pieces[i : i + A_FRAME]
            frame = link.Pieces(n=n, times=[at] * len(some), sizes=[len(p) for p in some])
            self.intake.handle(frame, b"".join(some))
        self.intake.handle(link.Ended(n=n, at=at), b"")

    async def batch(self) -> None:
        """What has come out so far, as one batch."""
        news, self._news[:] = list(self._news), []
        await self.desk.handle(news)


@asynccontextmanager
async def engine() -> AsyncIterator[Bench]:
    """A warm engine without logs and control endpoint."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            db=f"{folder}/kimi.db", control=None, logs=("off",), archive_dir=f"{folder}/users"
        )
        desk, news = Desk(settings, Outbox(1 << 24), datetime.now(UTC)), list[News]()
        intake = await desk.open(news.append)
        await desk._warming
        bench = Bench(desk, intake, news)
        for _ in range(20):
            bench.exchange(_chat(["hello"]), [ANSWER])
            await bench.batch()
        yield bench
        await desk.close()


def _chat(texts: list[str]) -> bytes:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return json.dumps({"model": "gpt-4o", "messages": messages}).encode()


def _text(rng: random.Random, tokens: int) -> str:
    return " ".join(rng.choices(WORDS, k=tokens // 4))


async def small(bench: Bench, clock: Callable[[], float], a_batch: int = 8) -> dict[str, float]:
    """Milliseconds for an exchange."""
    bodies = [_chat([f"What is {i} and {i * 7}? Answer in one word."]) for i in range(240)]
    started = clock()
    for i, body in enumerate(bodies):
        bench.exchange(body, [ANSWER])
        if i % a_batch == a_batch - 1:
            await bench.batch()
    await bench.batch()
    return {"ms_per_exchange": (clock() - started) * 1000 / len(bodies)}


async def alone(bench: Bench, clock: Callable[[], float]) -> dict[str, float]:
    """The same, one a batch."""
    return await small(bench, clock, 1)


async def stream(bench: Bench, clock: Callable[[], float]) -> dict[str, float]:
    """Microseconds for an event: a long answer's cost less a short one's."""
    body = _chat(["Tell me a long story."])
    spent = []
    for count in (10, EVENTS + 10):
        started = clock()
        for _ in range(5):
            bench.exchange(body, [*[EVENT] * count, LAST])
            await bench.batch()
        spent.append(clock() - started)
    return {"us_per_event": (spent[1] - spent[0]) * 1e6 / (5 * EVENTS)}


async def agent(bench: Bench, clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds for a turn of a long conversation, and for its first."""
    rng, session = random.Random(uuid.uuid4().int), str(uuid.uuid4())
    texts = [_text(rng, 1000) for _ in range(200)]
    body = _chat(texts)
    started = clock()
    bench.exchange(body, [ANSWER], session)
    await bench.batch()
    first = clock() - started
    spent = []
    for _ in range(10):
        texts += [_text(rng, 1000), _text(rng, 1000)]
        body = _chat(texts)
        started = clock()
        bench.exchange(body, [ANSWER], session)
        await bench.batch()
        spent.append(clock() - started)
    return {"ms_first_turn": first * 1000, "ms_per_turn": statistics.median(spent) * 1000}


type Scenario = Callable[[Bench, Callable[[], float]], Awaitable[dict[str, float]]]
SCENARIOS: dict[str, Scenario] = {"small": small, "alone": alone, "stream": stream, "agent": agent}


async def measure(names: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Medians by scenario and figure."""
    found: dict[str, dict[str, list[float]]] = {}
    async with engine() as bench:
        for _ in range(rounds):
            for name in names:
                for figure, value in (await SCENARIOS[name](bench, time.process_time)).items():
                    found.setdefault(name, {}).setdefault(figure, []).append(value)
    return {
        n: {f: round(statistics.median(v), 2) for f, v in figures.items()} for n, figures in found.items()
    }


async def profile(name: str) -> None:
    """Where a scenario's time goes, by function."""
    async with engine() as bench:
        profiler = cProfile.Profile()
        profiler.enable()
        await SCENARIOS[name](bench, time.process_time)
        profiler.disable()
    stats: Any = pstats.Stats(profiler)
    for order in ("cumulative", "tottime"):
        stats.sort_stats(order).print_stats(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scenario", default=",".join(SCENARIOS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", choices=SCENARIOS)
    args = parser.parse_args()
    if args.profile:
        asyncio.run(profile(args.profile))
        return
    found = asyncio.run(measure(args.scenario.split(","), args.rounds))
    for name, figures in found.items():
        print(f"{name:8}", "  ".join(f"{figure} {value}" for figure, value in figures.items()))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
