"""Prompts: any wire format's request body → the same parts, for counting, showing and archiving.

`split` cuts a body into slices without reading them; `messages` reads one slice; `read` reads them all.
Nothing here raises, whatever bytes come.
"""

from __future__ import annotations

import msgspec

from kimi_mitm.prompts import (
    anthropic,
    cohere,
    converse,
    google,
    google_interactions,
    openai_chat,
    openai_responses,
    plain,
    realtime,
)
from kimi_mitm.prompts.shape import Shape, Slice, decode
from kimi_mitm.records import Message, Prompt

__all__ = ["SHAPES", "Shape", "Slice", "messages", "read", "shape_of", "split"]

SHAPES: dict[str, Shape] = {
    "openai.chat": openai_chat.SHAPE,
    "openai.responses": openai_responses.SHAPE,
    "openai.completions": plain.SHAPE,
    "openai.embeddings": plain.SHAPE,
    "openai.realtime": realtime.SHAPE,
    "anthropic.messages": anthropic.SHAPE,
    "anthropic.complete": plain.SHAPE,
    "google.generate_content": google.SHAPE,
    "google.embed_content": plain.SHAPE,
    "google.interactions": google_interactions.SHAPE,
    "google.live": realtime.SHAPE,
    "google.predict": plain.SHAPE,
    "aws.converse": converse.SHAPE,
    "ollama.chat": openai_chat.SHAPE,
    "ollama.generate": plain.SHAPE,
    "ollama.embed": plain.SHAPE,
    "cohere.chat": cohere.SHAPE,
    "cohere.generate": plain.SHAPE,
    "cohere.embed": plain.SHAPE,
    "voyage.embed": plain.SHAPE,
    "writer.chat": openai_chat.SHAPE,
}
_ANYTHING: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


def shape_of(wire_format: str, body: bytes) -> Shape:
    """The shape of a wire format; where the format leaves it open (`aws.invoke`, watsonx, unknown ones),
    the body's keys decide."""
    return SHAPES.get(wire_format) or _by_keys(body)


def _by_keys(body: bytes) -> Shape:
    try:
        keys = set(_ANYTHING.decode(body))
    except (ValueError, RecursionError):
        doc = decode(body)
        keys = {key for key in doc if isinstance(key, str)} if isinstance(doc, dict) else set()
    if "anthropic_version" in keys and "messages" in keys:
        return anthropic.SHAPE
    if "contents" in keys or "request" in keys:
        return google.SHAPE
    if keys & {"schemaVersion", "inferenceConfig", "toolConfig"}:
        return converse.SHAPE
    if keys & {"message", "chat_history", "preamble"}:
        return cohere.SHAPE
    if "messages" in keys:
        return _messages_shape(body)
    if "instructions" in keys and "input" in keys:
        return openai_responses.SHAPE
    return plain.SHAPE


def _messages_shape(body: bytes) -> Shape:
    """OpenAI's and Converse's messages differ in their blocks: {type: text, text} against {text}."""
    for piece in converse.SHAPE.split(body):
        if piece.key == "messages":
            doc = decode(piece.raw)
            blocks = doc.get("content") if isinstance(doc, dict) else None
            if isinstance(blocks, list) and any(isinstance(b, dict) and "type" not in b for b in blocks):
                return converse.SHAPE
    return openai_chat.SHAPE


def split(wire_format: str, body: bytes) -> list[Slice]:
    """The body in slices (messages, tools, system …), each with its section and a digest of its bytes."""
    return shape_of(wire_format, body).split(body)


def messages(wire_format: str, body: bytes, piece: Slice) -> list[Message]:
    """One slice of that body in the common shape."""
    return shape_of(wire_format, body).messages(piece)


def read(wire_format: str, body: bytes, hidden: frozenset[str] = frozenset()) -> Prompt:
    """The whole prompt of a request body. `hidden` is handed through: why it isn't all of the context."""
    shape = shape_of(wire_format, body)
    found = tuple(message for piece in shape.split(body) for message in shape.messages(piece))
    return Prompt(messages=found, hidden=hidden)
