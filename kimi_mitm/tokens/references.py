"""JSON Schema's references, written out where they stand: many providers read definitions so."""

from __future__ import annotations

from typing import Any

_MAX_DEPTH = 32
_MAX_REFERENCES = 200
_PLACES = ("$defs", "definitions")


def inlined(schema: dict[str, Any]) -> Any:
    """A schema, decoded, with its own definitions in the place of the references to them, as far as those
    lead somewhere; bounded, because definitions may name each other. The definitions stay where they are."""
    definitions = _Definitions(schema)
    return definitions.inlined(schema) if definitions.known else schema


class _Definitions:
    def __init__(self, schema: dict[str, Any]) -> None:
        self.known: dict[str, Any] = {}
        for key in _PLACES:
            found = schema.get(key)
            if isinstance(found, dict):
                self.known |= {f"#/{key}/{name}": value for name, value in found.items()}
        self._left = _MAX_REFERENCES

    def inlined(self, doc: Any, depth: int = 0) -> Any:
        if depth > _MAX_DEPTH:
            return doc
        if isinstance(doc, list):
            return [self.inlined(value, depth + 1) for value in doc]
        if not isinstance(doc, dict):
            return doc
        name = doc.get("$ref")
        named = self.known.get(name) if isinstance(name, str) else None
        if isinstance(named, dict) and self._left > 0:
            self._left -= 1
            own = {key: value for key, value in doc.items() if key != "$ref"}
            return self.inlined({**named, **own}, depth + 1)
        return {
            key: value if key in _PLACES else self.inlined(value, depth + 1) for key, value in doc.items()
        }
