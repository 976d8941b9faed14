"""Rows of recorded exchanges for the judges in this folder: JSON lines, plain or zstd-compressed.

A row has `provider` (who serves), `api`, `model`, `response_model`, `stream`, `request` (the body), and what
was reported: `truth_input`, `truth_output`, `truth_reasoning`, `truth_cached`. Rows whose prompt can't be
seen whole (`hidden_context`, `server_tools`, `remote_media`) and repeated ones (`dup_of`) are no measure of
an estimate, but they come in order with the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kimi_mitm.providers import UNKNOWN, family_of
from kimi_mitm.tokens import Call

WIRE = {
    "chat": "openai.chat",
    "responses": "openai.responses",
    "responses-count": "openai.responses",
    "completions": "openai.completions",
    "embeddings": "openai.embeddings",
    "messages": "anthropic.messages",
    "messages-count": "anthropic.messages",
    "complete": "anthropic.complete",
    "generateContent": "google.generate_content",
    "generateContent-count": "google.generate_content",
    "invoke": "aws.invoke",
    "converse": "aws.converse",
    "cohere-chat": "cohere.chat",
    "cohere-generate": "cohere.generate",
    "cohere-embed": "cohere.embed",
    "ollama-chat": "ollama.chat",
    "ollama-generate": "ollama.generate",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One exchange: what was asked, and the tokens that were reported for it."""

    source: str
    file: str
    call: Call
    family: str
    tokens: int
    output: int | None
    reasoning: int | None
    scored: bool


def load(paths: Iterable[Path]) -> Iterator[Row]:
    """All usable rows of some files, in order."""
    for path in paths:
        data = path.read_bytes()
        if path.suffix == ".zst":
            import zstandard

            data = zstandard.ZstdDecompressor().stream_reader(data).read()
        for line in data.splitlines():
            if line.strip() and (row := _row(json.loads(line))):
                yield row


def _row(doc: dict[str, Any]) -> Row | None:
    tokens = doc.get("truth_input")
    if not isinstance(tokens, int) or tokens <= 0:
        return None
    model = doc.get("model") or doc.get("response_model") or ""
    family = family_of(model)
    if family == UNKNOWN:
        family = family_of(doc.get("response_model"))
    hidden = [name for name in ("hidden_context", "server_tools", "remote_media") if doc.get(name)]
    contradicts = (doc.get("truth_cached") or 0) > 1.5 * tokens
    request = doc.get("request")
    body = (
        request.encode()
        if isinstance(request, str)
        else json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")
    )
    call = Call(
        provider=str(doc.get("provider")),
        served_by=str(doc.get("provider")),
        wire_format=WIRE.get(str(doc.get("api")), "unknown"),
        body=body,
        model=model,
        family=family,
        hidden=frozenset(hidden),
        stream=bool(doc.get("stream")),
    )
    file = str(doc.get("file"))
    return Row(
        source=file.split(":")[0],
        file=file,
        call=call,
        family=family,
        tokens=tokens,
        output=doc.get("truth_output"),
        reasoning=doc.get("truth_reasoning"),
        scored=not (hidden or doc.get("dup_of") or contradicts),
    )
