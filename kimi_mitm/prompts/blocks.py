"""Content blocks of all wire formats → parts: what a message's `content` holds, whoever's format it is.

Blocks with a `type` (OpenAI, Anthropic, Cohere, Mistral) and blocks named by their only key (Google,
Bedrock Converse) have a table each. An unknown block is kept as its JSON text, kind `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from kimi_mitm.prompts import media_blocks
from kimi_mitm.prompts.texts import compact, name_in, text_at, text_parts
from kimi_mitm.records import Part, PartKind

Block = dict[str, Any]
_Read = Callable[[Block, PartKind, int], Iterator[Part]]
_MAX_DEPTH = 12
_PLUMBING = ("id", "type", "status", "call_id")


def content(value: Any, kind: PartKind = PartKind.TEXT, depth: int = 0) -> Iterator[Part]:
    """The parts of a message's content, be it a text, a block or a list of blocks. `kind` is what plain
    text is here."""
    if value is None:
        return
    if isinstance(value, list) and depth < _MAX_DEPTH:
        for item in value:
            yield from content(item, kind, depth + 1)
    elif isinstance(value, dict) and depth < _MAX_DEPTH:
        yield from _block(value, kind, depth + 1)
    else:
        yield from text_parts(value, kind)


def _block(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
    typed = block.get("type")
    if isinstance(typed, str):
        if typed in _TYPED:
            yield from _TYPED[typed](block, kind, depth)
            return
        if typed in media_blocks.TYPED:
            yield media_blocks.TYPED[typed](block)
            return
    signature = text_at(block, "thoughtSignature")
    if signature:
        call = "functionCall" if "functionCall" in block or "function_call" in block else None
        yield Part(kind=PartKind.REASONING, size=len(signature), name=call)
    for key in block:
        if key in _KEYED:
            yield from _KEYED[key](block, kind, depth)
            return
        if key in media_blocks.KEYED:
            yield media_blocks.KEYED[key](block)
            return
    if not signature:
        yield _unknown(block, str(typed), kind)


def _unknown(block: Block, typed: str, kind: PartKind) -> Part:
    if typed.endswith(("_tool_result", "_call_output")):
        kind = PartKind.TOOL_RESULT
    elif typed.endswith("_call"):
        kind = PartKind.TOOL_CALL
    elif kind is not PartKind.TOOL_RESULT:
        kind = PartKind.OTHER
    payload = {key: value for key, value in block.items() if key not in _PLUMBING}
    name = typed if kind in (PartKind.TOOL_CALL, PartKind.TOOL_RESULT) else None
    return Part(kind=kind, text=compact(payload), name=name)


def _texts(key: str, fixed: PartKind | None = None) -> _Read:
    def read(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
        thought = block.get("thought") is True
        yield from content(block.get(key), fixed or (PartKind.REASONING if thought else kind), depth)

    return read


def _call(arguments: str, inner: str | None = None) -> _Read:
    def read(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
        call = block.get(inner) if inner else block
        value = call.get(arguments) if isinstance(call, dict) else call
        text = "" if value is None else compact(value)
        yield Part(kind=PartKind.TOOL_CALL, text=text, name=name_in(call))

    return read


def _result(payload: str, inner: str | None = None) -> _Read:
    def read(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
        result = block.get(inner) if inner else block
        value = result.get(payload) if isinstance(result, dict) else result
        if isinstance(value, dict) and inner:  # Google's `response` is any object, not a block
            value = compact(value)
        parts = list(content(value, PartKind.TOOL_RESULT, depth)) or [Part(kind=PartKind.TOOL_RESULT)]
        name = name_in(result)
        if isinstance(result, dict) and result.get("parts"):  # Google's media beside the response
            parts += content(result["parts"], PartKind.TOOL_RESULT, depth)
        yield from (
            replace(part, name=name) if name and part.kind is PartKind.TOOL_RESULT else part for part in parts
        )

    return read


def _reasoning(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
    """Reasoning that is replayed: its text where there is one; opaque bytes (signatures, encrypted
    content) are only measured, in `size`."""
    inner = block.get("reasoningContent", block)
    if not isinstance(inner, dict):
        inner = {"text": inner}
    said = [inner.get(key) for key in ("summary", "content", "thinking", "text")]
    said.append(text_at(inner, "reasoningText", "text"))
    text = "\n".join(part.text for item in said for part in content(item, PartKind.REASONING, depth))
    paths = (("encrypted_content",), ("data",), ("signature",), ("redactedContent",))
    opaque = next((found for path in paths if (found := text_at(inner, *path))), None)
    opaque = opaque or text_at(inner, "reasoningText", "signature")
    yield Part(kind=PartKind.REASONING, text=text, size=len(opaque) if opaque else None)


def _document(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
    """Anthropic's documents (text, blocks or a file, with title and context) and Cohere's."""
    for part in _document_parts(block, kind, depth):
        yield replace(part, detail="citations") if _cited(block) else part


def _document_parts(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
    for key in ("title", "context"):
        if text := text_at(block, key):
            yield Part(kind=kind, text=text)
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "text":
        yield from text_parts(source.get("data"), kind)
    elif isinstance(source, dict) and source.get("type") == "content":
        yield from content(source.get("content"), kind, depth)
    elif isinstance(source, dict):
        yield media_blocks.sourced(block)
    else:
        yield Part(kind=kind, text=compact(block.get("document")))


def _search_result(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
    """Anthropic's and Bedrock's search results: source, title and texts, perhaps to be cited."""
    inner = block.get("searchResult", block)
    if not isinstance(inner, dict):
        return
    texts = [text for key in ("source", "title") if (text := text_at(inner, key))]
    texts += [part.text for part in content(inner.get("content"), kind, depth)]
    yield Part(kind=kind, text="\n".join(texts), detail="citations" if _cited(inner) else None)


def _cited(block: Block) -> bool:
    citations = block.get("citations")
    return isinstance(citations, dict) and citations.get("enabled") is True


def _tag(block: Block, kind: PartKind, depth: int) -> Iterator[Part]:
    yield from ()


_TYPED: dict[str, _Read] = {
    "text": _texts("text"),
    "input_text": _texts("text"),
    "output_text": _texts("text"),
    "summary_text": _texts("text"),
    "reasoning_text": _texts("text"),
    "refusal": _texts("refusal"),
    "thinking": _reasoning,
    "redacted_thinking": _reasoning,
    "reasoning": _reasoning,
    "compaction": _reasoning,
    "document": _document,
    "search_result": _search_result,
    "tool_use": _call("input"),
    "server_tool_use": _call("input"),
    "mcp_tool_use": _call("input"),
    "function_call": _call("arguments"),
    "custom_tool_call": _call("input"),
    "local_shell_call": _call("action"),
    "function": _call("arguments", "function"),
    "tool_result": _result("content"),
    "mcp_tool_result": _result("content"),
    "function_call_output": _result("output"),
    "custom_tool_call_output": _result("output"),
    "local_shell_call_output": _result("output"),
    "item_reference": _tag,
}
_KEYED: dict[str, _Read] = {
    "text": _texts("text"),
    "functionCall": _call("args", "functionCall"),
    "function_call": _call("args", "function_call"),
    "functionResponse": _result("response", "functionResponse"),
    "function_response": _result("response", "function_response"),
    "toolUse": _call("input", "toolUse"),
    "toolResult": _result("content", "toolResult"),
    "reasoningContent": _reasoning,
    "searchResult": _search_result,
    "cachePoint": _tag,
    "guardContent": _texts("guardContent"),
    "json": _texts("json"),
    "executableCode": _texts("executableCode", PartKind.TOOL_CALL),
    "codeExecutionResult": _texts("codeExecutionResult", PartKind.TOOL_RESULT),
}
