"""From a prompt's counts and its request's settings to the regressors that the learner weighs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kimi_mitm.prompts.shape import Slice, decode
from kimi_mitm.tokens.features import COUNTS, INDEX, Vector

_ADDITIVE = tuple(name for name in COUNTS if name not in ("n_cut", "n_system", "n_documents", "n_signed"))
_N_TOOLS, _N_SYSTEM, _SCHEMA, _N_CALL = (INDEX[name] for name in ("n_tools", "n_system", "schema", "n_call"))
_JSON_SCHEMA, _DEFINED_TOOLS = INDEX["json_schema"], INDEX["defined_tools"]
_N_CITED, _N_DOCUMENTS, _N_PAGES, _N_IMAGE = (
    INDEX[name] for name in ("n_cited", "n_documents", "n_pages", "n_image")
)
_TOOL_PLACES = frozenset(
    INDEX[name] for name in ("tools", "tool_words", "n_tools", "n_fields", "defined_tools")
)
_MAX_DEPTH = 12
_PLACES = tuple((name, INDEX[name]) for name in _ADDITIVE)


def regressors(counts: Vector, settings: frozenset[str], none_drops_tools: bool = False) -> dict[str, float]:
    """Every regressor that isn't zero. `const` stands for what the provider adds to any prompt.
    `none_drops_tools`: with the tool choice `none` the provider leaves the tools out."""
    if none_drops_tools and "no_tools" in settings:
        counts = tuple(0.0 if place in _TOOL_PLACES else count for place, count in enumerate(counts))
    found = {name: counts[place] for name, place in _PLACES if counts[place]}
    found["const"] = 1.0
    if counts[_N_SYSTEM]:
        found["any_system"] = 1.0
        found["n_system"] = counts[_N_SYSTEM]
    if counts[_N_TOOLS] or counts[_DEFINED_TOOLS]:
        found["any_tools"] = 1.0
        if counts[_N_SYSTEM]:
            found["tools_and_system"] = 1.0
        for name in ("required", "forced", "no_tools", "no_parallel"):
            if name in settings:
                found[name] = 1.0
        if "no_tools" in settings:
            found["dropped_tools"] = counts[INDEX["tools"]] + counts[_DEFINED_TOOLS]
    elif "empty_tools" in settings and counts[_N_SYSTEM]:
        found["empty_tools"] = 1.0
    if counts[_SCHEMA] or counts[_JSON_SCHEMA]:
        found["any_schema"] = 1.0
    if counts[_N_CALL]:
        found["any_call"] = 1.0
    if "streamed" in settings and "call_opaque" in found:
        found["streamed_opaque"] = found.pop("call_opaque")
    if "streamed" in settings and "old_call_opaque" in found:
        found["streamed_old_opaque"] = found.pop("old_call_opaque")
    if counts[_N_PAGES] == 1 and not counts[_N_IMAGE]:
        found["lone_page"] = 1.0
    if counts[_N_DOCUMENTS]:
        found["any_documents"] = 1.0
    if counts[_N_CITED]:
        found["any_cited"] = 1.0
    if "kept_thinking" in settings:
        for name, old in (("thought", "old_thought"), ("n_thought", "n_old_thought")):
            if amount := found.pop(old, 0.0):
                found[name] = found.get(name, 0.0) + amount
    for name in ("thinking", "adaptive", "no_thinking", "json_mode"):
        if name in settings:
            found[name] = 1.0
    return found


def settings_of(pieces: Iterable[Slice]) -> frozenset[str]:
    """What the request's settings say that changes how many tokens the provider adds."""
    found: set[str] = set()
    for piece in pieces:
        if piece.section == "tools":
            if bytes(piece.raw).strip() == b"[]":
                found.add("empty_tools")
            continue
        doc = decode(piece.raw)
        if piece.key in ("tool_choice", "function_call", "toolConfig", "tool_config"):
            found |= _tool_choice(doc)
            if isinstance(doc, dict) and doc.get("disable_parallel_tool_use") is True:
                found.add("no_parallel")
        elif piece.key == "parallel_tool_calls" and doc is False:
            found.add("no_parallel")
        elif piece.key in ("thinking", "enable_thinking", "reasoning", "additionalModelRequestFields"):
            found |= _thinking(doc)
            # Z.ai's setting: reasoning of earlier turns is read again (docs.z.ai, "Preserved Thinking").
            if isinstance(doc, dict) and doc.get("clear_thinking") is False:
                found.add("kept_thinking")
        elif (
            piece.key in ("response_format", "format", "text", "generationConfig")
            and "json" in str(doc)[:300]
        ):
            found.add("json_mode")
    return frozenset(found)


def _tool_choice(doc: Any) -> set[str]:
    if isinstance(doc, dict):
        inner = doc.get("functionCallingConfig", doc.get("function_calling_config", doc.get("toolChoice")))
        if isinstance(inner, dict):
            doc = inner
        if "name" in doc or "function" in doc or "tool" in doc:
            return {"forced"}
        doc = doc.get("type", doc.get("mode", "any" if "any" in doc else None))
    word = doc.lower() if isinstance(doc, str) else ""
    return {"none": {"no_tools"}, "any": {"required"}, "required": {"required"}}.get(word, set())


def _thinking(doc: Any, depth: int = 0) -> set[str]:
    if isinstance(doc, bool):
        return {"thinking"} if doc else {"no_thinking"}
    if not isinstance(doc, Mapping):
        return set()
    for key in ("thinking", "reasoning_config", "reasoningConfig"):
        if key in doc and depth < _MAX_DEPTH:
            return _thinking(doc[key], depth + 1)
    kind = doc.get("type")
    if kind == "adaptive":
        return {"adaptive"}
    if kind == "disabled" or doc.get("enabled") is False or doc.get("effort") == "none":
        return {"no_thinking"}
    if kind == "enabled" or doc.get("enabled") is True or "max_tokens" in doc or "effort" in doc:
        return {"thinking"}
    return set()
