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

_BEGIN: Final = re.compile(r"^([ |&%#])(\d\d):(\d\d):(\d\d)\.(\d) \[(\w+)\]")
_AFTER: Final = re.compile(r"^\s*\+(\d{1,7}\.\d) ")
_MODEL: Final = re.compile(r'^\s*"model": "([^"\n]{1,200})"')
_OUTCOME: Final = re.compile(r"^(?:\s*\+\d{1,7}\.\d)?\s+(Success|Cancelled|Error)\s*$")
_COUNT: Final = re.compile(r"^\s*(Prompt|Generated) Tokens: (-?\d{1,15})\s*$")
_SIDE: Final = {"Chat": False, "Fim": True}
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

    def feed(self, line: bytes, number: int) -> Iterator[Reading]:
        words = line[:4096].decode("utf-8", "replace")
        self._file.tally.seen += 1
        if found := _BEGIN.match(words):
            self._begin(found, number)
            return
        one = self._open.get(words[:1])
        if one is None:
            return
        self._file.tally.understood += 1
        rest = words[1:]
        if after := _AFTER.match(rest):
            one["after"] = float(after[1])
        if outcome := _OUTCOME.match(rest):
            one["outcome"] = outcome[1].lower()
        elif "model" not in one and (model := _MODEL.match(rest)):
            one["model"] = model[1]
        elif one.get("outcome") and (count := _COUNT.match(rest)):
            one[count[1]] = int(count[2])
            if count[1] == "Generated":
                yield from self._reading(one)

    def _begin(self, found: re.Match[str], number: int) -> None:
        self._file.tally.understood += 1
        hour, minute, second, tenth = (int(found[group]) for group in (2, 3, 4, 5))
        if hour > 23 or minute > 59 or second > 59 or (self._last or self._file.modified) is None:
            return
        begun = self._moment(time(hour, minute, second, tenth * 100_000))
        self._open[found[1]] = {"begun": begun.isoformat(), "kind": found[6], "line": number}
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
            usage=usage,
            client="continue",
            model=text(one, "model"),
            side=_SIDE.get(str(one.get("kind"))),
            finish_reason=text(one, "outcome"),
        )
