"""What Google counts of functions: their words, each for itself, and nothing for JSON's own signs.

The rule is that of the counter in Google's own SDK (googleapis/python-genai,
`google/genai/local_tokenizer.py`): names, descriptions, formats, choices and the names of required fields;
of calls and results the keys and texts. Recorded figures of Vertex and of Gemini 2.0 agree with it, with
defaults, the titles of output schemas and one token for each type beside (seen in the recordings of seven
projects, the titles in those of two). Gemini 2.0 doesn't count what is declared in plain JSON Schema
(`parametersJsonSchema`), which the SDK doesn't know either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kimi_mitm.tokens.references import inlined

_MAX_DEPTH = 12
# Also what stands in the formats of others, in which a gateway is asked for Gemini.
_PARAMETERS, _RESPONSE = ("parameters", "input_schema", "inputSchema"), ("response",)
_JSON_PARAMETERS = ("parametersJsonSchema", "parameters_json_schema")
_JSON_RESPONSE = ("responseJsonSchema", "response_json_schema")
_TEXTS = ("format", "description", "default")
_TITLED = ("title", *_TEXTS)
_INNER = ("items", "anyOf", "any_of")


@dataclass(slots=True)
class Declared:
    """What was found in declarations or schemas. `titled`: whether titles count. `types` counts the places
    where a type is said, `optional` the fields that aren't required, `nested` the fields that are objects
    with fields of their own, `described` the fields with a description, `answers` the functions that say what
    they answer."""

    titled: bool = False
    words: list[str] = field(default_factory=list)
    types: int = 0
    fields: int = 0
    optional: int = 0
    nested: int = 0
    described: int = 0
    answers: int = 0

    def add_function(self, doc: Any) -> None:
        """Takes in one function's declaration, decoded, without what is declared in plain JSON Schema."""
        if isinstance(doc, Mapping):
            self._texts(doc, ("name", "description"))
            self._add_schemas(doc, _PARAMETERS, _RESPONSE)

    def add_json_schemas(self, doc: Any) -> None:
        """Takes in what a function's declaration has in plain JSON Schema."""
        if isinstance(doc, Mapping):
            self._add_schemas(doc, _JSON_PARAMETERS, _JSON_RESPONSE)

    def _add_schemas(
        self, doc: Mapping[str, Any], parameters: tuple[str, ...], response: tuple[str, ...]
    ) -> None:
        for key in parameters:
            found = doc.get(key)
            self.add_schema(found.get("json", found) if isinstance(found, Mapping) else found)
        for key in response:
            fields = self.fields
            self.add_schema(doc.get(key))
            self.answers += self.fields > fields

    def add_schema(self, doc: Any) -> None:
        """Takes in a schema, decoded, with its references written out."""
        self._add_schema(inlined(doc) if isinstance(doc, dict) else doc, 0)

    def _add_schema(self, doc: Any, depth: int) -> None:
        if depth > _MAX_DEPTH:
            return
        if isinstance(doc, list):
            for inner in doc:
                self._add_schema(inner, depth + 1)
        if not isinstance(doc, Mapping):
            return
        self.types += "type" in doc
        self._texts(doc, _TITLED if self.titled else _TEXTS)
        for key in ("enum", "required"):
            if isinstance(found := doc.get(key), list):
                self.words += [word for word in found if isinstance(word, str)]
        for key in _INNER:
            self._add_schema(doc.get(key), depth + 1)
        self._add_fields(doc, depth)

    def _add_fields(self, doc: Mapping[str, Any], depth: int) -> None:
        fields, required = doc.get("properties"), doc.get("required")
        if not isinstance(fields, Mapping):
            return
        needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        self.nested += bool(fields) and depth > 0
        for name, inner in fields.items():
            self.words.append(name)
            self.fields += 1
            self.optional += name not in needed
            self.described += isinstance(inner, Mapping) and bool(inner.get("description"))
            self._add_schema(inner, depth + 1)

    def _texts(self, doc: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        self.words += [doc[key] for key in keys if isinstance(doc.get(key), str)]


def said(value: Any, depth: int = 0) -> Iterator[str]:
    """The keys and texts of a call's arguments or of a result, decoded."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping) and depth <= _MAX_DEPTH:
        for key, inner in value.items():
            yield str(key)
            yield from said(inner, depth + 1)
    elif isinstance(value, list) and depth <= _MAX_DEPTH:
        for inner in value:
            yield from said(inner, depth + 1)


def keys_of(value: Any, depth: int = 0) -> int:
    """How many keys there are in a call's arguments or in a result."""
    if isinstance(value, Mapping) and depth <= _MAX_DEPTH:
        return len(value) + sum(keys_of(inner, depth + 1) for inner in value.values())
    if isinstance(value, list) and depth <= _MAX_DEPTH:
        return sum(keys_of(inner, depth + 1) for inner in value)
    return 0
