"""Aleph Alpha's `/complete`, `/evaluate`, `/embed` and `/semantic_embed`; streams are server-sent events."""

from __future__ import annotations

from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.values import body, count, get, items, text


class CompleteReader(Draft):
    """Reads the whole answer, or a stream's chunks (`stream_chunk`), sums (`stream_summary`) and end."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the answer or an event."""
        kind = doc.get("type")
        self.response_model = text(doc.get("model_version")) or self.response_model
        self.keep(doc, "num_tokens_prompt_total", "num_tokens_generated")
        first_completion = get(doc, "completions", 0)
        self.say(get(first_completion, "completion"))
        if kind == "stream_chunk":
            self.say(doc.get("completion"))
        reason = text(get(first_completion, "finish_reason")) or text(doc.get("finish_reason"))
        self.finish_reason = reason or self.finish_reason
        if kind in (None, "completion_summary"):
            self.complete = True

    def usage(self) -> Usage:
        """The figures so far."""
        return settle(
            input=self.figures.get("num_tokens_prompt_total"),
            output=self.figures.get("num_tokens_generated"),
        )


def _read_request(data: bytes, target: Target) -> Request:
    doc = body(data)
    last = target.path.rstrip("/").rpartition("/")[2]
    return Request(
        model=text(doc.get("model")) or text((target.query or {}).get("model")),
        stream=doc.get("stream") is True,
        max_output_tokens=count(doc.get("maximum_tokens")),
        message_count=len(items(doc.get("prompt"))) or 1,
        operation=Operation.EMBEDDINGS if "embed" in last else None,
    )


COMPLETE = Format(
    name="alephalpha",
    operation=Operation.TEXT_COMPLETION,
    read_request=_read_request,
    reader=CompleteReader,
)
