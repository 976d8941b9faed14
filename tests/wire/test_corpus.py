"""Every recorded answer that we have, read whole and in pieces, against what is known to be right."""

from __future__ import annotations

import base64
import gzip
import random
import zlib
from typing import Any

import brotli
import pytest
import zstandard

from kimi_mitm.records import Answer
from kimi_mitm.wire import FORMATS, AnswerReader, decode_body
from tests.shared import CORPUS, corpus

FORMAT_NAMES = {
    "alephalpha": "alephalpha",
    "anthropic-complete": "anthropic.complete",
    "anthropic-messages": "anthropic.messages",
    "bedrock-converse": "aws.converse",
    "bedrock-invoke": "aws.invoke",
    "cohere-chat-v1": "cohere.chat",
    "cohere-chat-v2": "cohere.chat",
    "cohere-embed": "cohere.embed",
    "cohere-generate": "cohere.generate",
    "gemini": "google.generate_content",
    "gemini-embed": "google.embed_content",
    "ollama-chat": "ollama.chat",
    "ollama-embed": "ollama.embed",
    "ollama-generate": "ollama.generate",
    "openai-chat": "openai.chat",
    "openai-completions": "openai.completions",
    "openai-embeddings": "openai.embeddings",
    "openai-responses": "openai.responses",
    "voyage-embed": "voyage.embed",
    "watsonx": "watsonx",
    "writer-chat": "writer.chat",
}
BYTE_BY_BYTE = 64 * 1024

FIGURES = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "total_tokens",
)


KNOWN_HERE = {
    "2c1fac94053f": {"finish_reason"},
    "495dae316aa5": {"finish_reason"},
    "ad9168449394": {"response_id"},
    "b3cfd4a7e6e8": {"output_tokens", "total_tokens"},
    "e6b356df2f49": {"input_tokens", "output_tokens", "total_tokens"},
    "f75f799ceb08": {"finish_reason"},
}
"""What these answers state though the corpus has no value for it; checked by eye."""


def body(record: dict[str, Any], side: str) -> bytes:
    text = record[f"{side}_body"] or ""
    return base64.b64decode(text) if record[f"{side}_body_encoding"] == "base64" else text.encode()


def headers(record: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in record["response_headers"]}


def read(record: dict[str, Any], piece: int | None = None) -> Answer:
    return read_as(record, body(record, "response"), headers(record), piece)


def read_as(record: dict[str, Any], data: bytes, headers: dict[str, str], piece: int | None = None) -> Answer:
    form = FORMATS[FORMAT_NAMES[record["expected"]["wire_format"]]]
    reader = AnswerReader(form, record["status"], headers)
    for start in range(0, len(data), piece or len(data) or 1):
        reader.feed(data[start : start + (piece or len(data))])
    return reader.finish()


def found(answer: Answer, record: dict[str, Any]) -> dict[str, Any]:
    """What the answer says, under the corpus' names."""
    known: dict[str, Any] = {name: getattr(answer.usage, name) for name in FIGURES}
    known["response_id"] = answer.response_id
    known["model_returned"] = answer.response_model
    known["finish_reason"] = answer.finish_reason
    known["error"] = answer.problem and answer.problem.message
    if record["expected"]["stream"] is not None and not answer.problem:
        known["stream"] = answer.streamed
    return known


def wrong(record: dict[str, Any], answer: Answer) -> dict[str, tuple[Any, Any]]:
    expected = dict(record["expected"])
    expected["error"] = expected["error"] and expected["error"]["message"]
    differing = {}
    for name, value in found(answer, record).items():
        if name in KNOWN_HERE.get(record["id"], ()):
            continue
        right = [expected[name], *record.get("alt", {}).get(name, ())]
        if value not in right:
            differing[name] = (value, right)
    return differing


def label(record: dict[str, Any]) -> str:
    return f"{record['expected']['wire_format']}-{record['id']}"


RECORDS = [record for record in corpus() if record["llm"] and record["expected"]["wire_format"]]


@pytest.mark.skipif(CORPUS is None, reason="the recorded traffic isn't here")
def test_the_corpus_is_found_where_it_should_be() -> None:
    assert len(RECORDS) > 500


@pytest.mark.parametrize("record", RECORDS, ids=label)
def test_every_figure_of_a_recorded_answer_is_right(record: dict[str, Any]) -> None:
    assert wrong(record, read(record)) == {}


@pytest.mark.parametrize("record", RECORDS, ids=label)
def test_an_answer_in_pieces_is_the_answer_as_a_whole(record: dict[str, Any]) -> None:
    size = len(body(record, "response"))
    piece = 1 if size <= BYTE_BY_BYTE else random.Random(record["id"]).randrange(3, 3000)
    assert read(record, piece) == read(record)


def plain(record: dict[str, Any]) -> bytes:
    return decode_body(body(record, "response"), headers(record).get("content-encoding"), 1 << 26).data


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def as_is(data: bytes) -> bytes:
    return data


DISGUISES = {
    "gzip": ("gzip", gzip.compress),
    "GZIP": ("GZIP", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw-deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "stacked": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    "unlabelled-gzip": (None, gzip.compress),
    "unlabelled-zstd": (None, zstandard.compress),
    "mislabelled-gzip": ("br", gzip.compress),
    "decoded-but-labelled-gzip": ("gzip", as_is),
    "decoded-but-labelled-br": ("br", as_is),
    "decoded-but-labelled-zstd": ("zstd", as_is),
    "decoded-but-labelled-deflate": ("deflate", as_is),
    "unknown-label": ("x-own", as_is),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_an_encoded_answer_is_the_answer(disguise: str) -> None:
    """The content type goes, too: the bytes say enough."""
    encoding, pack = DISGUISES[disguise]
    differing = []
    for record in RECORDS[::5]:
        known = {name: value for name, value in headers(record).items() if name != "content-type"}
        known.pop("content-encoding", None)
        if encoding:
            known["content-encoding"] = encoding
        data = pack(plain(record))
        piece = random.Random(record["id"]).randrange(1, 700)
        if wrong(record, read_as(record, data, known, piece)):
            differing.append(label(record))
    assert differing == []


@pytest.mark.parametrize("content_type", ["text/plain", "text/event-stream", "application/json", "text/html"])
def test_a_wrong_content_type_changes_nothing(content_type: str) -> None:
    differing = [
        label(record)
        for record in RECORDS[::3]
        if wrong(
            record, read_as(record, plain(record), {**plain_headers(record), "content-type": content_type})
        )
    ]
    assert differing == []


def plain_headers(record: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in headers(record).items() if name != "content-encoding"}


def test_an_answer_that_is_cut_anywhere_states_nothing_wrong() -> None:
    """Figures that a cut answer states are those of the whole one, or earlier ones of the same stream."""
    chance = random.Random(7)
    for record in RECORDS[::2]:
        data = plain(record)
        whole = read_as(record, data, plain_headers(record))
        cut = read_as(record, data[: chance.randrange(len(data) + 1)], plain_headers(record))
        assert (cut.usage.input_tokens or 0) <= (whole.usage.input_tokens or 0)
        assert (cut.usage.output_tokens or 0) <= (whole.usage.output_tokens or 0)
        assert whole.text.startswith(cut.text)
