"""Which stretches of a prompt's text were put there from a memory, not by the user or the client.

Forms: `<mcp-memory>…</mcp-memory>` and the tags like it, `@memory[…]`, `[MEMORY]…[/MEMORY]` (or up to the
next blank line, where it is never closed).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MEMORY = re.compile(
    r"<(?P<tag>mcp[-_]memory|memory[-_]context|relevant[-_]memories|memories)\b[^>]{0,200}>"
    r".*?</(?P=tag)\s*>"
    r"|@memory\[[^\]]*(?:\]|\Z)"
    r"|\[(?P<mark>MCP[-_ ]MEMORY|MEMORY)\](?:(?:(?!\[(?P=mark)\]).)*?\[/(?P=mark)\]|.*?(?=\n[ \t]*\n|\Z))",
    re.DOTALL | re.IGNORECASE,
)
_HINT = re.compile(r"memor(?:y|ies)\b", re.IGNORECASE)


def cut(text: str) -> Iterator[tuple[bool, str]]:
    """The text in pieces, in order, each with whether it comes from a memory; together they are the text."""
    if not _HINT.search(text):
        yield False, text
        return
    at = 0
    for match in _MEMORY.finditer(text):
        if match.start() > at:
            yield False, text[at : match.start()]
        yield True, match[0]
        at = match.end()
    if at < len(text) or not at:
        yield False, text[at:]
