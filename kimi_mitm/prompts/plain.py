"""Formats whose prompt is plain text: completions, generations, embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kimi_mitm.prompts.blocks import content
from kimi_mitm.prompts.media import media_part
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.records import Part, PartKind

_TOKENS = "token_ids"
_MAX_DEPTH = 12


def _read(key: str, doc: Any) -> Iterator[tuple[str, list[Part]]]:
    if doc in ("", []):  # Ollama's client sends every field
        return
    if key == "system":
        yield "system", list(content(doc))
    elif key == "images":
        images = doc if isinstance(doc, list) else [doc]
        yield (
            "user",
            [media_part(image if isinstance(image, str) else None, mime="image/*") for image in images],
        )
    else:
        yield "user", list(_texts(doc))


def _texts(doc: Any, depth: int = 0) -> Iterator[Part]:
    """Texts however nested; a list of numbers is a prompt in token ids, whose `size` is their number."""
    if isinstance(doc, list) and doc and all(isinstance(item, int) for item in doc):
        yield Part(kind=PartKind.OTHER, name=_TOKENS, size=len(doc))
    elif depth > _MAX_DEPTH:
        yield from content(doc)
    elif isinstance(doc, list):
        for item in doc:
            yield from _texts(item, depth + 1)
    elif isinstance(doc, dict) and ("parts" in doc or "content" in doc):
        yield from _texts(doc.get("parts", doc.get("content")), depth + 1)
    elif isinstance(doc, dict) and isinstance(doc.get("prompt"), str):
        yield from content(doc["prompt"])
    elif isinstance(doc, dict) and isinstance(inner := doc.get("text"), dict):
        yield from _texts(inner.get("value"), depth + 1)  # Amazon's multimodal embeddings
    else:
        yield from content(doc)


SHAPE = Shape(
    name="plain",
    lists={"requests": "message", "instances": "message", "texts": "message", "inputs": "message"},
    values={
        "system": "system",
        "prompt": "message",
        "suffix": "message",
        "input": "message",
        "inputText": "message",
        "singleEmbeddingParams": "message",
        "content": "message",
        "text": "message",
        "images": "message",
        "image": "message",
    },
    read=_read,
)
