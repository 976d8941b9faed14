"""References in a schema are written out, however odd the schema is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.tokens.references import inlined
from kimi_mitm.tokens.typescript import namespace

CITY = {"type": "object", "properties": {"name": {"type": "string"}}}


def nodes(doc: Any) -> int:
    """How many values a document has."""
    inner = doc.values() if isinstance(doc, dict) else doc if isinstance(doc, list) else ()
    return 1 + sum(map(nodes, inner))


@pytest.mark.parametrize(
    ("place", "name", "reference"),
    [
        ("$defs", "City", "#/$defs/City"),
        ("definitions", "City", "#/definitions/City"),
        ("$defs", "a/b", "#/$defs/a~1b"),
        ("$defs", "a b", "#/$defs/a%20b"),
    ],
)
def test_a_definition_stands_where_it_is_named(place: str, name: str, reference: str) -> None:
    schema = {"properties": {"at": {"$ref": reference, "description": "where"}}, place: {name: CITY}}

    assert inlined(schema)["properties"]["at"] == {**CITY, "description": "where"}


def test_a_field_may_have_the_name_of_the_place() -> None:
    schema = {"properties": {"definitions": {"$ref": "#/$defs/City"}}, "$defs": {"City": CITY}}

    assert inlined(schema)["properties"]["definitions"] == CITY


def test_a_definition_is_not_put_into_itself() -> None:
    tree = {"properties": {"name": {"type": "string"}, "left": {"$ref": "#/$defs/Tree"}}}
    found = inlined({"properties": {"root": {"$ref": "#/$defs/Tree"}}, "$defs": {"Tree": tree}})

    assert found["properties"]["root"]["properties"]["left"] == {"$ref": "#/$defs/Tree"}


def test_many_references_to_a_large_definition_are_not_all_written_out() -> None:
    """What is copied is bounded, not only how often."""
    large = {"properties": {f"field_{n}": {"type": "string"} for n in range(2_000)}}
    schema = {
        "properties": {f"at_{n}": {"$ref": "#/$defs/Large"} for n in range(200)},
        "$defs": {"Large": large},
    }

    assert nodes(inlined(schema)) < 60_000


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8) | st.just({"$ref": "#/$defs/A"}),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=30,
    )
)
def test_definitions_that_name_each_other_end(inner: Any) -> None:
    """Whatever stands between them."""
    loop = {"a": {"$ref": "#/$defs/B"}, "b": {"$ref": "#/$defs/A"}, "c": inner}

    assert nodes(inlined({"$defs": {"A": loop, "B": loop, "C": inner}, **loop})) < 60_000


def test_a_type_that_is_said_many_times_is_written_once() -> None:
    """Every choice would write all fields again, at every level."""
    schema: dict[str, Any] = {"type": ["object"] * 40, "properties": {"leaf": {"type": "string"}}}
    for _ in range(4):
        schema = {"type": ["object"] * 40, "properties": {"inner": schema}}

    written = namespace([{"name": "f", "parameters": {"type": "object", "properties": {"a": schema}}}])

    assert len(written) < len(json.dumps(schema))
