from __future__ import annotations

import json

import pytest

from kimi_mitm.wire import FORMATS, Target, WireError, read_request

CHAT = FORMATS["openai.chat"]
BODY = json.dumps(
    {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "x" * 50}] * 3, "tools": []}
).encode()


def test_a_whole_body_hides_nothing() -> None:
    found = read_request(CHAT, BODY, Target())
    assert (found.model, found.message_count, found.hidden) == ("gpt", 3, frozenset())


def test_a_cut_body_is_read_as_far_as_it_goes() -> None:
    found = read_request(CHAT, BODY[:150], Target())
    assert (found.model, found.stream, found.message_count) == ("gpt", True, 2)
    assert found.hidden == {"partial_body"}


@pytest.mark.parametrize("body", [b"", b"x", b"\x00\x01", b'"text"'])
def test_what_is_no_json_is_a_wire_error(body: bytes) -> None:
    with pytest.raises(WireError):
        read_request(CHAT, body, Target())
