"""How functions reach a model, and so what of them counts: their calls, results, definitions, schemas.

A new way is one class and one row of `WAYS`; `groups.toml` says which models read which way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from kimi_mitm.prompts.shape import decode
from kimi_mitm.prompts.texts import compact
from kimi_mitm.records import Part
from kimi_mitm.tokens import typescript
from kimi_mitm.tokens.defined_tools import size_of
from kimi_mitm.tokens.definitions import compacted, fields_of, words_of
from kimi_mitm.tokens.google_words import Declared, keys_of, said


class Sums(Protocol):
    """What counts are added to."""

    def tokens(self, text: str) -> float:
        """A text's tokens in the model's encoding."""

    def characters(self, text: str) -> None:
        """Adds up the classes of a text's characters."""

    def count(self, name: str, amount: float = 1.0) -> None:
        """Adds to one of `features.COUNTS`."""


class Functions(Protocol):
    """One way. Each method adds what it is given to `sums`."""

    def call(self, sums: Sums, part: Part) -> None:
        """A call that the model made."""

    def result(self, sums: Sums, part: Part) -> None:
        """What a call gave."""

    def tools(self, sums: Sums, parts: tuple[Part, ...]) -> None:
        """All definitions of a prompt."""

    def schema(self, sums: Sums, part: Part) -> None:
        """An output schema."""


class AsJson:
    """As the compact JSON that was sent, more or less; also what is counted where nobody knows better."""

    names_of_call = 1

    def call(self, sums: Sums, part: Part) -> None:
        text = compacted(part.text)
        sums.count("call", sums.tokens(text) + self.names_of_call * sums.tokens(part.name or ""))
        sums.count("n_keys", keys_of(_document(part)))
        sums.characters(text)

    def result(self, sums: Sums, part: Part) -> None:
        sums.count("result", sums.tokens(part.text))
        sums.characters(part.text)

    def tools(self, sums: Sums, parts: tuple[Part, ...]) -> None:
        docs = [_document(part) for part in parts]
        sizes = [size_of(doc) for doc in docs]
        sums.count("defined_tools", sum(size or 0 for size in sizes))
        parts = tuple(part for part, size in zip(parts, sizes, strict=True) if size is None)
        docs = [doc for doc, size in zip(docs, sizes, strict=True) if size is None]
        words = [word for doc in docs for word in words_of(doc)]
        sums.count("n_tools", len(parts))
        sums.count("tools", sums.tokens(self.written(parts, docs)))
        sums.count("tool_words", sums.tokens("\n".join(words)))
        sums.characters(" ".join(words))
        sums.count("n_fields", sum(fields_of(doc) for doc in docs))

    def schema(self, sums: Sums, part: Part) -> None:
        doc = _document(part)
        sums.count("schema", sums.tokens(self.written_schema(part, doc)) + sums.tokens(part.name or ""))
        sums.count("schema_words", sums.tokens("\n".join(words_of(doc))))
        sums.count("n_schema_fields", fields_of(doc))

    def written(self, parts: tuple[Part, ...], docs: list[Any]) -> str:
        """The definitions as the model reads them."""
        return "".join(part.text for part in parts)

    def written_schema(self, part: Part, doc: Any) -> str:
        """An output schema as the model reads it."""
        return part.text


class AsTypeScript(AsJson):
    """As a TypeScript namespace, in which OpenAI's models read them."""

    names_of_call = 2
    """They see the name again where the result stands."""

    def written(self, parts: tuple[Part, ...], docs: list[Any]) -> str:
        return typescript.namespace(docs) if parts else ""

    def written_schema(self, part: Part, doc: Any) -> str:
        return compact(typescript.reduced_schema(doc))


class AsWords:
    """As their words alone, in which Google counts them (see `google_words`)."""

    def call(self, sums: Sums, part: Part) -> None:
        self._said(sums, "call", part)

    def result(self, sums: Sums, part: Part) -> None:
        self._said(sums, "result", part)

    def tools(self, sums: Sums, parts: tuple[Part, ...]) -> None:
        sums.count("n_tools", len(parts))
        own, plain = Declared(), Declared()
        for part in parts:
            doc = _document(part)
            own.add_function(doc)
            plain.add_json_schemas(doc)
        sums.count("tools", _tokens(sums, own.words) + own.types)
        sums.count("json_tools", _tokens(sums, plain.words) + plain.types)
        for declared in (own, plain):
            sums.count("n_fields", declared.fields)
            sums.count("n_optional", declared.optional)
            sums.count("n_nested", declared.nested)
            sums.count("n_described", declared.described)
            sums.count("n_answers", declared.answers)

    def schema(self, sums: Sums, part: Part) -> None:
        declared = Declared(titled=True)
        declared.add_schema(_document(part))
        sums.count(part.detail or "schema", _tokens(sums, declared.words) + declared.types)
        sums.count("n_schema_fields", declared.fields)

    def _said(self, sums: Sums, kind: str, part: Part) -> None:
        doc = _document(part) if part.text.lstrip()[:1] in ("{", "[") else part.text
        sums.count(kind, _tokens(sums, [part.name or "", *said(doc)]))
        sums.count("n_keys", keys_of(doc))


WAYS: Mapping[str, Functions] = {"json": AsJson(), "typescript": AsTypeScript(), "words": AsWords()}


def _document(part: Part) -> Any:
    return decode(part.text.encode("utf-8", "replace"))


def _tokens(sums: Sums, words: Iterable[str]) -> float:
    return sum(sums.tokens(word) for word in words)
