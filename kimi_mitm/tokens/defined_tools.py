"""Tools that a provider defines and the client runs: sent as a type and a name, read as text that nobody
sees.

Sizes in tokens as Anthropic documents them (platform.claude.com, the pages of the bash, the text editor and
the computer use tool, autumn 2026), the last with what it adds to the system prompt. The recorded figures of
two projects are up to a tenth higher.
"""

from __future__ import annotations

import re
from typing import Any

_SIZES = {"bash": 245, "text_editor": 700, "computer": 735 + 480}
_TYPE = re.compile(rf"({'|'.join(_SIZES)})_20\d{{6}}")


def size_of(definition: Any) -> int | None:
    """The tokens of such a tool; None for one that is sent whole."""
    kind = definition.get("type") if isinstance(definition, dict) else None
    found = _TYPE.fullmatch(kind) if isinstance(kind, str) else None
    return _SIZES[found[1]] if found else None
