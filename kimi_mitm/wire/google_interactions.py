"""Google's Interactions API: `POST /v1beta/interactions`, whole or as server-sent events.

Events carry their name as `event_type`. There are two generations of them: `content.delta` … up to
`interaction.complete` with `outputs`, and `step.delta` … up to `interaction.completed` with `steps`.
Thoughts stand outside `total_output_tokens`, tool use outside `total_input_tokens`, as in
generateContent. The state lies with the provider: `previous_interaction_id` stands for earlier turns.
"""

from __future__ import annotations

from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target
from kimi_mitm.wire.values import body, count, first, get, items, text, total

_UNFINISHED = frozenset({"in_progress", "queued"})
_LOCAL_TOOLS = frozenset({"function", "computer_use"})


class InteractionsReader(Draft):
    """Reads one interaction, whole or streamed."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the interaction or one event."""
        event = text(doc.get("event_type")) or name
        inner = doc.get("interaction")
        if isinstance(inner, dict):
            self._interaction(inner)
        elif event is None or "usage" in doc or "outputs" in doc or "steps" in doc:
            self._interaction(doc)
            for part in items(first(doc, "steps", "outputs")):
                self._part(None, part)
        match event:
            case "step.start" | "content.start":
                self._part(doc.get("index"), first(doc, "step", "content"))
            case "step.delta" | "content.delta":
                self._part(doc.get("index"), doc.get("delta"))
            case "interaction.complete" | "interaction.completed":
                self.complete = True

    def usage(self) -> Usage:
        """The last figures stated."""
        figures = self.figures
        given = figures.get("total_input_tokens")
        thoughts = first(figures, "total_thought_tokens", "total_reasoning_tokens")
        return settle(
            input=None if given is None else total(given, figures.get("total_tool_use_tokens")),
            output=total(figures.get("total_output_tokens"), thoughts),
            cache_read=figures.get("total_cached_tokens"),
            reasoning=thoughts,
            total_tokens=figures.get("total_tokens"),
        )

    def _interaction(self, doc: dict[str, Any]) -> None:
        self.response_id = text(doc.get("id")) or self.response_id
        if self.response_id:
            self.issued_ids = (self.response_id,)
        self.response_model = text(first(doc, "model", "agent")) or self.response_model
        self.keep(
            doc.get("usage"),
            "total_input_tokens",
            "total_output_tokens",
            "total_thought_tokens",
            "total_reasoning_tokens",
            "total_cached_tokens",
            "total_tool_use_tokens",
            "total_tokens",
        )
        status = text(doc.get("status"))
        if status:
            self.pending = status in _UNFINISHED
            self.finish_reason = None if self.pending else status
            self.complete = self.complete or not self.pending

    def _part(self, key: object, part: object) -> None:
        """Takes one output or step, its start or a piece of it."""
        kind = get(part, "type")
        match kind:
            case "thought" | "thought_summary":
                self.think(get(part, "text"))
                self.think(get(part, "content", "text"))
                for each in items(get(part, "summary")):
                    self.think(get(each, "text"))
            case "function_call":
                self.call(key, get(part, "name"), get(part, "arguments"), first(part, "id", "call_id"))
            case "arguments_delta":
                self.call(key, arguments=get(part, "arguments"))
            case _:
                self.say(get(part, "text"))
                for each in items(get(part, "content")):
                    self.say(get(each, "text"))


def _read_request(data: bytes, target: Target) -> Request:
    doc = body(data)
    previous = text(doc.get("previous_interaction_id"))
    tools = items(doc.get("tools"))
    given = doc.get("input")
    hidden = set()
    if previous:
        hidden.add("previous_response_id")
    if any(get(tool, "type") not in _LOCAL_TOOLS for tool in tools):
        hidden.add("server_tools")
    if any(text(get(part, "uri")) for part in _parts(given)):
        hidden.add("remote_media")
    model = text(doc.get("model")) or text(doc.get("agent"))
    return Request(
        model=model.removeprefix("models/") if model else None,
        stream=doc.get("stream") is True or (target.query or {}).get("alt") == "sse",
        hidden=frozenset(hidden),
        issued_ids=(previous,) if previous else (),
        previous_response_id=previous,
        background=doc.get("background") is True,
        max_output_tokens=count(get(doc, "generation_config", "max_output_tokens")),
        output_schema=isinstance(doc.get("response_format"), dict | list),
        tool_count=len(tools),
        message_count=len(given) if isinstance(given, list) else int(given is not None),
    )


def _parts(given: object) -> list[Any]:
    """The input's parts, those inside of turns and steps too."""
    flat: list[Any] = []
    for each in given if isinstance(given, list) else [given]:
        flat.append(each)
        flat.extend(items(get(each, "content")))
    return flat


INTERACTIONS = Format(
    name="google.interactions",
    operation=Operation.GENERATE_CONTENT,
    read_request=_read_request,
    reader=InteractionsReader,
)
