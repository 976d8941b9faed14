"""Wire formats: how requests and answers of each API are read.

`FORMATS` is the one place where a format is registered.
"""

from __future__ import annotations

from collections.abc import Mapping

from kimi_mitm.wire import (
    alephalpha,
    anthropic,
    aws,
    aws_invoke,
    cohere,
    google,
    google_interactions,
    google_live,
    google_predict,
    ollama,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_realtime,
    openai_responses,
    voyage,
    watsonx,
    writer,
)
from kimi_mitm.wire.answer import AnswerReader
from kimi_mitm.wire.encoding import Decoded, decode_body
from kimi_mitm.wire.format import Format, Target, WireError
from kimi_mitm.wire.request import read_request
from kimi_mitm.wire.turns import Turns

_ROWS: tuple[Format, ...] = (
    openai_chat.CHAT,
    openai_completions.COMPLETIONS,
    openai_responses.RESPONSES,
    openai_embeddings.EMBEDDINGS,
    openai_realtime.REALTIME,
    anthropic.MESSAGES,
    anthropic.COMPLETE,
    google.GENERATE_CONTENT,
    google.EMBED_CONTENT,
    google_interactions.INTERACTIONS,
    google_predict.PREDICT,
    google_live.LIVE,
    aws.CONVERSE,
    aws_invoke.INVOKE,
    ollama.CHAT,
    ollama.GENERATE,
    ollama.EMBED,
    cohere.CHAT,
    cohere.GENERATE,
    cohere.EMBED,
    voyage.EMBED,
    alephalpha.COMPLETE,
    watsonx.WATSONX,
    writer.CHAT,
)

FORMATS: Mapping[str, Format] = {row.name: row for row in _ROWS}
"""A format's name in records → its row."""

__all__ = [
    "FORMATS",
    "AnswerReader",
    "Decoded",
    "Format",
    "Target",
    "Turns",
    "WireError",
    "decode_body",
    "read_request",
]
