"""Writer's `/v1/chat`: OpenAI's chat, but each chunk repeats its `delta` as `message`, and the names of
the usage's details are in the singular."""

from __future__ import annotations

from kimi_mitm.records import Operation
from kimi_mitm.wire.format import Format
from kimi_mitm.wire.openai_chat import ChatReader, read_request

CHAT = Format(
    name="writer.chat",
    operation=Operation.CHAT,
    read_request=read_request,
    reader=ChatReader,
    end_marks=("[DONE]",),
)
