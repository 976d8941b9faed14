"""Cline: since 4.x, and on the command line, one JSON document of messages per session; before, a task.

In a session's document every assistant message has `metrics`, with the cached tokens inside
`inputTokens`. (Its pino log has the same figures with the cached ones outside, and is not needed.) Ids
there are Cline's own. The title and the folder stand in the document beside it. Tasks: see `tasks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, epoch_time, items, table, text
from kimi_mitm.logs.source import File, LogSource, Place
from kimi_mitm.logs.tasks import Shape, read_task, task_places
from kimi_mitm.records import Reading, Source

CLIENT: Final = "cline"
_INSIDE: Final = frozenset({"openai", "litellm", "lmstudio", "ollama", "deepseek"})
"""Providers for which classic Cline kept the cached tokens inside `tokensIn`."""


def read_session(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one session's messages."""
    doc = decode(data) or {}
    session = text(doc, "sessionId")
    messages = items(doc, "messages")
    beside = decode(file.beside(f"{session}.json") or b"") or {} if session and messages else {}
    agent = text(doc, "agent")
    for index, message in enumerate(messages):
        file.tally.seen += 1
        at = epoch_time(table(message).get("ts"))
        if at is None or not text(message, "role"):
            continue
        file.tally.understood += 1
        metrics = table(message, "metrics")
        usage = Figures(file.tally).usage(
            input=metrics.get("inputTokens"),
            output=metrics.get("outputTokens"),
            cache_read=metrics.get("cacheReadTokens"),
            cache_write=metrics.get("cacheWriteTokens"),
            cost=metrics.get("cost"),
        )
        if message.get("role") != "assistant" or not (usage.input_tokens or usage.output_tokens):
            continue  # of an answer that broke off it writes noughts
        file.tally.readings += 1
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=f"{CLIENT}:{session}:{text(message, 'id') or index}",
            origin=f"{file.path}#{index}",
            log=file.source,
            usage=usage,
            client=CLIENT,
            client_version=text(doc, "origin", "version"),
            model=text(message, "modelInfo", "id"),
            client_session_id=session,
            title=text(beside, "metadata", "title"),
            folder=text(beside, "cwd"),
            subagent=None if agent == "lead" else agent,
        )


def read_classic(data: bytes, file: File) -> Iterator[Reading]:
    """Reads one task of the VS Code extension before 4.x."""
    return read_task(data, file, CLIENT, _apart)


def _apart(shape: Shape) -> bool:
    """Whether the cached tokens stand beside `tokensIn`: the message's own metrics tell, where they are."""
    if shape.prompt_of_message is not None and shape.tokens_in is not None:
        return bool(shape.prompt_of_message != shape.tokens_in)
    return shape.provider not in _INSIDE


def _sessions(root: str, env: str | None, pattern: str) -> Place:
    return Place(root=root, env=env, pattern=pattern)


SOURCES: Final = (
    LogSource(
        name="cline",
        client=CLIENT,
        document=read_session,
        places=(
            _sessions("{home}/.cline/data", "CLINE_DATA_DIR", "sessions/**/*.messages.json"),
            _sessions("{home}/.cline", "CLINE_DIR", "data/sessions/**/*.messages.json"),
        ),
    ),
    LogSource(
        name="cline-tasks",
        client=CLIENT,
        document=read_classic,
        places=(
            *task_places("saoudrizwan.claude-dev"),
            _sessions("{home}/.cline/data", "CLINE_DATA_DIR", "tasks/*/ui_messages.json"),
            _sessions("{home}/.cline", "CLINE_DIR", "data/tasks/*/ui_messages.json"),
        ),
    ),
)
