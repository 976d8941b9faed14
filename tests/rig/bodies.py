"""Requests and answers of the shapes that the tests need, with figures to recognise them by."""

from __future__ import annotations

import json
from typing import Any

CHAT_URL = "https://api.openai.com/v1/chat/completions"
MESSAGES_URL = "https://api.anthropic.com/v1/messages"


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    """A chat request."""
    messages = [{"role": "user", "content": text} for text in texts or ("hi",)]
    return {"model": "gpt-4o-mini", "messages": messages, **more}


def chat_answer(prompt: int = 11, output: int = 3, text: str = "hello") -> bytes:
    """A whole chat answer with figures."""
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": output,
                "total_tokens": prompt + output,
            },
        }
    ).encode()


def chat_events(words: int = 3, prompt: int = 11) -> list[bytes]:
    """The same as server-sent events, one piece each: words, the end, usage, `[DONE]`."""

    def event(**fields: Any) -> bytes:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "model": "gpt-4o-mini-2024-07-18",
            **fields,
        }
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def choice(delta: dict[str, Any], reason: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": reason}]

    usage = {"prompt_tokens": prompt, "completion_tokens": words, "total_tokens": prompt + words}
    return [
        *(event(choices=choice({"content": f"word{i} "})) for i in range(words)),
        event(choices=choice({}, "stop")),
        event(choices=[], usage=usage),
        b"data: [DONE]\n\n",
    ]
