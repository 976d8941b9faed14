"""Adds up what of a prompt explains its tokens: text by its tokens and characters, calls, tools, media."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from kimi_mitm.records import Message, Part, PartKind
from kimi_mitm.tokens import functions, media, tokenizer
from kimi_mitm.tokens.features import COUNTS, INDEX, PART_INDEX, PARTS, Counted, Dialect, Medium

# o200k and cl100k take three digits for a token; many others take one. What such a one counts more.
_NUMBERS = re.compile(rb"[0-9]{2,}")
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MARKS = bytes(set(range(33, 127)) - set(b"0123456789") - set(range(65, 91)) - set(range(97, 123)))
_WIDE = bytes(range(0xC0, 0x100))
_THINKING = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_SECTION = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool_results"}


class Tally:
    """Adds up the counts of one slice's messages. `budget` is how many characters may be tokenized; what
    goes beyond is counted at four bytes a token and in `n_cut`."""

    def __init__(self, dialect: Dialect, budget: int) -> None:
        self.dialect = dialect
        self._functions = functions.WAYS[dialect.functions]
        self.budget = budget
        self.counts = [0.0] * len(COUNTS)
        self.parts = [0.0] * len(PARTS)
        self.media: list[Medium] = []

    def counted(self) -> Counted:
        """What was added up so far."""
        return Counted(tuple(self.counts), tuple(self.parts), tuple(self.media))

    def add(self, messages: Iterable[Message]) -> None:
        """Counts messages in order."""
        for message in messages:
            if message.role == "tools":
                self._functions.tools(self, message.parts)
            elif message.role == "schema":
                for part in message.parts:
                    self._functions.schema(self, part)
            else:
                self._message(message)

    def tokens(self, text: str) -> float:
        """A text's tokens in the model's encoding; what goes beyond the budget by its length."""
        if not text:
            return 0.0
        self.budget -= len(text)
        if self.budget < 0:
            self.counts[INDEX["n_cut"]] += 1
            return len(text.encode("utf-8", "replace")) / 4
        return float(tokenizer.count(text, self.dialect.encoding))

    def count(self, name: str, amount: float = 1.0) -> None:
        """Adds to one of `COUNTS`."""
        self.counts[INDEX[name]] += amount

    def _part(self, name: str, amount: float) -> None:
        self.parts[PART_INDEX[name]] += amount

    def characters(self, text: str) -> None:
        """Adds up the classes of a text's characters."""
        data = text.encode("utf-8", "replace")
        size = len(data)
        self.count("digits", sum(len(run) - (len(run) + 2) // 3 for run in _NUMBERS.findall(data)))
        self.count("capitals", size - len(data.translate(None, _CAPITALS)))
        self.count("marks", size - len(data.translate(None, _MARKS)))
        self.count("blanks", data.count(b"\n") + data.count(b"  "))
        if not text.isascii():
            self.count("wide", size - len(data.translate(None, _WIDE)))

    def _message(self, message: Message) -> None:
        section = _SECTION.get(message.role, "user")
        calls = spoken = shown = 0
        answers = any(part.kind is PartKind.TOOL_RESULT for part in message.parts)
        parts = message.parts
        if self.dialect.think_tags and message.role == "assistant":
            parts = tuple(_thought_apart(parts))
        for group in _grouped(parts):
            kind = group[0].kind
            self.count("n_cited", sum(part.detail == "citations" for part in group))
            if kind is not PartKind.IMAGE:
                self.count("n_documents", sum(part.detail == "document" for part in group))
            if kind in (PartKind.TEXT, PartKind.MEMORY, PartKind.OTHER):
                spoken += self._spoken(group, section, message.role)
            elif kind is PartKind.TOOL_CALL:
                calls += 1
                self._functions.call(self, group[0])
            elif kind is PartKind.TOOL_RESULT:
                self.count("n_result")
                self._functions.result(self, group[0])
            elif kind is PartKind.REASONING:
                self._thought(group[0])
            else:
                self._medium(group[0])
                shown += message.role == "user"
        if calls:
            self.count("n_call", calls)
            self.count("n_parallel", calls - 1)
        if spoken or (shown and not answers) or not message.parts or parts != message.parts:
            name = f"n_{message.role}" if message.role in _SECTION and message.role != "tool" else "n_user"
            self.count(name)

    def _spoken(self, group: list[Part], section: str, role: str) -> int:
        text = "".join(part.text for part in group)
        if group[0].name == "token_ids":
            tokens = float(sum(part.size or 0 for part in group))
        else:
            tokens = self.tokens(text)
            self.characters(text)
            if group[0].name and group[0].name != role:
                self.count("names", 1 + self.tokens(group[0].name))
            elif group[0].name:
                self.count("names", 1)
        self.count("text", tokens)
        for part in group:
            share = tokens * len(part.text) / len(text) if text else tokens / len(group)
            self._part("memory" if part.kind is PartKind.MEMORY else section, share)
        return bool(text) or role == "user"

    def _thought(self, part: Part) -> None:
        if part.name == "functionCall":
            # Google signs calls, and counts these signatures by rules of their own
            self.count("call_opaque", (part.size or 0) / 6)
            self.count("n_signed")
            return
        self.count("thought", self.tokens(part.text))
        if part.size:  # what signs or encrypts it has a head that isn't reasoning
            self.count("opaque", part.size / 6)
            self.count("n_thought")

    def _medium(self, part: Part) -> None:
        tokens = media.cost(part, media.rates_of(self.dialect.media))
        costs: tuple[tuple[str, float], ...]
        if part.kind is PartKind.IMAGE:
            costs = (("image", tokens), ("n_image", 1.0))
        elif part.kind in (PartKind.AUDIO, PartKind.VIDEO):
            costs = ((part.kind.value, tokens),)
        elif part.text:
            self.characters(part.text)
            costs = (("text", self.tokens(part.text)), ("n_file", 1.0))
        elif part.pages:
            costs = (("pages", tokens), ("n_pages", float(part.pages)))
        else:
            costs = (("n_file", 1.0),)
        for name, amount in costs:
            self.count(name, amount)
        if part.digest and not part.text:
            self.media.append(Medium(part.digest, costs))


def _thought_apart(parts: tuple[Part, ...]) -> Iterator[Part]:
    """The parts of an answer that was sent back, with what it thought in its text as reasoning."""
    for part in parts:
        found = _THINKING.match(part.text) if part.kind is PartKind.TEXT else None
        if found is None:
            yield part
            continue
        yield Part(kind=PartKind.REASONING, text=found[1])
        if rest := part.text[found.end() :]:
            yield replace(part, text=rest)


def _grouped(parts: tuple[Part, ...]) -> Iterator[list[Part]]:
    """Texts that stand side by side are one text for the tokenizer."""
    texts: list[Part] = []
    for part in parts:
        if part.kind in (PartKind.TEXT, PartKind.MEMORY, PartKind.OTHER):
            texts.append(part)
            continue
        if texts:
            yield texts
            texts = []
        yield [part]
    if texts:
        yield texts
