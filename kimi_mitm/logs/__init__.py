"""The table of log sources: which clients write down what they send, and who reads it.

Each reader's module has its rows in `SOURCES`; a new client is a module and a line here.
"""

from __future__ import annotations

from typing import Final

from kimi_mitm.logs import claude_code, codex, gemini_cli, kimi_cli, kimi_code, qwen_code
from kimi_mitm.logs.source import LogSource

SOURCES: Final[tuple[LogSource, ...]] = (
    *claude_code.SOURCES,
    *codex.SOURCES,
    *gemini_cli.SOURCES,
    *kimi_cli.SOURCES,
    *kimi_code.SOURCES,
    *qwen_code.SOURCES,
)
