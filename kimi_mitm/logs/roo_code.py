"""Roo Code: tasks as in `tasks`; `tokensIn` is the whole prompt, cached tokens included.

Versions before mid-2025 left them out for Anthropic; where the cached tokens alone are more than
`tokensIn`, they must stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kimi_mitm.logs.source import File, LogSource
from kimi_mitm.logs.tasks import Shape, read_task, task_places
from kimi_mitm.records import Reading

CLIENT: Final = "roo-code"


def read_roo_task(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one task."""
    return read_task(data, file, CLIENT, cached_is_more)


def cached_is_more(shape: Shape) -> bool:
    """Whether the cached tokens can't be part of `tokensIn`."""
    return isinstance(shape.tokens_in, int) and shape.cached > shape.tokens_in


SOURCES: Final = (
    LogSource(
        name="roo-code",
        client=CLIENT,
        document=read_roo_task,
        places=(
            *task_places("rooveterinaryinc.roo-cline"),
            *task_places("rooveterinaryinc.roo-code-nightly"),
        ),
    ),
)
