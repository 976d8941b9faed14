"""What slices are named together is what each of them is named alone."""

from __future__ import annotations

import pytest

from kimi_mitm import prompts
from kimi_mitm.prompts.shape import digests

MARKED = b'{"role":"user","content":[{"type":"text","text":"b","cache_control":{"type":"ephemeral"}}]}'
PLAIN = b'{"role":"user","content":[{"type":"text","text":"b"}]}'


@pytest.mark.parametrize("form", ["openai.chat", "anthropic", "google", "openai.responses"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON at all",
        b"\xef\xbb\xbf{}",
        b'{"messages":[' + PLAIN + b"," + PLAIN + b'],"system":"s","tools":[]}',
        b'{"messages":[' + PLAIN + b"," + MARKED + b'],"system":[]}',
        b'{"contents":[{"parts":[{"text":"x"}]}],"input":"' + "ü".encode() + b'","instructions":""}',
        b'{"input":[{"role":"user","content":"\xff"}],"messages":{"0":1}}',
    ],
)
def test_together_as_alone(form: str, body: bytes) -> None:
    shape = prompts.shape_of(form, body)
    slices = shape.split(body)

    assert digests(slices, body) == [piece.digest for piece in slices]


def test_a_marker_that_moved_makes_no_other_message() -> None:
    named = []
    for message in (PLAIN, MARKED):
        body = b'{"messages":[' + message + b"]}"
        slices = prompts.shape_of("anthropic", body).split(body)
        named.append(digests(slices, body))

    assert named[0] == named[1]
