"""Voyage AI's embeddings: as OpenAI's, but of the figures there is only a total, which is the prompt's."""

from __future__ import annotations

from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.values import body, text


class EmbedReader(Draft):
    """Reads the one document that is the answer."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the answer."""
        self.response_model = text(doc.get("model")) or self.response_model
        self.keep(doc.get("usage"), "total_tokens")
        self.complete = True

    def usage(self) -> Usage:
        """An embedding generates nothing, so the total is the input."""
        stated = self.figures.get("total_tokens")
        return settle(input=stated, total_tokens=stated)


def _read_request(data: bytes, target: Target) -> Request:
    return Request(model=text(body(data).get("model")), stream=False)


EMBED = Format(
    name="voyage.embed", operation=Operation.EMBEDDINGS, read_request=_read_request, reader=EmbedReader
)
