"""JSON Schema's references, written out where they stand: many providers read definitions so."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

_MAX_DEPTH = 32
_MOST_COPIED = 20_000
_PLACES = ("$defs", "definitions")


def inlined(schema: dict[str, Any]) -> Any:
    """A schema, decoded, with its own definitions in the place of the references to them, as far as those
    lead somewhere. A definition isn't put into itself, and at most 20,000 values are copied. The definitions
    stay where they are."""
    definitions = _Definitions(schema)
    return definitions.inlined(schema) if definitions.known else schema


class _Definitions:
    def __init__(self, schema: dict[str, Any]) -> None:
        self.known: dict[str, Any] = {}
        for place in _PLACES:
            found = schema.get(place)
            if isinstance(found, dict):
                self.known |= {f"#/{place}/{name}": value for name, value in found.items()}
        self._left = _MOST_COPIED

    def inlined(self, doc: Any, depth: int = 0, inside: frozenset[str] = frozenset()) -> Any:
        if depth > _MAX_DEPTH:
            return doc
        if inside:
            self._left -= 1
        if isinstance(doc, list):
            return [self.inlined(value, depth + 1, inside) for value in doc]
        if not isinstance(doc, dict):
            return doc
        name = doc.get("$ref")
        if isinstance(name, str) and name not in self.known:
            name = unquote(name).replace("~1", "/").replace("~0", "~")
        named = self.known.get(name) if isinstance(name, str) and name not in inside else None
        if isinstance(name, str) and isinstance(named, dict) and self._left > 0:
            own = {key: value for key, value in doc.items() if key != "$ref"}
            return self.inlined({**named, **own}, depth + 1, inside | {name})
        return {
            key: value if depth == 0 and key in _PLACES else self.inlined(value, depth + 1, inside)
            for key, value in doc.items()
        }
