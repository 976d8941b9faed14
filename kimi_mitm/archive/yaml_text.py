"""Plain data as YAML that people read: block style, multi-line text as it is.

A writer of its own because archives are long: the general one takes about a second per megabyte.
What it writes, every YAML 1.1 or 1.2 reader reads back as the same values; only lone surrogates, which no
file can hold, become U+FFFD.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

type Value = bool | int | float | str | Sequence[Value] | Mapping[str, Value] | None

_PLAIN = re.compile(r"[^\W\d_][\w ./+()@=;,-]{0,118}[\w./+()@=;-]|[^\W\d_]")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
"""Words that YAML 1.1 reads as something else than text, in any case."""

_SHOWN = "\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff"
"""What may stand in a file as it is; other characters need an escape. YAML allows a few more, which
readers or people take for line breaks, or don't see."""

_NO_BLOCK = re.compile(f"[^\t\n{_SHOWN}]")
_ESCAPED = re.compile(f'[\\\\"]|[^{_SHOWN}]')
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHORT = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
_STEP = "  "


def dump(document: Mapping[str, Value]) -> str:
    """The document as YAML text, with a line break at its end."""
    return "\n".join(_mapping(document, "")) + "\n" if document else "{}\n"


def _mapping(values: Mapping[str, Value], indent: str) -> Iterator[str]:
    for key, value in values.items():
        yield from _entry(f"{indent}{_scalar(key, indent)}:", value, indent)


def _sequence(values: Sequence[Value], indent: str) -> Iterator[str]:
    for value in values:
        if isinstance(value, Mapping) and value:
            lines = _mapping(value, indent + _STEP)
            yield f"{indent}- {next(lines)[len(indent) + 2 :]}"
            yield from lines
        else:
            yield from _entry(f"{indent}-", value, indent)


def _entry(head: str, value: Value, indent: str) -> Iterator[str]:
    match value:
        case str():
            yield f"{head} {_text(value, indent + _STEP)}"
        case Mapping():
            yield head if value else f"{head} {{}}"
            yield from _mapping(value, indent + _STEP)
        case Sequence():
            yield head if value else f"{head} []"
            yield from _sequence(value, indent + _STEP)
        case _:
            yield f"{head} {_scalar(value, indent)}"


def _scalar(value: bool | int | float | str | None, indent: str) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float():
            return _float(value)
        case str():
            return _text(value, indent + _STEP) if "\n" not in value else _quoted(value, "", "")
        case _:
            return str(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    sign = "" if exponent.startswith("-") else "+"
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{sign}{exponent.removeprefix('+')}"


def _text(text: str, indent: str) -> str:
    if _SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    if "\n" not in text:
        return _quoted(text, "", "")
    if _NO_BLOCK.search(text) or (not text.rpartition("\n")[2].strip(" \t") and not text.endswith("\n")):
        return _quoted(text, "\\\n", indent)
    return _block(text, indent) if text.strip("\n \t") else _quoted(text, "", "")


def _block(text: str, indent: str) -> str:
    """A literal block: each line as it is. The digit says how far it is indented, where that can't be
    seen; `-` and `+` keep the number of line breaks at the end."""
    digit = str(len(_STEP)) if text[0] in " \t\n" else ""
    body = text.removesuffix("\n")
    end = "-" if body == text else "+" if body.endswith("\n") else ""
    lines = [indent + line if line else "" for line in body.split("\n")]
    return f"|{digit}{end}\n" + "\n".join(lines)


def _quoted(text: str, fold: str, indent: str) -> str:
    """In double quotes; with `fold`, one line of the text per line of the file."""
    if not fold:
        return f'"{_ESCAPED.sub(_escape, text)}"'
    lines = [_ESCAPED.sub(_escape, line) for line in text.split("\n")]
    rest = ["\\" + line if line.startswith(" ") else line for line in lines[1:]]
    return '"' + f"\\n{fold}{indent}".join([lines[0], *rest]) + '"'


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    short = _SHORT.get(char)
    if short is not None:
        return short
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
