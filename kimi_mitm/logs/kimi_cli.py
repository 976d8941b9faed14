"""Kimi CLI: `wire.jsonl` of each session under `sessions/<md5 of the folder>/<session>/`.

A `StatusUpdate` after each step has `token_usage` (fresh, read and written input apart; reasoning in the
output) and `message_id`, which is the response's id. Sub-agents' events come wrapped in `SubagentEvent`
in their parent's file. The model is nowhere in it; `context.jsonl` only has the size of the context.
`state.json` beside it has the title, `kimi.json` the folders whose MD5 the sessions' folders are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import decode, epoch_time, items, table, text
from kimi_mitm.logs.source import File, LogSource, Place, State
from kimi_mitm.records import Reading, Source

CLIENT: Final = "kimi-cli"


class WireReader:
    """Reads one session's `wire.jsonl`."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        parts = file.path.replace("\\", "/").split("/")
        below = "subagents" in parts
        self._session: str | None = "/".join(parts[-2:-1]) or None
        if below:
            self._session = parts[parts.index("subagents") - 1]
        self._agent = parts[-2] if below else None
        self._began = epoch_time(state.get("began"))
        self._folder: str | None = None

    def state(self) -> State:
        return {"began": self._began.timestamp() if self._began else None}

    def feed(self, line: bytes, number: int) -> Iterable[Reading]:
        self._file.tally.seen += 1
        if b'"StatusUpdate"' not in line and b'"StepBegin"' not in line:
            return ()
        return self._event(decode(line) or {}, number)

    def _event(self, doc: dict[str, Any], number: int) -> Iterator[Reading]:
        message, agent = table(doc, "message"), self._agent
        at = epoch_time(doc.get("timestamp"))
        if message.get("type") == "SubagentEvent":
            wrapper = table(message, "payload")
            message = table(wrapper, "event")
            agent = text(wrapper, "agent_id") or text(wrapper, "subagent_type") or "subagent"
        if at is None:
            return
        if message.get("type") == "StepBegin" and agent == self._agent:
            self._began = at
        elif message.get("type") == "StatusUpdate":
            self._file.tally.understood += 1
            yield from self._status(table(message, "payload"), at, agent, number)

    def _status(self, raw: dict[str, Any], at: datetime, agent: str | None, number: int) -> Iterator[Reading]:
        tokens = table(raw, "token_usage")
        usage = self._figures.usage(
            input=tokens.get("input_other"),
            output=tokens.get("output"),
            cache_read=tokens.get("input_cache_read"),
            cache_write=tokens.get("input_cache_creation"),
            cache_apart=True,
        )
        if not usage:
            return
        self._file.tally.readings += 1
        name = text(raw, "message_id")
        beside = table(decode(self._file.beside("state.json") or b""))
        yield Reading(
            source=Source.LOGS,
            reported=True,
            at=at,
            key=f"{CLIENT}:{name or f'{self._session}:{at.isoformat()}'}",
            origin=f"{self._file.path}:{number}",
            usage=usage,
            client=CLIENT,
            log=self._file.source,
            client_session_id=self._session,
            ids=(name,) if name else (),
            started_at=self._began if agent == self._agent else None,
            context_window=self._figures.tokens(raw.get("max_context_tokens")),
            title=text(beside, "custom_title"),
            folder=self._find_folder(),
            subagent=agent,
        )

    def _find_folder(self) -> str | None:
        up = "../../../../../" if self._agent else "../../../"
        if self._folder is None:
            digest = self._file.path.replace("\\", "/").split("/sessions/")[-1].partition("/")[0]
            known = decode(self._file.beside(f"{up}kimi.json") or b"")
            paths = (text(entry, "path") for entry in items(known, "work_dirs"))
            self._folder = next((path for path in paths if path and digest.endswith(_md5(path))), None)
        return self._folder


def _md5(path: str) -> str:
    return hashlib.md5(path.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


SOURCES: Final = (
    LogSource(
        name="kimi-cli",
        client=CLIENT,
        lines=WireReader,
        places=(Place(root="{home}/.kimi", env="KIMI_SHARE_DIR", pattern="sessions/**/wire.jsonl"),),
    ),
)
