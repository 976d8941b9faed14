"""The table of log sources: which clients write down what they send, and who reads it.

Each reader's module has its rows in `SOURCES`; a new client is a module and a line here.
"""

from __future__ import annotations

from typing import Final

from kimi_mitm.logs import (
    aider,
    claude_code,
    cline,
    codex,
    continue_cli,
    continue_ide,
    copilot,
    crush,
    gemini_cli,
    goose,
    kilo_code,
    kimi_cli,
    kimi_code,
    llm,
    opencode,
    pi,
    qwen_code,
    roo_code,
    vibe,
)
from kimi_mitm.logs.source import LogSource

SOURCES: Final[tuple[LogSource, ...]] = (
    *claude_code.SOURCES,
    *codex.SOURCES,
    *gemini_cli.SOURCES,
    *kimi_cli.SOURCES,
    *kimi_code.SOURCES,
    *qwen_code.SOURCES,
    *aider.SOURCES,
    *cline.SOURCES,
    *continue_cli.SOURCES,
    *continue_ide.SOURCES,
    *copilot.SOURCES,
    *crush.SOURCES,
    *goose.SOURCES,
    *kilo_code.SOURCES,
    *llm.SOURCES,
    *opencode.SOURCES,
    *pi.SOURCES,
    *roo_code.SOURCES,
    *vibe.SOURCES,
)
