"""Adds up what of a prompt explains its tokens: text by its tokens and characters, calls, tools, media."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from kimi_mitm.prompts.shape import decode
from kimi_mitm.prompts.texts import compact
from kimi_mitm.records import Message, Part, PartKind
from kimi_mitm.tokens import media, tokenizer, typescript
from kimi_mitm.tokens.definitions import compacted, fields_of, words_of
from kimi_mitm.tokens.features import COUNTS, INDEX, PART_INDEX, PARTS, Counted, Dialect, Medium
from kimi_mitm.tokens.google_words import Declared, keys_of, said

_MEDIA = frozenset({PartKind.IMAGE, PartKind.AUDIO, PartKind.VIDEO, PartKind.FILE})
# o200k and cl100k take three digits for a token; many others take one. What such a one counts more.
_NUMBERS = re.compile(rb"[0-9]{2,}")
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MARKS = bytes(set(range(33, 127)) - set(b"0123456789") - set(range(65, 91)) - set(range(97, 123)))
_WIDE = bytes(range(0xC0, 0x100))
_SECTION = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool_results"}


class Tally:
    """Adds up the counts of one slice's messages. `budget` is how many characters may be tokenized; what
    goes beyond is counted at four bytes a token and in `n_cut`."""

    def __init__(self, dialect: Dialect, budget: int) -> None:
        self.dialect = dialect
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
                self._tools(message.parts)
            elif message.role == "schema":
                self._schema(message.parts)
            else:
                self._message(message)

    def _tokens(self, text: str) -> float:
        if not text:
            return 0.0
        self.budget -= len(text)
        if self.budget < 0:
            self.counts[INDEX["n_cut"]] += 1
            return len(text.encode("utf-8", "replace")) / 4
        return float(tokenizer.count(text, self.dialect.encoding))

    def _count(self, name: str, amount: float = 1.0) -> None:
        self.counts[INDEX[name]] += amount

    def _part(self, name: str, amount: float) -> None:
        self.parts[PART_INDEX[name]] += amount

    def _characters(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        size = len(data)
        self._count("digits", sum(len(run) - (len(run) + 2) // 3 for run in _NUMBERS.findall(data)))
        self._count("capitals", size - len(data.translate(None, _CAPITALS)))
        self._count("marks", size - len(data.translate(None, _MARKS)))
        self._count("blanks", data.count(b"\n") + data.count(b"  "))
        if not text.isascii():
            self._count("wide", size - len(data.translate(None, _WIDE)))

    def _message(self, message: Message) -> None:
        section = _SECTION.get(message.role, "user")
        calls = spoken = shown = 0
        answers = any(part.kind is PartKind.TOOL_RESULT for part in message.parts)
        for group in _grouped(message.parts):
            kind = group[0].kind
            self._count("n_cited", sum(part.detail == "citations" for part in group))
            self._count("n_documents", sum(part.detail == "document" for part in group))
            if kind in (PartKind.TEXT, PartKind.MEMORY, PartKind.OTHER):
                spoken += self._spoken(group, section, message.role)
            elif kind is PartKind.TOOL_CALL:
                calls += 1
                self._call(group[0])
            elif kind is PartKind.TOOL_RESULT:
                self._result(group[0])
            elif kind is PartKind.REASONING:
                self._thought(group[0])
            else:
                self._medium(group[0])
                shown += message.role == "user"
        if calls > 1:
            self._count("n_parallel", calls - 1)
        if spoken or (shown and not answers) or not message.parts:
            name = f"n_{message.role}" if message.role in _SECTION and message.role != "tool" else "n_user"
            self._count(name)

    def _spoken(self, group: list[Part], section: str, role: str) -> int:
        text = "".join(part.text for part in group)
        if group[0].name == "token_ids":
            tokens = float(sum(part.size or 0 for part in group))
        else:
            tokens = self._tokens(text)
            self._characters(text)
            if group[0].name and group[0].name != role:
                self._count("names", 1 + self._tokens(group[0].name))
            elif group[0].name:
                self._count("names", 1)
        self._count("text", tokens)
        for part in group:
            share = tokens * len(part.text) / len(text) if text else tokens / len(group)
            self._part("memory" if part.kind is PartKind.MEMORY else section, share)
        return bool(text) or role == "user"

    def _words(self, words: Iterable[str]) -> float:
        return sum(self._tokens(word) for word in words)

    def _called(self, kind: str, part: Part) -> None:
        """A call or a result where functions count as their words."""
        doc = decode(part.text.encode("utf-8", "replace")) if part.text[:1] in ("{", "[") else part.text
        self._count(kind, self._words([part.name or "", *said(doc)]))
        self._count("n_keys", keys_of(doc))
        self._count(f"n_{kind}")

    def _call(self, part: Part) -> None:
        if self.dialect.functions == "words":
            self._called("call", part)
            return
        text = compacted(part.text)
        name = self._tokens(part.name or "")
        # OpenAI's models see the name again where the result stands.
        tokens = self._tokens(text) + name * (2 if self.dialect.functions == "typescript" else 1)
        self._characters(text)
        self._count("call", tokens)
        self._count("n_call")

    def _result(self, part: Part) -> None:
        if self.dialect.functions == "words":
            self._called("result", part)
            return
        tokens = self._tokens(part.text)
        self._characters(part.text)
        self._count("result", tokens)
        self._count("n_result")

    def _thought(self, part: Part) -> None:
        if (
            part.name == "functionCall"
        ):  # Google signs calls, and counts these signatures by rules of their own
            self._count("call_opaque", (part.size or 0) / 6)
            self._count("n_signed")
            return
        tokens = self._tokens(part.text)
        self._count("thought", tokens)
        self._count("opaque", (part.size or 0) / 6)
        self._count("n_thought")

    def _medium(self, part: Part) -> None:
        tokens = media.cost(part, media.rates_of(self.dialect.media))
        costs: tuple[tuple[str, float], ...]
        if part.kind is PartKind.IMAGE:
            costs = (("image", tokens), ("n_image", 1.0))
        elif part.kind in (PartKind.AUDIO, PartKind.VIDEO):
            costs = ((part.kind.value, tokens),)
        elif part.text:
            self._characters(part.text)
            costs = (("text", self._tokens(part.text)), ("n_file", 1.0))
        elif part.pages:
            costs = (("pages", tokens), ("n_pages", float(part.pages)))
        else:
            costs = (("n_file", 1.0),)
        for name, amount in costs:
            self._count(name, amount)
        if part.digest and not part.text:
            self.media.append(Medium(part.digest, costs))

    def _tools(self, parts: tuple[Part, ...]) -> None:
        docs = [decode(part.text.encode("utf-8", "replace")) for part in parts]
        self._count("n_tools", len(parts))
        if self.dialect.functions == "words":
            self._declared(docs)
            return
        whole = "".join(part.text for part in parts)
        if self.dialect.functions == "typescript" and parts:
            whole = typescript.namespace(docs)
        tokens = self._tokens(whole)
        words = [word for doc in docs for word in words_of(doc)]
        self._count("tools", tokens)
        self._count("tool_words", self._tokens("\n".join(words)))
        self._characters(" ".join(words))
        self._count("n_fields", sum(fields_of(doc) for doc in docs))

    def _declared(self, docs: list[Any]) -> None:
        own, plain = Declared(), Declared()
        for doc in docs:
            own.add_function(doc)
            plain.add_json_schemas(doc)
        self._count("tools", self._words(own.words) + own.types)
        self._count("json_tools", self._words(plain.words) + plain.types)
        for declared in (own, plain):
            self._count("n_fields", declared.fields)
            self._count("n_optional", declared.optional)
            self._count("n_nested", declared.nested)
            self._count("n_described", declared.described)
            self._count("n_answers", declared.answers)

    def _schema(self, parts: tuple[Part, ...]) -> None:
        for part in parts:
            doc = decode(part.text.encode("utf-8", "replace"))
            if self.dialect.functions == "words":
                declared = Declared()
                declared.add_schema(doc)
                self._count("schema", self._words(declared.words) + declared.types)
                self._count("n_schema_fields", declared.fields)
                continue
            openai = self.dialect.functions == "typescript"
            text = compact(typescript.reduced_schema(doc)) if openai else part.text
            tokens = self._tokens(text) + self._tokens(part.name or "")
            self._count("schema", tokens)
            self._count("schema_words", self._tokens("\n".join(words_of(doc))))
            self._count("n_schema_fields", fields_of(doc))


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
