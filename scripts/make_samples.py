"""Makes `samples/demo.flow`: conversations written by hand, in the wire formats of real clients.

python scripts/make_samples.py [file]

No provider took part: texts, figures and ids are made up, and the same conversations come out every time.
"""

from __future__ import annotations

import base64
import gzip
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mitmproxy import io, websocket
from sample_flows import (
    FUNCTIONS,
    SSE_TYPE,
    TOOLS,
    Recording,
    anthropic_events,
    aws_frame,
    encoded,
    sse,
    words,
)
from wsproto.frame_protocol import Opcode

GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro"
ROOT = Path(__file__).resolve().parents[1]
SYSTEM = (ROOT / "samples" / "agent.md").read_text(encoding="utf-8")
CODE = (ROOT / "samples" / "parser.py").read_text(encoding="utf-8")
PNG = base64.b64encode((ROOT / "samples" / "chart.png").read_bytes()).decode()


def claude_code(recording: Recording) -> None:
    """Two turns of an agent's loop: it thinks and reads a file, then explains. gzip over SSE."""
    question = {"role": "user", "content": [{"type": "text", "text": "Why does parse('') fail? Fix it."}]}
    call = {"type": "tool_use", "id": "toolu_01", "name": "Read", "input": {"path": "parser.py"}}
    thought = {"type": "thinking", "thinking": "I should look at the parser first.", "signature": "c2ln" * 30}
    result = {"type": "tool_result", "tool_use_id": "toolu_01", "content": CODE}
    later = [{"role": "assistant", "content": [thought, call]}, {"role": "user", "content": [result]}]
    explained = "`parse` takes the first token before it looks whether there is one. I return an empty tree."
    for number, messages in enumerate(([question], [question, *later])):
        first = [("thinking", thought["thinking"]), ("tool_use", call)]
        blocks = [("text", explained)] if number else first
        usage = {
            "input_tokens": 9,
            "cache_creation_input_tokens": 512 if number else 1_203,
            "cache_read_input_tokens": 1_203 if number else 0,
            "output_tokens": 2,
        }
        body = {
            "model": "claude-sonnet-4-5-20250929",
            "max_tokens": 32_000,
            "stream": True,
            "thinking": {"type": "enabled", "budget_tokens": 8_000},
            "metadata": {"user_id": f"user_{'a1' * 32}_account__session_{uuid.UUID(int=7)}"},
            "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
            "tools": TOOLS,
            "messages": messages,
        }
        answer = sse(*anthropic_events(f"msg_0{number}", usage, blocks, 96 if not number else 71), named=True)
        recording.add(
            "https://api.anthropic.com/v1/messages?beta=true",
            "claude-cli/2.1.14 (external, cli)",
            encoded(body),
            gzip.compress(answer, mtime=0),
            sent={"anthropic-version": "2023-06-01"},
            got={**SSE_TYPE, "content-encoding": "gzip", "request-id": f"req_0{number}"},
        )


def gpt(recording: Recording) -> None:
    """GPT-5 with tools and a picture, answered in one piece."""
    look = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    body = {
        "model": "gpt-5",
        "reasoning_effort": "low",
        "tools": FUNCTIONS,
        "messages": [
            {"role": "developer", "content": SYSTEM},
            {"role": "user", "content": [{"type": "text", "text": "Which month sold least?"}, look]},
        ],
    }
    said = {"role": "assistant", "content": "February, with about a third of the sales in March."}
    answer = {
        "id": "chatcmpl-demo1",
        "object": "chat.completion",
        "model": "gpt-5-2025-08-07",
        "choices": [{"index": 0, "message": said, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 741,
            "completion_tokens": 144,
            "total_tokens": 885,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 128},
        },
    }
    url = "https://api.openai.com/v1/chat/completions"
    recording.add(url, "OpenAI/Python 2.7.1", encoded(body), encoded(answer))


def silent(recording: Recording) -> None:
    """A stream that was not asked for usage: nothing is reported, the estimate stands."""
    body = {
        "model": "gpt-4o-mini",
        "stream": True,
        "messages": [{"role": "user", "content": f"Explain in two sentences:\n\n{CODE}"}],
    }
    text = "It reads tokens from a text and builds a tree of them. An empty text is what it does not expect."
    head = {"id": "chatcmpl-demo2", "object": "chat.completion.chunk", "model": "gpt-4o-mini-2024-07-18"}
    deltas = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in words(text))]
    chunks = [{**head, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    answer = sse(*chunks, last, done=True)
    url = "https://api.openai.com/v1/chat/completions"
    recording.add(url, "OpenAI/JS 6.7.0", encoded(body), answer, got=SSE_TYPE)


def kimi(recording: Recording) -> None:
    """Kimi, streaming, with thoughts and with usage in the last choice."""
    body = {
        "model": "kimi-k2-thinking",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": FUNCTIONS,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "Write a test for an empty text."},
        ],
    }
    head = {"id": "chatcmpl-demo3", "object": "chat.completion.chunk", "model": "kimi-k2-thinking"}
    deltas = [{"reasoning_content": piece} for piece in words("One test is enough: no nodes.")]
    deltas += [{"content": piece} for piece in words("def test_empty():\n    assert parse('').nodes == []\n")]
    chunks = [{**head, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    usage = {"prompt_tokens": 634, "completion_tokens": 34, "total_tokens": 668, "cached_tokens": 512}
    last = {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": usage}]}
    url = "https://api.moonshot.ai/v1/chat/completions"
    recording.add(url, "KimiCLI/1.3", encoded(body), sse(*chunks, last, done=True), got=SSE_TYPE)


def gemini(recording: Recording) -> None:
    """Gemini over SSE; each event repeats the figures so far."""
    body = {
        "systemInstruction": {"parts": [{"text": SYSTEM}]},
        "contents": [{"role": "user", "parts": [{"text": f"Is this code tested well?\n\n{CODE}"}]}],
        "tools": [{"functionDeclarations": [{k: t[k] for k in ("name", "description")} for t in TOOLS]}],
        "generationConfig": {"temperature": 0, "thinkingConfig": {"includeThoughts": True}},
    }
    pieces = [{"text": "Looking for edge cases.", "thought": True}]
    pieces += [{"text": piece} for piece in words("No: neither an empty text nor a stray bracket is tried.")]
    events = []
    for number, piece in enumerate(pieces):
        figures = {"promptTokenCount": 874, "candidatesTokenCount": 4 * number, "thoughtsTokenCount": 61}
        figures["totalTokenCount"] = sum(figures.values())
        finish = {"finishReason": "STOP"} if number == len(pieces) - 1 else {}
        candidate = {"content": {"role": "model", "parts": [piece]}, "index": 0, **finish}
        events.append({"candidates": [candidate], "usageMetadata": figures, "modelVersion": "gemini-2.5-pro"})
    url = f"{GEMINI}:streamGenerateContent?alt=sse"
    recording.add(
        url, "GeminiCLI/0.11.3/gemini-2.5-pro (linux; x64)", encoded(body), sse(*events), got=SSE_TYPE
    )


def bedrock(recording: Recording) -> None:
    """Claude on Bedrock: the answer is an AWS event stream."""
    body = {
        "system": [{"text": SYSTEM}],
        "messages": [{"role": "user", "content": [{"text": "Name this module in one word."}]}],
        "inferenceConfig": {"maxTokens": 200},
    }
    usage = {"inputTokens": 431, "outputTokens": 5, "totalTokens": 436}
    events = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": t}}) for t in words("Parser.", 4)),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 640}}),
    ]
    host = "https://bedrock-runtime.us-east-1.amazonaws.com"
    url = f"{host}/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse-stream"
    answer = b"".join(aws_frame(name, payload) for name, payload in events)
    got = {"content-type": "application/vnd.amazon.eventstream"}
    recording.add(url, "Boto3/1.40.64 md/Botocore#1.40.64", encoded(body), answer, got=got)


def too_long(recording: Recording) -> None:
    """A prompt beyond the window: the error itself tells its size."""
    body = {
        "model": "gpt-4",
        "messages": [{"role": "user", "content": f"Review this.\n\n{CODE * 30}"}],
    }
    text = (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 8593 tokens. "
        "Please reduce the length of the messages."
    )
    error = {"message": text, "type": "invalid_request_error", "code": "context_length_exceeded"}
    url = "https://api.openai.com/v1/chat/completions"
    recording.add(url, "OpenAI/Python 2.7.1", encoded(body), encoded({"error": error}), status=400)


def embeddings(recording: Recording) -> None:
    """Vectors of two texts."""
    body = {"model": "text-embedding-3-small", "input": [CODE, "an empty text"], "encoding_format": "base64"}
    vector = base64.b64encode(b"\0\0\0\x3d" * 64).decode()
    data = [{"object": "embedding", "index": n, "embedding": vector} for n in range(2)]
    usage = {"prompt_tokens": 291, "total_tokens": 291}
    answer = {"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}
    url = "https://api.openai.com/v1/embeddings"
    recording.add(url, "OpenAI/Python 2.7.1", encoded(body), encoded(answer))


def codex(recording: Recording) -> None:
    """Codex over a WebSocket: the second turn names the first and brings only what is new."""
    flow = recording.add(
        "https://api.openai.com/v1/responses",
        "codex_cli_rs/0.57.0 (Debian 13.0.0; x86_64) unknown",
        b"",
        status=101,
        method="GET",
        sent={"upgrade": "websocket", "connection": "Upgrade", "session_id": str(uuid.UUID(int=9))},
        got={"upgrade": "websocket", "connection": "Upgrade"},
    )
    flow.websocket = websocket.WebSocketData(
        messages=list(_codex_messages(flow.request.timestamp_start + 1.0)),
        closed_by_client=True,
        close_code=1000,
        timestamp_end=flow.request.timestamp_start + 30.0,
    )


def _codex_messages(at: float) -> Iterator[websocket.WebSocketMessage]:
    tools = [{"type": "function", **f["function"], "strict": False} for f in FUNCTIONS]
    fixed = {"type": "response.create", "model": "gpt-5.1-codex", "instructions": SYSTEM, "tools": tools}
    asked = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "List tests."}],
    }
    output = {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": "test_parser.py::test_one ok",
    }
    call = {
        "type": "function_call",
        "call_id": "call_1",
        "name": "Bash",
        "arguments": encoded({"command": "pytest -q", "reason": "list tests"}).decode(),
    }
    text = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "One."}],
    }
    turns: list[tuple[Any, Any, tuple[int, int, int]]] = [
        ({**fixed, "input": [asked]}, call, (523, 0, 38)),
        ({**fixed, "previous_response_id": "resp_demo1", "input": [output]}, text, (586, 384, 9)),
    ]
    for number, (request, item, (prompt, cached, answer)) in enumerate(turns, 1):
        response = {"id": f"resp_demo{number}", "object": "response", "model": "gpt-5.1-codex", "output": []}
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": answer,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + answer,
        }
        done = {**response, "status": "completed", "output": [item], "usage": usage}
        said = [
            (True, request),
            (False, {"type": "response.created", "response": {**response, "status": "in_progress"}}),
            (False, {"type": "response.output_item.done", "output_index": 0, "item": item}),
            (False, {"type": "response.completed", "response": done}),
        ]
        for from_client, doc in said:
            at += 0.7
            yield websocket.WebSocketMessage(Opcode.TEXT, from_client, encoded(doc), timestamp=at)


SAMPLES = (claude_code, gpt, codex, gemini, kimi, bedrock, too_long, silent, embeddings)


def main(path: Path) -> None:
    """Writes them all, in the order in which they took place."""
    recording = Recording()
    for sample in SAMPLES:
        sample(recording)
    with path.open("wb") as file:
        writer = io.FlowWriter(file)
        for flow in recording.flows:
            writer.add(flow)
    print(f"{path}: {len(recording.flows)} flows, {path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "samples" / "demo.flow")
