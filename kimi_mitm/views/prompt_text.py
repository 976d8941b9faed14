"""A request's body as a conversation that can be read: the newest messages, the first ones, what was set.

A body of any size takes a few milliseconds: it is split without being read, and only what is shown is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import msgspec

from kimi_mitm import prompts
from kimi_mitm.prompts.shape import Slice, decode
from kimi_mitm.records import Message, Part, PartKind
from kimi_mitm.views import excerpt
from kimi_mitm.views.excerpt import Lightened, Unreadable, block

FIRST = 2
LAST = 12
"""So many messages are shown from the beginning and the end of a conversation."""
PART_BOUND = 2000
"""Characters shown of one part."""
_LIGHT = 32 * 1024
_LENIENT = 1024 * 1024
"""Bytes up to which a damaged body is read as far as it goes."""
_MOST_OBJECTS = 20_000
_TOOL_BOUND = 50
_HEAVIEST = 16 * 1024 * 1024
_SETTING = 120
_MOST_SETTINGS = 40
_MOST_NAMES = 60
_TOP: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MEDIA = frozenset({PartKind.IMAGE, PartKind.AUDIO, PartKind.VIDEO, PartKind.FILE})
_LABELS = {
    PartKind.REASONING: "{role} thinking",
    PartKind.MEMORY: "{role} memory",
    PartKind.TOOL_CALL: "{role} calls {name}",
    PartKind.TOOL_RESULT: "result of {name}",
}


def prompt_lines(wire_format: str, body: bytes) -> list[str]:
    """The prompt of a decoded request body. Raises `Unreadable`."""
    if len(body) > _LENIENT and not _is_object(body):
        raise Unreadable("it is no JSON object, or not whole")
    pieces = prompts.split(wire_format, body)
    if not pieces:
        raise Unreadable("there is no prompt in it" if body.strip() else "it is empty")
    if pieces[0].key == "" and pieces[0].section == "message":
        raise Unreadable("it is no JSON object, or not whole")
    lines = _settings(body)
    said = [piece for piece in pieces if piece.section == "message"]
    for piece in pieces:
        if piece.section in ("tools", "system", "schema"):
            lines += _shown(wire_format, body, piece)
    if len(said) <= FIRST + LAST + 1:
        return lines + _all(wire_format, body, said)
    left = said[FIRST:-LAST]
    weight = excerpt.size(sum(len(bytes(piece.raw)) for piece in left))
    return [
        *lines,
        *_all(wire_format, body, said[:FIRST]),
        f"# … {len(left)} of {len(said)} messages left out, {weight} …",
        *_all(wire_format, body, said[-LAST:]),
    ]


def _all(wire_format: str, body: bytes, pieces: Iterable[Slice]) -> list[str]:
    return [line for piece in pieces for line in _shown(wire_format, body, piece)]


def _shown(wire_format: str, body: bytes, piece: Slice) -> list[str]:
    weight = len(bytes(piece.raw))
    if weight <= _LIGHT:
        return _messages(prompts.messages(wire_format, body, piece), weight)
    lightened = Lightened(PART_BOUND if piece.section != "tools" else _TOOL_BOUND)
    try:
        if weight > _HEAVIEST or bytes(piece.raw).count(b'{"') > _MOST_OBJECTS:
            raise Unreadable("it is too long")
        value = lightened.lighten(decode(piece.raw))
        light = Slice(piece.section, piece.key, msgspec.json.encode(value))
    except (Unreadable, TypeError, ValueError, RecursionError):
        start = bytes(piece.raw)[:PART_BOUND]
        key = f"{piece.key}, the start of {excerpt.size(weight)}"
        return block(key, start.decode("utf-8", "replace"), PART_BOUND)
    found = prompts.messages(wire_format, body, light)
    return _messages(_weighed(found, lightened.media), weight)


def _weighed(messages: Sequence[Message], media: list[int]) -> list[Message]:
    """Media that were cut get their own sizes back: cut ones are all of the same length."""
    left = iter(media)
    cut = 36_000
    return [
        replace(
            message,
            parts=tuple(
                replace(part, size=next(left, part.size))
                if part.kind in _MEDIA and part.size is not None and abs(part.size - cut) < 4
                else part
                for part in message.parts
            ),
        )
        for message in messages
    ]


def _messages(messages: Iterable[Message], weight: int) -> list[str]:
    lines: list[str] = []
    for message in messages:
        if message.role == "tools":
            lines += _tools(message.parts, weight)
            continue
        said = [line for part in message.parts for line in part_lines(message.role, part)]
        lines += said or [f"{message.role}:"]
    return lines


def part_lines(role: str, part: Part) -> list[str]:
    """One part of a message of that role."""
    if part.kind in _MEDIA:
        return [f"{role} {part.kind.value}: {_medium(part)}"]
    label = _LABELS.get(part.kind)
    if label is not None:
        key = label.format(role=role, name=part.name or "a tool")
    else:
        key = role if role != "schema" else "output schema"
    if not part.text and part.size:
        what = "token ids" if part.name == "token_ids" else "characters that can't be read"
        return [f"{key}: ({part.size:,} {what})"]
    if not part.text and part.kind is PartKind.TEXT:
        return []
    return block(key, part.text, PART_BOUND)


def _medium(part: Part) -> str:
    seen = [part.mime or "unknown type"]
    if part.width and part.height:
        seen.append(f"{part.width}×{part.height}")
    if part.pages:
        seen.append(f"{part.pages} pages")
    if part.seconds:
        seen.append(f"{part.seconds:.1f} s")
    if part.size:
        seen.append(excerpt.size(part.size))
    if part.remote:
        seen.append("kept elsewhere")
    if part.name:
        seen.append(part.name)
    return ", ".join(seen)


def _tools(parts: Sequence[Part], weight: int) -> list[str]:
    if not parts:
        return []
    names = [part.name or "?" for part in parts[:_MOST_NAMES]]
    more = f", and {len(parts) - _MOST_NAMES} more" if len(parts) > _MOST_NAMES else ""
    return block("tools", f"{len(parts)}, {excerpt.size(weight)} ({', '.join(names)}{more})", PART_BOUND)


def _is_object(body: bytes) -> bool:
    try:
        return bool(_TOP.decode(body))
    except (ValueError, RecursionError):
        return False


def _settings(body: bytes) -> list[str]:
    """What the body sets beside the prompt, in one line."""
    try:
        top = _TOP.decode(body)
    except (ValueError, RecursionError):
        return []
    found = []
    for key, raw in top.items():
        text = bytes(raw)
        if len(text) <= _SETTING and not text.startswith((b"[{", b'["')) and key not in _PROMPT:
            found.append(f"{key} {text.decode('utf-8', 'replace').strip(chr(34))}")
    return block("settings", " · ".join(found[:_MOST_SETTINGS]), PART_BOUND) if found else []


_PROMPT = frozenset({"messages", "input", "prompt", "system", "instructions", "contents", "text", "texts"})
"""Keys whose value is the conversation itself, however short."""
