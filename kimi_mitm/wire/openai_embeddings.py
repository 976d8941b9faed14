"""OpenAI's embeddings: no generated tokens, so no output count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import Draft
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.model_path import model_of_path
from kimi_mitm.wire.openai_usage import merge, usage
from kimi_mitm.wire.values import body, items, text


def read_request(data: bytes, target: Target) -> Request:
    """What the body says; raises `WireError` where it is no JSON object."""
    doc = body(data)
    given = doc.get("input")
    return Request(
        model=text(doc.get("model")) or text(doc.get("engine")) or model_of_path(target.path),
        stream=False,
        message_count=len(items(given)) or int(given is not None),
    )


class EmbeddingsReader(Draft):
    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status, headers)
        self._stated: dict[str, Any] = {}

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        if isinstance(doc.get("result"), dict) and "data" not in doc:
            doc = doc["result"]
        self.response_id = text(doc.get("id")) or self.response_id
        self.response_model = text(doc.get("model")) or self.response_model
        stated = doc.get("usage")
        if isinstance(stated, dict):
            merge(self._stated, stated)
        self.complete = True

    def usage(self) -> Usage:
        found = usage(self._stated)
        given = found.input_tokens if found.input_tokens is not None else found.total_tokens
        total = found.total_tokens if found.total_tokens is not None else given
        return replace(found, input_tokens=given, output_tokens=None, total_tokens=total)


EMBEDDINGS = Format(
    name="openai.embeddings",
    operation=Operation.EMBEDDINGS,
    read_request=read_request,
    reader=EmbeddingsReader,
)
