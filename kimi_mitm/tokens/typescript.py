"""Tools as OpenAI's models read them: a TypeScript namespace with the descriptions as comments.

The form was found by comparing candidates with reported counts of recorded exchanges; for definitions
without exotic schema keywords the count is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from kimi_mitm.prompts.texts import compact
from kimi_mitm.tokens.references import inlined

_MAX_DEPTH = 8


def namespace(tools: Iterable[Any]) -> str:
    """The definitions ({name, description, parameters}) as one text."""
    lines = ["namespace functions {", ""]
    for tool in tools:
        if isinstance(tool, dict):
            lines += _function(tool)
            lines.append("")
    lines.append("} // namespace functions")
    return "\n".join(lines)


def reduced_schema(doc: Any, depth: int = 0) -> Any:
    """An output schema as these models read it: JSON without what only validators need."""
    if isinstance(doc, list):
        return [reduced_schema(value, depth + 1) for value in doc] if depth < _MAX_DEPTH * 4 else []
    if not isinstance(doc, dict) or depth > _MAX_DEPTH * 4:
        return doc
    found = {}
    for key, value in doc.items():
        if key in ("properties", "$defs") and isinstance(value, dict):
            found[key] = {name: reduced_schema(field, depth + 1) for name, field in value.items()}
        elif key not in ("additionalProperties", "$schema", "required"):
            found[key] = reduced_schema(value, depth + 1)
    return found


def _function(tool: dict[str, Any]) -> Iterator[str]:
    name = compact(tool.get("name", ""))
    yield from _comment(compact(tool.get("description") or "").strip())
    if isinstance(tool.get("format"), dict):  # a custom tool: its grammar stands in the place of fields
        yield from _comment(compact(tool["format"]))
    parameters = tool.get("parameters")
    if isinstance(parameters, dict):
        parameters = inlined(parameters)
    if not isinstance(parameters, dict) or not _fields(parameters):
        yield f"type {name} = () => any;"
        return
    heads = [text for key in ("title", "description") if (text := parameters.get(key))]
    if not heads:
        yield f"type {name} = (_: {_object(parameters, 0)}) => any;"
        return
    yield f"type {name} = (_:"
    for head in heads:
        yield from _comment(compact(head))
    yield f"{_object(parameters, 0)}) => any;"


def _comment(text: str) -> list[str]:
    return [f"// {line}" if line else "//" for line in text.split("\n")] if text else []


def _fields(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = schema.get("properties")
    if not isinstance(found, dict):
        return []
    return [(str(name), field) for name, field in found.items() if isinstance(field, dict)]


def _object(schema: dict[str, Any], depth: int) -> str:
    found = schema.get("required")
    required = {name for name in found if isinstance(name, str)} if isinstance(found, list) else set()
    fields = _fields(schema)
    shown = [
        (
            _field_comment(field),
            f"{name}{'' if name in required else '?'}: {_type(field, depth)}",
            _default(field),
        )
        for name, field in fields
    ]
    if not any(comment for comment, _, _ in shown):
        return "{ " + ", ".join(text + default for _, text, default in shown) + " }"
    lines = ["{"]
    for comment, text, default in shown:
        lines += comment
        lines.append(f"{text},{default}")
    return "\n".join([*lines, "}"])


def _field_comment(field: dict[str, Any]) -> list[str]:
    title, description = field.get("title"), field.get("description")
    lines = _comment(compact(title)) if title else []
    if description:
        lines += (["//"] if lines else []) + _comment(compact(description))
    return lines


def _default(field: dict[str, Any]) -> str:
    return f" // default: {_literal(field['default'])}" if "default" in field else ""


def _literal(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else compact(value)


def _type(field: Any, depth: int) -> str:
    if not isinstance(field, dict) or depth > _MAX_DEPTH:
        return "any"
    choices = field.get("enum")
    if isinstance(choices, list):
        return " | ".join(map(_literal, choices))
    for key in ("anyOf", "oneOf"):
        if isinstance(field.get(key), list):
            return " | ".join(_type(choice, depth + 1) for choice in field[key])
    kind = field.get("type")
    if isinstance(kind, list):
        kinds = dict.fromkeys(one for one in kind if isinstance(one, str))
        return " | ".join(_type({**field, "type": one}, depth + 1) for one in kinds)
    if kind == "integer":
        return "number"
    if kind == "array":
        return f"{_type(field['items'], depth + 1)}[]" if field.get("items") else "any[]"
    if kind == "object":
        return _object(field, depth + 1) if _fields(field) else "object"
    return kind if isinstance(kind, str) else "any"
