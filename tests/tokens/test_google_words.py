"""Functions count at Google as its own SDK counts them: their words, and one for each type."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.tokens import Call, Estimator, tokenizer
from kimi_mitm.tokens.bounds import bounds
from kimi_mitm.tokens.google_words import Declared, keys_of, said

WEATHER = {
    "name": "get_weather",
    "description": "Get the weather for a location.",
    "parameters": {
        "type": "OBJECT",
        "properties": {
            "location": {"type": "STRING", "description": "The city"},
            "unit": {"type": "STRING", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
        },
        "required": ["location"],
    },
}
ANSWERED: list[dict[str, Any]] = [
    {"role": "user", "parts": [{"text": "What is the weather?"}]},
    {
        "role": "model",
        "parts": [{"functionCall": {"name": "get_weather", "args": {"location": "Rome", "days": 3}}}],
    },
    {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "get_weather", "response": {"report": ["sunny", "25 degrees"]}}}
        ],
    },
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=30,
)


def asked(
    contents: list[dict[str, Any]],
    *,
    model: str = "gemini-2.0-flash",
    vertex: bool = False,
    tool: dict[str, Any] | None = None,
    **more: Any,
) -> Call:
    """A request with one function."""
    body = {"contents": contents, "tools": [{"functionDeclarations": [tool or WEATHER]}], **more}
    return Call(
        provider="google",
        served_by="google",
        host="europe-west1-aiplatform.googleapis.com" if vertex else None,
        wire_format="google.generate_content",
        model=model,
        family="gemini",
        body=json.dumps(body).encode(),
    )


def tokens(*words: str) -> int:
    """The words' tokens, each counted for itself."""
    return sum(tokenizer.count(word, tokenizer.GEMMA) for word in words)


DECLARED = (
    "get_weather", "Get the weather for a location.", "location", "The city", "unit", "celsius", "fahrenheit",
    "celsius", "location",
)  # fmt: skip


@pytest.mark.parametrize(("model", "vertex"), [("gemini-2.0-flash", False), ("gemini-2.5-pro", True)])
def test_a_declaration_counts_its_words_and_types(model: str, vertex: bool) -> None:
    """Three types here: the object and its two fields."""
    estimate = Estimator().estimate(asked(ANSWERED[:1], model=model, vertex=vertex)).estimate

    assert estimate.input_tokens == pytest.approx(tokens("What is the weather?", *DECLARED) + 3, abs=1)


def test_calls_and_results_count_their_names_keys_and_texts() -> None:
    """Numbers count nothing, nor do JSON's signs."""
    plain = Estimator().estimate(asked(ANSWERED[:1])).estimate.input_tokens
    whole = Estimator().estimate(asked(ANSWERED)).estimate.input_tokens

    called = tokens("get_weather", "location", "Rome", "days")
    result = tokens("get_weather", "report", "sunny", "25 degrees")
    assert whole - plain == pytest.approx(called + result, abs=1)


def test_the_gemini_api_frames_functions_from_2_5_on() -> None:
    """Some 17 tokens for one, 8 for a field, and more for one that may be left out."""
    before = Estimator().estimate(asked(ANSWERED[:1])).estimate.input_tokens
    since = Estimator().estimate(asked(ANSWERED[:1], model="gemini-2.5-flash")).estimate.input_tokens

    assert since - before == pytest.approx(1 + 17 + 2 * 8 + 5, abs=5)


JSON_SCHEMAS = {
    "name": "get_weather",
    "description": "Get the weather for a location.",
    "parametersJsonSchema": WEATHER["parameters"],
    "responseJsonSchema": {"type": "object", "properties": {"report": {"type": "string"}}},
}


def test_gemini_2_0_counts_no_plain_json_schema() -> None:
    """Only the function's name and description."""
    estimate = Estimator().estimate(asked(ANSWERED[:1], tool=JSON_SCHEMAS)).estimate

    assert estimate.input_tokens == pytest.approx(tokens("What is the weather?", *DECLARED[:2]), abs=1)


def test_later_ones_count_it_and_what_a_function_answers() -> None:
    """Some 30 tokens more where it says so."""
    own = Estimator().estimate(asked(ANSWERED[:1], model="gemini-2.5-pro")).estimate.input_tokens
    plain = Estimator().estimate(asked(ANSWERED[:1], model="gemini-2.5-pro", tool=JSON_SCHEMAS)).estimate

    assert plain.input_tokens - own == pytest.approx(tokens("report") + 2 + 8 + 5 + 30, abs=3)


def test_gemini_1_5_counts_no_output_schema() -> None:
    """Gemini 2.0 counts its words."""
    schema = {"type": "OBJECT", "properties": {f"field_{n}": {"type": "STRING"} for n in range(9)}}
    shaped = {"responseMimeType": "application/json", "responseSchema": schema}

    def more(model: str) -> int:
        plain, with_schema = (
            Estimator()
            .estimate(asked(ANSWERED[:1], model=model, generationConfig=config))
            .estimate.input_tokens
            for config in ({}, shaped)
        )
        return with_schema - plain

    assert more("gemini-1.5-flash") == pytest.approx(0, abs=1)
    assert more("gemini-2.0-flash") == pytest.approx(tokens(*schema["properties"]) + 10, abs=1)


def test_what_a_schema_holds_is_found_at_any_depth() -> None:
    """Items, choices and definitions too; a field that has fields is nested."""
    declared = Declared()

    declared.add_schema(
        {
            "type": "object",
            "properties": {
                "home": {"type": "object", "properties": {"street": {"type": "string", "format": "line"}}},
                "tags": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            },
            "required": ["home"],
        }
    )

    assert sorted(declared.words) == ["home", "home", "line", "street", "tags"]
    assert (declared.types, declared.fields, declared.optional, declared.nested) == (6, 3, 2, 1)


@given(JSON)
def test_whatever_a_client_declares_is_survived(doc: Any) -> None:
    """Wrong types anywhere, and none of them counted as a word."""
    declared = Declared()

    declared.add_function(doc)
    declared.add_json_schemas(doc)
    declared.add_schema(doc)

    assert all(isinstance(word, str) for word in [*declared.words, *said(doc)])
    assert keys_of(doc) >= 0


def test_endless_nesting_ends() -> None:
    """A schema of a thousand levels counts as far as anybody would read."""
    doc: Any = {"type": "string"}
    for _ in range(1000):
        doc = {"type": "object", "properties": {"a": doc}}
    declared = Declared()

    declared.add_schema(doc)

    assert declared.fields == len(declared.words) == 13
    assert len(list(said(doc))) < 40


def test_tools_in_plain_json_schema_are_as_visible_as_others() -> None:
    """A large set of them is in the plain count, and bounds neither the estimate nor what may be learned."""
    fields = {
        f"field_{n}": {"type": "string", "description": "what it is for, said at length. " * 40}
        for n in range(80)
    }
    schema = {"type": "object", "properties": fields, "required": list(fields)}
    own, plain = (
        Estimator().estimate(
            asked(
                ANSWERED[:1],
                model="gemini-2.5-pro",
                tool={"name": "f", "description": "Does it", key: schema},
            )
        )
        for key in ("parameters", "parametersJsonSchema")
    )

    assert plain.estimate.tiktoken_input_tokens == own.estimate.tiktoken_input_tokens > 20_000
    assert plain.estimate.input_tokens == pytest.approx(own.estimate.input_tokens, rel=0.01)
    assert bounds(plain.x) == bounds(own.x)


def test_titles_count_in_output_schemas_alone() -> None:
    """As pydantic writes them."""
    titled = {"type": "OBJECT", "properties": {"name": {"type": "STRING", "title": "The full name"}}}
    shaped = {"responseMimeType": "application/json", "responseSchema": titled}
    tool = {"name": "f", "parameters": titled}
    plain = {"name": "f", "parameters": {"type": "OBJECT", "properties": {"name": {"type": "STRING"}}}}

    def found(**body: Any) -> int:
        return Estimator().estimate(asked(ANSWERED[:1], **body)).estimate.input_tokens

    assert found(generationConfig=shaped) - found() == tokens("name", "The full name") + 2
    assert found(tool=tool) == found(tool=plain)


def test_gemini_2_0_counts_no_output_schema_in_plain_json_schema() -> None:
    schema = {"type": "object", "properties": {f"field_{n}": {"type": "string"} for n in range(9)}}
    shaped = {"responseMimeType": "application/json", "responseJsonSchema": schema}

    without, with_schema = (
        Estimator().estimate(asked(ANSWERED[:1], generationConfig=config)).estimate for config in ({}, shaped)
    )

    assert without.input_tokens == with_schema.input_tokens


def test_a_referenced_schema_counts_where_it_is_referred_to() -> None:
    city = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    written, referring = Declared(), Declared()
    written.add_schema({"type": "object", "properties": {"from": city, "to": city}})
    places = {"from": {"$ref": "#/$defs/City"}, "to": {"$ref": "#/$defs/City"}}
    referring.add_schema({"type": "object", "properties": places, "$defs": {"City": city}})

    assert referring == written
