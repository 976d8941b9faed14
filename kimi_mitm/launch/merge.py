"""Taking back one edit of a text that has been edited since: line by line, or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class Tangled(ValueError):
    """The lines to take back have been edited themselves since."""


def take_back(original: str, written: str, current: str) -> str:
    """`current` without the edit that made `written` of `original`; later edits of other lines stay.

    Raises `Tangled`.
    """
    if current == written:
        return original
    before, after, now = (text.splitlines(keepends=True) for text in (original, written, current))
    found: list[str] = []
    place = 0
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        start, end = _where(after, now, j1, j2)
        if start < place:
            raise Tangled("the edits run into each other")
        found += [*now[place:start], *before[i1:i2]]
        place = end
    return "".join([*found, *now[place:]])


def _where(after: Sequence[str], now: Sequence[str], j1: int, j2: int) -> tuple[int, int]:
    """Where the lines `j1:j2` of what was written are now, all of them together and unchanged."""
    for block in difflib.SequenceMatcher(a=after, b=now, autojunk=False).get_matching_blocks():
        if block.a <= j1 and j2 <= block.a + block.size and (j1 < j2 or block.size):
            return block.b + j1 - block.a, block.b + j2 - block.a
    raise Tangled("the lines that were written have been edited since")
