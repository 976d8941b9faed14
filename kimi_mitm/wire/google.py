"""Google's generateContent and embedContent, of AI Studio, Vertex AI and Code Assist.

Streams come as server-sent events (`alt=sse`) or as one JSON array; Code Assist wraps every document in
`response` and the request in `request`. JSON names may be camelCase or snake_case, as in all of Google's
protobuf APIs. Thoughts stand outside `candidatesTokenCount`, tool use outside `promptTokenCount`, cached
tokens inside.
"""

from __future__ import annotations

import re
from typing import Any

from kimi_mitm.records import Operation, Request, Usage
from kimi_mitm.wire.draft import Draft, settle
from kimi_mitm.wire.format import Format, Target, WireError
from kimi_mitm.wire.model_path import plain_path
from kimi_mitm.wire.values import body, count, first, get, items, text, total

_PATH = re.compile(r"/(?P<kind>models|tunedModels|endpoints)/(?P<name>.+):(?P<verb>[A-Za-z]+)/?$")
_VERB = re.compile(r":(?P<verb>[A-Za-z]+)/?$")
_CLIENT_TOOLS = frozenset(
    {"functionDeclarations", "function_declarations", "computerUse", "computer_use", "mcpServers"}
)
"""Tools that run at the client; all others (searches, code execution) add to the prompt at the server."""


def model_in_path(path: str) -> tuple[str | None, bool]:
    """The model of a `…/models/{model}:{verb}` path and whether the verb asks for a stream. A tuned model
    or an endpoint keeps its kind, for its name alone tells nothing."""
    path = plain_path(path)
    match = _PATH.search(path)
    if match is None:
        verb = _VERB.search(path)
        return None, verb is not None and _streams(verb["verb"])
    model = match["name"] if match["kind"] == "models" else f"{match['kind']}/{match['name']}"
    return model, _streams(match["verb"])


def _streams(verb: str) -> bool:
    return "stream" in verb.lower()


class GenerateContentReader(Draft):
    """Reads `GenerateContentResponse`s: the one answer, or the chunks of a stream."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes one response or chunk, wrapped or not."""
        inner = doc.get("response")
        if isinstance(inner, dict) and "candidates" not in doc:
            self.response_id = self.response_id or text(doc.get("traceId"))
            doc = inner
        self.response_id = text(first(doc, "responseId", "response_id")) or self.response_id
        self.response_model = text(first(doc, "modelVersion", "model_version")) or self.response_model
        keep_usage(self, first(doc, "usageMetadata", "usage_metadata"))
        for candidate in items(doc.get("candidates")):
            self._candidate(candidate)
        blocked = text(get(first(doc, "promptFeedback", "prompt_feedback"), "blockReason"))
        if blocked:
            self.finish_reason, self.complete = blocked, True

    def usage(self) -> Usage:
        """The figures so far; what the provider leaves out (`{"trafficType": …}` alone) is unknown."""
        return usage_of(self.figures)

    def _candidate(self, candidate: Any) -> None:
        if get(candidate, "index") not in (None, 0):
            self.started = True
            return
        read_parts(self, get(candidate, "content"))
        reason = text(first(candidate, "finishReason", "finish_reason"))
        if reason:
            self.finish_reason, self.complete = reason, True


def read_parts(draft: Draft, content: Any) -> None:
    """Takes the parts of a `Content` that the model generated."""
    for part in items(get(content, "parts")):
        if get(part, "thought") is True:
            draft.think(get(part, "text"))
        else:
            draft.say(get(part, "text"))
        call = first(part, "functionCall", "function_call")
        if call is not None:
            draft.call(None, text(get(call, "name")) or "", get(call, "args"), get(call, "id"))
        elif first(part, "inlineData", "executableCode", "codeExecutionResult") is not None:
            draft.started = True


_FIGURES = {
    "prompt": ("promptTokenCount", "prompt_token_count"),
    "tool_use": ("toolUsePromptTokenCount", "tool_use_prompt_token_count"),
    "cached": ("cachedContentTokenCount", "cached_content_token_count"),
    "generated": ("candidatesTokenCount", "responseTokenCount", "candidates_token_count"),
    "thoughts": ("thoughtsTokenCount", "thoughts_token_count"),
    "total": ("totalTokenCount", "total_token_count"),
}
"""Our name for a figure → `UsageMetadata`'s, in the REST API, the Live API (`responseTokenCount`) and in
snake_case. Figures by modality repeat these and are left alone."""


def keep_usage(draft: Draft, usage: object) -> None:
    """Keeps a `usageMetadata`'s figures, under our names."""
    for name, theirs in _FIGURES.items():
        draft.keep({name: first(usage, *theirs)}, name)


def usage_of(figures: dict[str, int]) -> Usage:
    """Figures under our names, in our convention."""
    prompt = figures.get("prompt")
    thoughts = figures.get("thoughts")
    return settle(
        input=None if prompt is None else total(prompt, figures.get("tool_use")),
        output=total(figures.get("generated"), thoughts),
        cache_read=figures.get("cached"),
        reasoning=thoughts,
        total_tokens=figures.get("total"),
    )


class EmbedContentReader(Draft):
    """Reads the answers of embedContent and batchEmbedContents."""

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes the answer. AI Studio states the tokens for all texts at once, if at all, Vertex per text."""
        keep_usage(self, first(doc, "usageMetadata", "usage_metadata"))
        embeddings = [doc.get("embedding"), *items(doc.get("embeddings"))]
        stated = total(*(count(get(each, "statistics", "tokenCount")) for each in embeddings))
        if stated is not None:
            self.figures.setdefault("prompt", stated)
        self.complete = True

    def usage(self) -> Usage:
        """The prompt's tokens, where they are told."""
        return usage_of(self.figures)


def hidden_reasons(doc: dict[str, Any], contents: list[Any], tools: list[Any]) -> frozenset[str]:
    """Reasons why a request doesn't show its whole prompt."""
    hidden = set()
    if text(first(doc, "cachedContent", "cached_content")):
        hidden.add("cached_content")
    if any(isinstance(tool, dict) and tool.keys() - _CLIENT_TOOLS for tool in tools):
        hidden.add("server_tools")
    parts = (part for content in contents for part in items(get(content, "parts")))
    if any(first(part, "fileData", "file_data") is not None for part in parts):
        hidden.add("remote_media")
    return frozenset(hidden)


def tool_count(tools: list[Any]) -> int:
    """How many functions are declared, and built-in tools switched on."""
    return sum(
        len(items(first(tool, "functionDeclarations", "function_declarations"))) or 1 for tool in tools
    )


def _read_request(data: bytes, target: Target) -> Request:
    model, stream = model_in_path(target.path)
    try:
        doc = body(data)
    except WireError:
        return Request(model=model, stream=stream, hidden=frozenset({"partial_body"}))
    inner = doc.get("request")
    request = inner if isinstance(inner, dict) else doc
    contents = request.get("contents")
    contents = contents if isinstance(contents, list) else [] if contents is None else [contents]
    tools = items(request.get("tools"))
    config = first(request, "generationConfig", "generation_config")
    schemas = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")
    return Request(
        model=model or bare_model(doc.get("model")),
        stream=stream,
        hidden=hidden_reasons(request, contents, tools),
        max_output_tokens=count(first(config, "maxOutputTokens", "max_output_tokens")),
        output_schema=first(config, *schemas) is not None,
        tool_count=tool_count(tools),
        message_count=len(contents),
    )


def _read_embed_request(data: bytes, target: Target) -> Request:
    model, _ = model_in_path(target.path)
    try:
        doc = body(data)
    except WireError:
        return Request(model=model, stream=False, hidden=frozenset({"partial_body"}))
    named = first(doc, "model") or get(doc, "requests", 0, "model")
    return Request(model=model or bare_model(named), stream=False)


def bare_model(model: object) -> str | None:
    """A model without the collection in front: `models/…`, `projects/…/publishers/google/models/…`."""
    name = text(model)
    return name.rpartition("models/")[2] or None if name else None


GENERATE_CONTENT = Format(
    name="google.generate_content",
    operation=Operation.GENERATE_CONTENT,
    read_request=_read_request,
    reader=GenerateContentReader,
)

EMBED_CONTENT = Format(
    name="google.embed_content",
    operation=Operation.EMBEDDINGS,
    read_request=_read_embed_request,
    reader=EmbedContentReader,
)
