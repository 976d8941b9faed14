"""What following the clients' logs costs: 10,000 files at rest, and 100 MB of new lines.

    python benchmarks/logs.py [--files 10000] [--megabytes 100] [--seconds 60] [--samples HOME …]

Prints the share of one core that following at rest takes (target: below 1 %), and how fast new lines are
taken in, for each kind of log (target: 20 MB/s). `--samples`: folders like a home, with logs of clients:
of each further source the largest file there is taken in too, again and again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from kimi_mitm.logs import SOURCES
from kimi_mitm.logs.find import Finder
from kimi_mitm.logs.follow import Logs
from kimi_mitm.logs.source import Kind, LogSource
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


def core_lines(count: int) -> str:
    """Continue's core.log: mostly notes, now and then an error with a stack, or CompileChat's report."""
    at = datetime.now(UTC).isoformat()[:19]
    stack = "".join(f"    at Object.<anonymous> (/opt/continue/out/index.js:{n}:17)\n" for n in range(8))
    lines = []
    for number in range(count):
        lines.append(f"[{at}] [info] Indexed /home/user/work/src/module_{number}.ts in {number % 90} ms \n")
        if number % 20 == 0:
            lines.append(f'[{at}] Error running handler for "config/get":  Error: not found\n{stack}')
        if number % 50 == 0:
            lines.append(
                f'[{at}] Error running handler for "llm/compileChat":  Error: Not enough context available.\n'
                "        There must be at least 1000 tokens remaining for output.\n"
                "        Request had the following token counts:\n        - contextLength: 32768\n"
                "        - counting safety buffer: 655.36\n        - tools: ~9120\n"
                "        - system message: ~2210\n        - max output tokens: 4096\n"
            )
    return "".join(lines)


def prompt_lines(count: int) -> str:
    """Continue's prompt.log: calls with prompts and answers of some KB."""
    prompt = "            | a line of the prompt, as long as lines of code mostly are\n" * 60
    answer = "".join(f"      +{n / 10:.1f} | and a piece of the answer\n" for n in range(1, 20))
    return "".join(
        f" {number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}.1 [Chat]\n"
        '            Options: {\n              "model": "kimi-k2.5"\n            }\n            Role: user\n'
        f"{prompt}{answer}       +2.0 Success\n"
        f"            Prompt Tokens: {1200 + number}\n            Generated Tokens: 45\n"
        for number in range(count)
    )


def samples(folders: list[Path]) -> Iterator[tuple[LogSource, str, bytes]]:
    """The largest file of each source of lines: its path below the home, and what it holds."""
    for source in SOURCES:
        files = [(home, f) for home in folders for f in Finder(source, home, {}, sys.platform).files()]
        if source.kind is not Kind.LINES or not files:
            continue
        home, found = max(files, key=lambda pair: pair[1].size)
        data = Path(found.path).read_bytes().rstrip(b"\n") + b"\n"
        yield source, os.path.relpath(found.path, home), data * (1_000_000 // len(data) + 1)


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


def grow(path: Path, data: bytes, megabytes: int) -> int:
    with path.open("ab") as file:
        for _ in range(max(1, megabytes * 1_000_000 // len(data))):
            file.write(data)
    return os.path.getsize(path)


async def taken_in(
    sources: tuple[LogSource, ...], home: Path, path: Path, text: bytes, megabytes: int
) -> tuple[float, float, float]:
    """MB/s of new lines by the clock and by the CPU's time, and readings per second."""
    store, logs = Store(), Logs(sources, home, env={})
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
    options.add_argument("--samples", type=Path, nargs="*", default=[])
    wanted = options.parse_args()
    made = {
        "claude-code": (".claude/projects/-home/s.jsonl", claude_lines(2000)),
        "codex": (f".codex/sessions/2026/11/20/rollout-{SESSION}.jsonl", codex_lines(3000)),
        "continue-core": (".continue/logs/core.log", core_lines(5000)),
        "continue-prompts": (".continue/logs/prompt.log", prompt_lines(200)),
    }
    kinds = {name: (SOURCES, path, text.encode()) for name, (path, text) in made.items()}
    for source, path, data in samples(wanted.samples):
        kinds.setdefault(source.name, ((source,), path, data))
    print("source | MB/s | MB per CPU second | readings/s")
    for kind, (sources, name, data) in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            (home / name).parent.mkdir(parents=True)
            (home / name).touch()
            speed, alone, rate = asyncio.run(taken_in(sources, home, home / name, data, wanted.megabytes))
            print(f"{kind} | {speed:.0f} | {alone:.0f} | {rate:.0f}")
    with tempfile.TemporaryDirectory() as folder:
        share = asyncio.run(at_rest(Path(folder), wanted.files, wanted.seconds))
        print(f"{wanted.files} files at rest: {share:.2%} of a core")


if __name__ == "__main__":
    main()
