"""An answer while it is being read, and the reader that most one-generation formats build on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kimi_mitm.records import NO_USAGE, Answer, Problem, ToolCall, Usage
from kimi_mitm.wire import problem
from kimi_mitm.wire.values import count, dump, text, total

_MOST_TEXT = 2_000_000
"""Characters that are kept of an answer's text, of its reasoning and of each tool call's arguments."""
_MOST_CALLS = 1000


class Draft:
    """A reader's picture of one answer: it takes documents in order and says what is known so far.

    A format's reader overrides `read`, which is given every object of the answer but errors', and
    `usage`. Fields may be set at any time, in any order; the last value stands. An error ends an answer;
    of several the first stands, the others being its consequences. `streamed` is True from the start on
    where the way it comes already says so, as on a WebSocket.
    """

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.response_id: str | None = None
        self.response_model: str | None = None
        self.finish_reason: str | None = None
        self.problem: Problem | None = None
        self.issued_ids: tuple[str, ...] = ()
        self.started = False
        self.complete = False
        self.pending = False
        self.streamed = False
        self.figures: dict[str, int] = {}
        self._text = _Pieces()
        self._reasoning = _Pieces()
        self._calls: dict[int | str, _Call] = {}

    def read(self, name: str | None, doc: dict[str, Any]) -> None:
        """Takes one object of the answer."""

    def usage(self) -> Usage:
        """The figures so far."""
        return NO_USAGE

    def document(self, name: str | None, doc: Any) -> None:
        """Takes one decoded document: an error, whatever the status, or a part of the answer."""
        if not isinstance(doc, dict):
            return
        if self.status >= 400 or problem.stated(name, doc):
            self.fail(problem.read(doc, self.error_type(name)))
        if self.status < 400:
            self.read(name, doc)

    def error_type(self, name: str | None) -> str:
        """What to call an error that doesn't name its type, in an event of this name."""
        return f"http_{self.status}" if self.status >= 400 else "error"

    def answer(self) -> Answer:
        """What is known so far."""
        calls = self._calls.values()
        return Answer(
            response_id=self.response_id,
            response_model=self.response_model,
            usage=self.usage(),
            finish_reason=self.finish_reason,
            problem=self.problem,
            text=self._text.whole(),
            reasoning=self._reasoning.whole(),
            tool_calls=tuple(
                ToolCall(call.name, call.arguments.whole(), call.id) for call in calls if call.name
            ),
            streamed=self.streamed,
            complete=self.complete,
            pending=self.pending,
            issued_ids=self.issued_ids,
        )

    def say(self, value: object) -> None:
        """Takes a piece of the generated text; anything but a string is ignored."""
        if isinstance(value, str) and value:
            self.started = True
            self._text.add(value)

    def think(self, value: object) -> None:
        """Takes a piece of reasoning that the provider shows."""
        if isinstance(value, str) and value:
            self.started = True
            self._reasoning.add(value)

    def call(self, key: object, name: object = None, arguments: object = None, id: object = None) -> None:
        """Takes a tool call or a piece of one. Pieces with the same `key` are one call; without a key,
        one with a name is a new call, one without belongs to the last. Arguments that come as text are
        joined, objects are written as JSON."""
        self.started = True
        if not isinstance(key, int | str):
            key = len(self._calls) if name is not None or not self._calls else next(reversed(self._calls))
        if key not in self._calls and len(self._calls) >= _MOST_CALLS:
            return
        call = self._calls.setdefault(key, _Call())
        call.name = text(name) or call.name
        call.id = text(id) or call.id
        if isinstance(arguments, str):
            call.arguments.add(arguments)
        elif arguments is not None:
            call.arguments = _Pieces()
            call.arguments.add(dump(arguments))

    def keep(self, doc: object, *names: str) -> None:
        """Keeps an object's token counts, by name: of each the last one stated."""
        if isinstance(doc, dict):
            for name in names:
                figure = count(doc.get(name))
                if figure is not None:
                    self.figures[name] = figure

    def fail(self, error: Problem) -> None:
        """Takes an error; the answer is at its end."""
        self.problem = self.problem or error
        self.complete = True


class _Pieces:
    """A text that comes in pieces; what is over the limit is dropped."""

    __slots__ = ("_pieces", "_room")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._room = _MOST_TEXT

    def add(self, piece: str) -> None:
        if self._room > 0:
            self._pieces.append(piece if len(piece) <= self._room else piece[: self._room])
            self._room -= len(piece)

    def whole(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


class _Call:
    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.name = ""
        self.arguments = _Pieces()
        self.id: str | None = None


def settle(
    *,
    input: int | None = None,
    output: int | None = None,
    cache_read: int | None = None,
    cache_write: int | None = None,
    reasoning: int | None = None,
    total_tokens: int | None = None,
) -> Usage:
    """Figures in our convention, with the sum for a total that the provider doesn't state."""
    if total_tokens is None and input is not None and output is not None:
        total_tokens = total(input, output)
    return Usage(
        input_tokens=input,
        output_tokens=output,
        cache_read_tokens=cache_read,
        cache_write_tokens=cache_write,
        reasoning_tokens=reasoning,
        total_tokens=total_tokens,
    )
