"""Setting members of a JSON object in its text, comments and layout kept: JSON with comments, as
VS Code writes its settings (`//`, `/* */`, commas before the end)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SPACE = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_PLAIN = re.compile(r"[^\s,:{}\[\]\"/]+")
_DEEPEST = 200


class JsoncError(ValueError):
    """The text is no JSON object, not even one with comments."""


@dataclass(frozen=True, slots=True)
class _Member:
    key: str
    start: int
    end: int
    """Where the value begins and ends in the text."""


def set_members(text: str, values: Mapping[str, Any]) -> str:
    """The text with these members of its outermost object set; empty text becomes an object.

    A member that is there keeps its place, a new one comes first. Raises `JsoncError`.
    """
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix(mark)
    newline = "\r\n" if "\r\n" in text else "\n"
    if not _SPACE.sub("", text):
        text = text + "{" + newline + "}" + newline
    for key, value in reversed(list(values.items())):
        text = _set(text, key, json.dumps(value, ensure_ascii=False), newline)
    return mark + text


def members(text: str) -> dict[str, Any]:
    """The values of the outermost object's members that are plain JSON themselves; empty text has none.

    Raises `JsoncError`.
    """
    text = text.removeprefix("\ufeff")
    if not _SPACE.sub("", text):
        return {}
    found: dict[str, Any] = {}
    for member in _read(text)[1]:
        try:
            found[member.key] = json.loads(text[member.start : member.end])
        except (ValueError, RecursionError):
            found[member.key] = None
    return found


def _set(text: str, key: str, value: str, newline: str) -> str:
    opened, known = _read(text)
    for member in reversed(known):
        if member.key == key:
            return text[: member.start] + value + text[member.end :]
    line = f"{newline}{_indent(text, known)}{json.dumps(key)}: {value}"
    if known:
        return text[:opened] + line + "," + text[opened:]
    rest = text[opened:]
    return text[:opened] + line + ("" if "\n" in rest.split("}", 1)[0] else newline) + rest


def _indent(text: str, known: list[_Member]) -> str:
    """The layout of the members that are there; four spaces without any."""
    for member in known:
        line = text.rfind("\n", 0, member.start) + 1
        space = re.match(r"[ \t]*", text[line:])
        if space and line and text[line + space.end() :].startswith('"'):
            return space[0]
    return "    "


def _read(text: str) -> tuple[int, list[_Member]]:
    """Where the outermost object has been opened, and its members."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise JsoncError("not a JSON object")
    opened = at = at + 1
    found: list[_Member] = []
    while True:
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            break
        key = _STRING.match(text, at)
        if key is None:
            raise JsoncError(f"no member's name at character {at}")
        at = _skip(text, key.end())
        if text[at : at + 1] != ":":
            raise JsoncError(f"no colon at character {at}")
        start = _skip(text, at + 1)
        at = _value(text, start, 0)
        found.append(_Member(_decoded(key[0]), start, at))
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at += 1
        elif text[at : at + 1] != "}":
            raise JsoncError(f"neither a comma nor an end at character {at}")
    if _skip(text, at + 1) != len(text):
        raise JsoncError("something follows the object")
    return opened, found


def _value(text: str, at: int, depth: int) -> int:
    """Where a value that begins here ends."""
    if depth > _DEEPEST:
        raise JsoncError("nested too deep")
    sign = text[at : at + 1]
    if sign == '"':
        string = _STRING.match(text, at)
        if string is None:
            raise JsoncError(f"a string without an end at character {at}")
        return string.end()
    if sign not in ("{", "["):
        plain = _PLAIN.match(text, at)
        if plain is None:
            raise JsoncError(f"no value at character {at}")
        return plain.end()
    end = "}" if sign == "{" else "]"
    at = _skip(text, at + 1)
    while text[at : at + 1] != end:
        if text[at : at + 1] in (",", ":"):
            at += 1
        else:
            at = _value(text, at, depth + 1)
        at = _skip(text, at)
    return at + 1


def _skip(text: str, at: int) -> int:
    """Past white space and comments."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _decoded(string: str) -> str:
    try:
        return str(json.loads(string))
    except ValueError as e:
        raise JsoncError("a member's name is no string") from e
