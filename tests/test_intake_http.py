"""An exchange that only its answer tells for sure is read like any other once it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine_rig import engine

OLLAMA = {"model": "llama3.2", "created_at": "2026-01-01T00:00:00Z"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]], str]] = {
    "an Ollama on this machine": (
        {"path": "/api/chat", "host": "localhost", "wire_format": "ollama.chat", "served_by": None},
        {"model": "llama3.2", "messages": [{"role": "user", "content": "hello"}]},
        [
            {**OLLAMA, "message": {"role": "assistant", "content": "hi"}, "done": False},
            {**OLLAMA, "message": {"role": "assistant", "content": ""}, "done": True, "prompt_eval_count": 9}
            | {"eval_count": 2},
        ],
        "application/x-ndjson",
    ),
    "a path that says nothing": (
        {
            "path": "/talk",
            "host": "ai.example.com",
            "wire_format": None,
            "served_by": None,
            "certain": False,
        },
        {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "stream": True},
        [
            {
                "object": "chat.completion.chunk",
                "id": "c",
                "choices": [{"delta": {"content": "a"}}],
            },
            {
                "object": "chat.completion.chunk",
                "id": "c",
                "choices": [],
                "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
            },
        ],
        "text/event-stream",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_the_first_token_of_a_short_answer_has_its_time(name: str, tmp_path: Path) -> None:
    place, asked, documents, kind = CASES[name]
    start, end = ("data: ", "\n\n") if kind == "text/event-stream" else ("", "\n")
    pieces = [f"{start}{json.dumps(d)}{end}".encode() for d in documents]
    async with engine(tmp_path) as rig:
        n = await rig.open(asked, **place)
        await rig.answer(n, *pieces, content_type=kind)
        await rig.end(n)
        (record,) = await rig.records()

    assert (record.input_tokens, record.output_tokens, record.stream) == (9, 2, True)
    assert record.ttft_ms == pytest.approx(200, abs=1)
