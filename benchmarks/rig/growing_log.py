"""A log of Claude Code's that grows while the benchmark runs."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

SESSION = "5f1c09aa-0000-4000-8000-000000000001"
_EVERY_S = 0.1


def _lines(first: int, size: int) -> bytes:
    """About `size` bytes of lines: an answer and a tool's long result in turn, the answers numbered on."""
    at = datetime.now(UTC).isoformat()
    about = {"sessionId": SESSION, "timestamp": at, "cwd": "/home/user/work", "version": "2.1.329"}
    result = {"role": "user", "content": [{"type": "tool_result", "content": "line of a file\n" * 15_000}]}
    after = json.dumps({"type": "user", "message": result, **about})
    usage = {"input_tokens": 5, "cache_read_input_tokens": 90_000, "output_tokens": 300}
    lines: list[str] = []
    while sum(map(len, lines)) < size:
        text = [{"type": "text", "text": "word " * 200}]
        message = {"id": f"msg_{first}_{len(lines)}", "model": "claude-opus-5-5", "role": "assistant"}
        answer = {"type": "assistant", "requestId": f"req_{first}_{len(lines)}", **about}
        lines += [json.dumps({**answer, "message": {**message, "usage": usage, "content": text}}), after]
    return "".join(f"{line}\n" for line in lines).encode()


async def grow(home: Path, rate: int, seconds: float) -> None:
    """Adds `rate` bytes a second to a log below `home`, for at most `seconds`."""
    pieces = [_lines(number, int(rate * _EVERY_S)) for number in range(int(seconds / _EVERY_S))]
    path = home / ".claude" / "projects" / "bench" / f"{SESSION}.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()
    await asyncio.sleep(2)  # the folder is found
    for piece in pieces:
        with path.open("ab") as log:
            log.write(piece)
        await asyncio.sleep(_EVERY_S)
