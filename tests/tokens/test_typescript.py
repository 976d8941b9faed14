"""Tools are written as OpenAI's models read them."""

from __future__ import annotations

import time
from typing import Any

from kimi_mitm.tokens.typescript import namespace


def one(parameters: dict[str, Any]) -> str:
    """The lines of one tool with these parameters."""
    text = namespace([{"name": "f", "description": "Does it", "parameters": parameters}])
    return text.removeprefix("namespace functions {\n\n").removesuffix("\n\n} // namespace functions")


def test_a_reference_is_replaced_by_what_it_names() -> None:
    """With the titles of both; found by 53 of 55 tokens that were missing in recorded counts."""
    address = {
        "type": "object",
        "title": "Address",
        "properties": {"street": {"type": "string", "title": "Street"}, "number": {"type": "integer"}},
        "required": ["street"],
    }
    parameters = {
        "$defs": {"Address": address},
        "type": "object",
        "properties": {"home": {"$ref": "#/$defs/Address"}},
        "required": ["home"],
    }

    assert one(parameters) == (
        "// Does it\ntype f = (_: {\n// Address\nhome: {\n// Street\nstreet: string,\nnumber?: number,\n},\n"
        "}) => any;"
    )


def test_references_stand_in_lists_and_choices_too() -> None:
    """Wherever a type may stand."""
    parameters = {
        "definitions": {"Unit": {"enum": ["km", "mi"]}, "Word": {"type": "string"}},
        "type": "object",
        "properties": {
            "words": {"type": "array", "items": {"$ref": "#/definitions/Word"}},
            "unit": {"anyOf": [{"$ref": "#/definitions/Unit"}, {"type": "null"}]},
        },
    }

    assert (
        one(parameters) == '// Does it\ntype f = (_: { words?: string[], unit?: "km" | "mi" | null }) => any;'
    )


def test_a_reference_to_nothing_is_anything() -> None:
    """And one that is no text, too."""
    fields = {"a": {"$ref": "#/$defs/Missing"}, "b": {"$ref": 5}}

    assert (
        one({"$defs": {"Other": {}}, "properties": fields})
        == "// Does it\ntype f = (_: { a?: any, b?: any }) => any;"
    )


def test_definitions_that_name_each_other_end() -> None:
    """A tree that holds ten of itself would never be written out."""
    node = {"type": "object", "properties": {f"child_{n}": {"$ref": "#/$defs/Node"} for n in range(10)}}
    started = time.process_time()

    text = one({"$defs": {"Node": node}, "properties": {"root": {"$ref": "#/$defs/Node"}}})

    assert "child_9" in text
    assert len(text) < 100_000
    assert time.process_time() - started < 1.0
