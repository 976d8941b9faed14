"""Continue's `prompt.log`: every call of the JetBrains core, with counts of Continue's own tokenizer.

The file begins anew with each start of the core. An interaction begins with a time of day in UTC; its
later lines show seconds since then. Interactions that overlap are told apart by the first character of
their lines. The day is the file's, and goes on at midnight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, time, timedelta
from typing import Any, Final

from kimi_mitm.logs.figures import Figures
from kimi_mitm.logs.jsonl import iso_time, table, text
from kimi_mitm.logs.source import File, State
from kimi_mitm.records import Reading, Source

_BEGIN: Final = re.compile(rb"^[ |&%#](\d\d):(\d\d):(\d\d)\.(\d) \[(\w+)\]")
_AFTER: Final = re.compile(rb"^\+(\d{1,7}\.\d) +")
_MODEL: Final = re.compile(rb'^"model": "([^"\n]{1,200})"')
_COUNT: Final = re.compile(rb"^(Prompt|Generated) Tokens: (-?\d{1,15})$")
_OUTCOMES: Final = frozenset({b"Success", b"Cancelled", b"Error"})
_SIDE: Final = {"Chat": False, "Fim": True}
_WORDS: Final = rb"\+\d|Success|Cancelled|Error|\"model\"|Prompt Tokens|Generated Tokens"
_TELLING: Final = rb"[^\n](?:\d\d:|[ \t\r\x0b\x0c]*(?:" + _WORDS + rb"))"
_TELLS: Final = re.compile(_TELLING)
_NEXT_THAT_TELLS: Final = re.compile(rb"\n" + _TELLING)
_LATER: Final = timedelta(minutes=1)
_MOST_OPEN: Final = 5  # as many as there are first characters


class PromptLogReader:
    """Reads `prompt.log`."""

    def __init__(self, file: File, state: State) -> None:
        self._file = file
        self._figures = Figures(file.tally)
        self._last = iso_time(state.get("last"))
        self._open: dict[str, dict[str, Any]] = {
            mark: dict(one) for mark, one in table(state, "open").items() if isinstance(one, dict)
        }

    def state(self) -> State:
        return {"last": self._last.isoformat() if self._last else None, "open": self._open}

    def skip(self, data: bytes, start: int, end: int) -> int:
        """Passes over prompts and answers."""
        if _TELLS.match(data, start, end):
            return start
        found = _NEXT_THAT_TELLS.search(data, start, end)
        return found.start() + 1 if found else end

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        self._file.tally.seen += 1
        mark = line[:1].decode("ascii", "replace")
        if line[1:2].isdigit() and (found := _BEGIN.match(line)):
            self._begin(mark, found, number)
            return
        one = self._open.get(mark)
        if one is None:
            return
        self._file.tally.understood += 1
        words = line[1:4096].strip()
        if words.startswith(b"+") and (after := _AFTER.match(words)):
            one["after"] = float(after[1])
            words = words[after.end() :]
        if words in _OUTCOMES:
            one["outcome"] = words.decode().lower()
        elif words.startswith(b'"model"') and "model" not in one and (model := _MODEL.match(words)):
            one["model"] = model[1].decode("utf-8", "replace")
        elif "outcome" in one and (count := _COUNT.match(words)):
            one[count[1].decode()] = int(count[2])
            if count[1] == b"Generated":
                yield from self._reading(one)

    def _begin(self, mark: str, found: re.Match[bytes], number: int) -> None:
        self._file.tally.understood += 1
        hour, minute, second, tenth = (int(found[group]) for group in (1, 2, 3, 4))
        if hour > 23 or minute > 59 or second > 59 or (self._last or self._file.modified) is None:
            return
        begun = self._moment(time(hour, minute, second, tenth * 100_000))
        self._open[mark] = {"begun": begun.isoformat(), "kind": found[5].decode(), "line": number}
        while len(self._open) > _MOST_OPEN:
            del self._open[next(iter(self._open))]

    def _moment(self, clock: time) -> datetime:
        """The day of a time: that of the line before, or the next; at first that of the file, or before."""
        last, modified = self._last, self._file.modified
        if last is not None:
            moment = datetime.combine(last.date(), clock, last.tzinfo)
            moment += timedelta(days=moment < last - _LATER)
        else:
            assert modified is not None
            moment = datetime.combine(modified.date(), clock, modified.tzinfo)
            moment -= timedelta(days=moment > modified + _LATER)
        self._last = moment
        return moment

    def _reading(self, one: dict[str, Any]) -> Iterator[Reading]:
        begun = iso_time(one.get("begun"))
        usage = self._figures.usage(input=one.get("Prompt"), output=one.get("Generated"))
        if begun is None or not usage:
            return
        self._file.tally.readings += 1
        after = one.get("after")
        seconds = after if isinstance(after, float) else 0.0
        yield Reading(
            source=Source.LOGS,
            reported=False,
            at=begun + timedelta(seconds=seconds),
            key=f"continue-prompts:{begun.isoformat()}:{one.get('line')}",
            origin=f"{self._file.path}:{one.get('line')}",
            log=self._file.source,
            usage=usage,
            client="continue",
            model=text(one, "model"),
            side=_SIDE.get(str(one.get("kind"))),
            finish_reason=text(one, "outcome"),
        )
