"""The kinds of values that the endpoint's models are made of, and the two bases of those models."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from kimi_mitm.render import instant, money

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}$"
"""Ids of ours; no slash and no leading dot, so none can be mistaken for a path."""

NAME_PATTERN = r"^[^\x00-\x1f\x7f]{1,128}$"
"""Names that others choose: any text of one line."""

WORD_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""Provider ids and the like."""

CURSOR_PATTERN = r"^[A-Za-z0-9_=:.~-]{1,256}$"


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _written(value: Any) -> Any:
    """A bare number could be seconds or milliseconds, so it is nothing."""
    if isinstance(value, str) and not value.lstrip("+-").replace(".", "", 1).isdigit():
        return value
    raise ValueError("should be a time in ISO 8601")


Instant = Annotated[
    datetime,
    PlainSerializer(instant, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time in an answer: ISO 8601, UTC, microseconds."""

Since = Annotated[datetime, BeforeValidator(_written), AfterValidator(_aware)]
"""A time in a query; without a zone it is UTC."""

Dollars = Annotated[
    Decimal,
    PlainSerializer(money, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "description": "US dollars"}),
]
"""Money in an answer: a decimal number as a string."""

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Word = Annotated[str, Field(pattern=WORD_PATTERN)]
Identifier = Annotated[str, Field(pattern=ID_PATTERN)]
Cursor = Annotated[str, Field(pattern=CURSOR_PATTERN)]


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """A model's fields' examples as one object."""
    return {name: field.examples[0] for name, field in model.model_fields.items() if field.examples}


def _compose_example(schema: dict[str, Any], model: type[BaseModel]) -> None:
    example = example_of(model)
    if example:
        schema["examples"] = [example]


class Input(BaseModel):
    """What comes in: unknown fields and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, json_schema_extra=_compose_example)


class Query(BaseModel):
    """A query string: unknown names are refused; numbers and times are read from text."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Output(BaseModel):
    """What goes out."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null", json_schema_extra=_compose_example)


def eg(example: Any, description: str = "", **more: Any) -> Any:
    """A field with an example for the schema; without `default` it is required."""
    return Field(description=description or None, examples=[example], **more)
