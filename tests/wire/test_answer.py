from __future__ import annotations

import gzip
import json
import time

import pytest

from kimi_mitm.records import Problem
from kimi_mitm.wire import FORMATS, AnswerReader

CHAT = FORMATS["openai.chat"]
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"ab"}}]}\n\n'
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'


def test_the_first_token_is_seen_when_it_comes() -> None:
    reader = AnswerReader(CHAT, 200, {})
    reader.feed(b": OPENROUTER PROCESSING\n\n" * 3)
    reader.feed(b'data: {"id":"c","choices":[{"delta":{"role":"assistant","content":""}}]}\n\n')
    assert not reader.started
    reader.feed(EVENT)
    assert reader.started
    assert reader.answer().text == "ab"


def test_white_space_before_the_document_is_passed_over() -> None:
    reader = AnswerReader(CHAT, 200, {"content-type": "application/json"})
    for _ in range(50):
        reader.feed(b"\n         ")
    reader.feed(b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}')
    assert reader.finish().text == "x"


def test_a_damaged_event_is_counted_and_the_others_are_read() -> None:
    reader = AnswerReader(CHAT, 200, {})
    reader.feed(EVENT + b'data: {"id": "c", "choi\n\n' + EVENT + USAGE)
    answer = reader.finish()
    assert (answer.text, answer.usage.input_tokens) == ("abab", 5)
    assert reader.damaged == 1


def test_a_damaged_line_is_counted_and_the_others_are_read() -> None:
    lines = [
        b'{"message":{"content":"a"},"done":false}',
        b'{"message":{"content":"b',
        b'{"done":true,"eval_count":3}',
    ]
    reader = AnswerReader(FORMATS["ollama.chat"], 200, {"content-type": "application/x-ndjson"})
    reader.feed(b"\n".join(lines))
    answer = reader.finish()
    assert (answer.text, answer.usage.output_tokens) == ("a", 3)
    assert reader.damaged == 1


def test_bytes_that_are_no_text_cost_only_themselves() -> None:
    reader = AnswerReader(CHAT, 200, {})
    reader.feed(b'data: {"choices":[{"delta":{"content":"a\xff\xfeb"}}]}\n\n')
    assert reader.finish().text == "a��b"


def test_a_cut_body_is_read_as_far_as_it_was_decoded() -> None:
    packed = gzip.compress(EVENT * 500 + USAGE)
    reader = AnswerReader(CHAT, 200, {"content-encoding": "gzip"})
    reader.feed(packed[:-9])
    answer = reader.finish(aborted="peer closed connection")
    assert answer.text.startswith("abab")
    assert answer.problem == Problem("aborted", "peer closed connection")
    assert reader.encoding_problem


def test_an_answer_over_the_limit_is_cut_there() -> None:
    reader = AnswerReader(CHAT, 200, {}, limit=len(EVENT) * 3)
    reader.feed(EVENT * 10 + USAGE)
    answer = reader.finish()
    assert (answer.text, answer.usage.input_tokens) == ("ababab", None)
    assert reader.truncated


def test_an_answer_without_a_byte_knows_nothing() -> None:
    answer = AnswerReader(CHAT, 200, {}).finish()
    assert (answer.complete, answer.problem, answer.usage.input_tokens) == (False, None, None)


def test_an_answer_that_ended_is_not_aborted_by_what_comes_after() -> None:
    reader = AnswerReader(CHAT, 200, {})
    reader.feed(EVENT + b"data: [DONE]\n\n")
    assert reader.finish(aborted="Client disconnected.").problem is None


def test_deep_nesting_is_damage() -> None:
    reader = AnswerReader(CHAT, 200, {})
    reader.feed(b"data: " + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n\n" + EVENT)
    assert reader.finish().text == "ab"
    assert reader.damaged == 1


def test_a_long_text_is_bounded() -> None:
    event = b"data: " + json.dumps({"choices": [{"delta": {"content": "x" * 100_000}}]}).encode() + b"\n\n"
    reader = AnswerReader(CHAT, 200, {})
    for _ in range(30):
        reader.feed(event)
    assert len(reader.finish().text) == 2_000_000


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_a_stream_of_twenty_thousand_events_is_quick(encoding: str | None) -> None:
    data = EVENT * 20_000 + USAGE
    headers = {"content-encoding": encoding} if encoding else {}
    packed = gzip.compress(data) if encoding else data
    reader = AnswerReader(CHAT, 200, headers)
    started = time.process_time()
    for start in range(0, len(packed), 100):
        reader.feed(packed[start : start + 100])
    assert reader.finish().usage.input_tokens == 5
    assert time.process_time() - started < 4


def test_a_cut_document_is_read_as_far_as_it_came() -> None:
    body = b'{"id": "c1", "model": "gpt", "choices": [{"index": 0, "message": {"role": "assistant", "con'
    reader = AnswerReader(CHAT, 200, {})
    reader.feed(body)
    answer = reader.finish(aborted="gone")
    assert (answer.response_id, answer.response_model) == ("c1", "gpt")
    assert answer.problem == Problem("aborted", "gone")
    assert reader.damaged == 1


@pytest.mark.parametrize("cut", range(1, 90))
def test_figures_that_are_torn_are_unknown(cut: int) -> None:
    usage = b'"usage": {"input_tokens": 9, "cache_read_input_tokens": 100, "output_tokens": 12}'
    body = b'{"id": "m", "type": "message", "content": [], "stop_reason": "end_turn", ' + usage + b"}"
    reader = AnswerReader(FORMATS["anthropic.messages"], 200, {})
    reader.feed(body[:-cut])
    answer = reader.finish()
    assert answer.usage.input_tokens in (None, 109)
    assert not answer.complete


def test_the_end_may_be_told_twice() -> None:
    reader = AnswerReader(CHAT, 200, {})
    reader.feed(b'{"id": "c1", "choices": [{"message": {"content": "x"}}], "usage": {"prompt_tok')
    first = reader.finish(aborted="gone")
    assert reader.finish() == first
    assert first.text == "x"
