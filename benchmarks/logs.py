"""What following the clients' logs costs: 10,000 files at rest, and 100 MB of new lines.

    python benchmarks/logs.py [--files 10000] [--megabytes 100] [--seconds 60]

Prints the share of one core that following at rest takes (target: below 1 %), and how fast new lines are
taken in, for each kind of log (target: 20 MB/s).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from kimi_mitm.logs import SOURCES
from kimi_mitm.logs.follow import Logs
from kimi_mitm.records import Reading

SESSION = "57aaa5d9-b68e-45b0-8e4e-96ee5b0c1b70"


class Store:
    """Counts readings; places in memory."""

    def __init__(self) -> None:
        self.count = 0
        self.places: dict[str, str] = {}
        self.news = asyncio.Event()

    async def take(self, readings: tuple[Reading, ...]) -> None:
        self.count += len(readings)
        self.news.set()

    async def offsets(self) -> dict[str, str]:
        return dict(self.places)

    def save_offset(self, path: str, state: str | None) -> None:
        self.places[path] = state or ""


def claude_lines(count: int) -> str:
    """Lines in the proportions of a real session: an answer, a tool's result, a copy of the request."""
    at = datetime.now(UTC).isoformat()
    lines = []
    for number in range(count):
        usage = {"input_tokens": 5, "cache_read_input_tokens": 90_000, "output_tokens": 300 + number % 7}
        message = {"id": f"msg_{number}", "model": "claude-opus-5-5", "usage": usage, "role": "assistant"}
        message["content"] = [{"type": "text", "text": "word " * 200}]
        about = {"sessionId": SESSION, "timestamp": at, "cwd": "/home/user/work", "version": "2.1.329"}
        lines.append({"type": "assistant", "requestId": f"req_{number}", "message": message, **about})
        result = {"role": "user", "content": [{"type": "tool_result", "content": "line of a file\n" * 150}]}
        lines.append({"type": "user", "message": result, **about})
        lines.append({"type": "api-request-blob", "message": result, **about})
    return "".join(json.dumps(line) + "\n" for line in lines)


def codex_lines(count: int) -> str:
    at = datetime.now(UTC).isoformat()
    lines = []
    for number in range(count):
        text = {"type": "message", "role": "assistant", "content": [{"text": "word " * 400}]}
        lines.append({"timestamp": at, "type": "response_item", "payload": text})
        usage = {"input_tokens": 90_000, "cached_input_tokens": 80_000, "output_tokens": 300}
        record = {"response_id": f"resp_{number}", "usage": usage, "thread_id": SESSION}
        lines.append({"timestamp": at, "type": "token_usage_record", "payload": record})
    return "".join(json.dumps(line) + "\n" for line in lines)


async def at_rest(home: Path, files: int, seconds: float) -> float:
    """The share of a core that following takes when nothing happens."""
    sample = claude_lines(3)
    for number in range(files):
        folder = home / ".claude" / "projects" / f"-home-user-{number // 20}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:08}.jsonl").write_text(sample)
    store, logs = Store(), Logs(SOURCES, home, env={})
    began = time.perf_counter()
    task = asyncio.create_task(logs.follow(store.take, store))
    await logs.started.wait()
    print(f"taking stock of {files} files: {time.perf_counter() - began:.2f} s")
    await asyncio.sleep(3)
    cpu, clock = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (time.process_time() - cpu) / (time.perf_counter() - clock)
    logs.stop()
    await task
    return share


def grow(path: Path, text: str, megabytes: int) -> int:
    with path.open("a") as file:
        for _ in range(max(1, megabytes * 1_000_000 // len(text))):
            file.write(text)
    return os.path.getsize(path)


async def taken_in(home: Path, path: Path, text: str, megabytes: int) -> tuple[float, float, float]:
    """MB/s of new lines by the clock and by the CPU's time, and readings per second."""
    store, logs = Store(), Logs(SOURCES, home, env={})
    await logs.begin(store)
    size = await asyncio.to_thread(grow, path, text, megabytes)
    began, cpu = time.perf_counter(), time.process_time()
    await logs.poll(store.take, store)
    spent, used = time.perf_counter() - began, time.process_time() - cpu
    return size / 1e6 / spent, size / 1e6 / used, store.count / spent


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--megabytes", type=int, default=100)
    options.add_argument("--seconds", type=float, default=60.0)
    wanted = options.parse_args()
    kinds = {
        ".claude/projects/-home/s.jsonl": claude_lines(2000),
        f".codex/sessions/2026/11/20/rollout-{SESSION}.jsonl": codex_lines(3000),
    }
    for name, text in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            (home / name).parent.mkdir(parents=True)
            (home / name).touch()
            speed, alone, rate = asyncio.run(taken_in(home, home / name, text, wanted.megabytes))
            print(
                f"{name.split('/')[0]}: {speed:.0f} MB/s ({alone:.0f} per CPU second), {rate:.0f} readings/s"
            )
    with tempfile.TemporaryDirectory() as folder:
        share = asyncio.run(at_rest(Path(folder), wanted.files, wanted.seconds))
        print(f"{wanted.files} files at rest: {share:.2%} of a core")


if __name__ == "__main__":
    main()
