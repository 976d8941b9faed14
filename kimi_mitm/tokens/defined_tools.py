"""Tools that a provider defines and the client runs: sent as a type and a name, read as text that nobody
sees.

Sizes in tokens as Anthropic documents them (platform.claude.com, the pages of the bash, the text editor and
the computer use tool, autumn 2026), the last with what it adds to the system prompt. The recorded figures of
two projects are up to a tenth higher.
"""

from __future__ import annotations

from typing import Any

_SIZES = (("bash_", 245), ("text_editor_", 700), ("computer_", 735 + 480))


def size_of(definition: Any) -> int | None:
    """The tokens of such a tool; None for one that is sent whole."""
    kind = definition.get("type") if isinstance(definition, dict) else None
    if not isinstance(kind, str):
        return None
    return next((size for name, size in _SIZES if kind.startswith(name)), None)
