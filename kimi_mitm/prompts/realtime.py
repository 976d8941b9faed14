"""What clients send over realtime sockets: OpenAI's events, Google Live's `setup` and `clientContent`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kimi_mitm.prompts import google, openai_responses
from kimi_mitm.prompts.shape import Shape
from kimi_mitm.records import Part


def _read(key: str, doc: Any) -> Iterator[tuple[str, Iterable[Part]]]:
    if not isinstance(doc, dict):
        return
    if key == "clientContent":
        turns = doc.get("turns")
        for turn in turns if isinstance(turns, list) else []:
            yield from google.SHAPE.read("contents", turn)
    elif key == "item":
        yield from openai_responses.SHAPE.read("input", doc)
    else:
        for name in ("instructions", "systemInstruction", "tools"):
            if doc.get(name) is not None:
                shape = google.SHAPE if name == "systemInstruction" else openai_responses.SHAPE
                yield from shape.read(name, doc[name])


SHAPE = Shape(
    name="realtime",
    lists={},
    values={
        "session": "system",
        "response": "system",
        "setup": "system",
        "item": "message",
        "clientContent": "message",
    },
    read=_read,
)
