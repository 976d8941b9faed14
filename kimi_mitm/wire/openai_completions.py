"""OpenAI's legacy completions, and in the same shape completion while typing (Mistral, DeepSeek)."""

from __future__ import annotations

from kimi_mitm.records import Operation, Request
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.model_path import model_of_path
from kimi_mitm.wire.openai_chat import ChatReader
from kimi_mitm.wire.values import body, count, items, text


def read_request(data: bytes, target: Target) -> Request:
    """What the body says; raises `WireError` where it is no JSON object."""
    doc = body(data)
    prompts = doc.get("prompt")
    return Request(
        model=text(doc.get("model")) or text(doc.get("engine")) or model_of_path(target.path),
        stream=doc.get("stream") is True,
        fim=bool(text(doc.get("suffix"))) or "/fim/" in target.path,
        max_output_tokens=count(doc.get("max_tokens")),
        message_count=len(items(prompts)) or int(prompts is not None),
    )


COMPLETIONS = Format(
    name="openai.completions",
    operation=Operation.TEXT_COMPLETION,
    read_request=read_request,
    reader=ChatReader,
    end_marks=("[DONE]",),
)
