"""Gemini Live: the turns of one socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import request
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.records import Problem, ToolCall, Usage
from kimi_mitm.wire.format import Target
from kimi_mitm.wire.google_live import LIVE, LiveTurns
from kimi_mitm.wire.turn_events import TurnEnded, TurnEvent, TurnProgress, TurnStarted

SETUP = {
    "setup": {
        "model": "projects/p/locations/l/publishers/google/models/gemini-live-2.5",
        "systemInstruction": {"parts": [{"text": "Be kind"}]},
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
    }
}
ASK = {"clientContent": {"turns": [{"role": "user", "parts": [{"text": "hi"}]}], "turnComplete": True}}
SAY = {"serverContent": {"modelTurn": {"parts": [{"text": "Hello"}]}}}
DONE = {"serverContent": {"turnComplete": True}}
USAGE = {
    "usageMetadata": {
        "promptTokenCount": 69,
        "responseTokenCount": 176,
        "totalTokenCount": 245,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 58}],
    }
}
READ = Usage(input_tokens=69, output_tokens=176, total_tokens=245)


class Socket:
    def __init__(self) -> None:
        self.turns = LiveTurns(Target())
        self.events: list[TurnEvent] = []

    def client(self, doc: Any) -> None:
        self.events += self.turns.message(True, json.dumps(doc).encode(), True)

    def server(self, *docs: Any) -> None:
        for doc in docs:
            self.events += self.turns.message(False, json.dumps(doc).encode(), False)

    def kinds(self) -> list[tuple[str, int]]:
        return [(type(event).__name__, event.index) for event in self.events]

    def ended(self) -> list[TurnEnded]:
        return [event for event in self.events if isinstance(event, TurnEnded)]

    def bodies(self) -> list[Any]:
        return [json.loads(event.body) for event in self.events if isinstance(event, TurnStarted)]


@pytest.fixture
def socket() -> Socket:
    made = Socket()
    made.client(SETUP)
    made.server({"setupComplete": {}})
    return made


def test_a_turn_begins_with_the_question_and_ends_with_turn_complete(socket: Socket) -> None:
    socket.client(ASK)
    socket.server(SAY, {"serverContent": {"modelTurn": {"parts": [{"text": " you"}]}}}, {**DONE, **USAGE})
    assert socket.kinds() == [("TurnStarted", 0), ("TurnProgress", 0), ("TurnEnded", 0)]
    [end] = socket.ended()
    assert (end.answer.text, end.answer.usage) == ("Hello you", READ)
    assert end.answer.complete
    assert end.answer.streamed


def test_figures_may_follow_the_turns_end(socket: Socket) -> None:
    socket.client(ASK)
    socket.server(SAY, DONE)
    assert not socket.ended()
    socket.server(USAGE)
    assert socket.ended()[0].answer.usage == READ


def test_a_turn_without_figures_ends_with_the_next_question(socket: Socket) -> None:
    socket.client(ASK)
    socket.server(SAY, DONE)
    socket.client(ASK)
    assert socket.kinds()[2:] == [("TurnEnded", 0), ("TurnStarted", 1)]
    assert socket.ended()[0].answer.usage == Usage()
    assert socket.ended()[0].answer.problem is None


def test_each_turn_is_counted_on_its_own(socket: Socket) -> None:
    for _ in range(3):
        socket.client(ASK)
        socket.server(SAY, {**DONE, **USAGE})
    assert [end.answer.text for end in socket.ended()] == ["Hello"] * 3
    assert [end.index for end in socket.ended()] == [0, 1, 2]


def test_spoken_input_begins_a_turn_when_the_model_answers(socket: Socket) -> None:
    socket.client({"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "AAAA"}}})
    socket.client({"realtimeInput": {"mediaChunks": [{"mimeType": "audio/pcm", "data": "BBBB"}]}})
    assert socket.events == []
    socket.server({"serverContent": {"inputTranscription": {"text": "hi"}}})
    assert socket.events == []
    socket.server({"serverContent": {"outputTranscription": {"text": "Hello"}}}, {**DONE, **USAGE})
    assert socket.ended()[0].answer.text == "Hello"
    assert len(socket.bodies()[0]["clientContent"]["turns"]) == 2


def test_snake_case_is_read_as_well(socket: Socket) -> None:
    socket.client({"client_content": {"turns": [{"parts": [{"text": "hi"}]}], "turn_complete": True}})
    socket.server({"server_content": {"model_turn": {"parts": [{"text": "Hello"}]}}})
    socket.server({"server_content": {"turn_complete": True}, "usage_metadata": {"prompt_token_count": 3}})
    assert socket.ended()[0].answer.usage == Usage(input_tokens=3)


CALL = {"toolCall": {"functionCalls": [{"id": "c", "name": "f", "args": {"a": 1}}]}}
RESPONSE = {"toolResponse": {"functionResponses": [{"id": "c", "name": "f", "response": {"b": 2}}]}}


def test_a_tool_call_with_figures_ends_its_turn_with_the_response(socket: Socket) -> None:
    socket.client(ASK)
    socket.server({**CALL, **USAGE})
    socket.client(RESPONSE)
    socket.server(SAY, {**DONE, **USAGE})
    first, second = socket.ended()
    assert first.answer.tool_calls == (ToolCall("f", '{"a":1}', "c"),)
    assert first.answer.usage == second.answer.usage == READ
    assert socket.bodies()[1]["clientContent"]["turns"][0]["parts"][0]["functionResponse"]["id"] == "c"


def test_a_tool_call_without_figures_belongs_to_the_same_turn(socket: Socket) -> None:
    socket.client(ASK)
    socket.server(CALL)
    socket.client(RESPONSE)
    socket.server(SAY, {**DONE, **USAGE})
    [end] = socket.ended()
    assert (end.answer.text, len(end.answer.tool_calls), end.answer.usage) == ("Hello", 1, READ)


def test_an_interrupted_turn_says_so(socket: Socket) -> None:
    socket.client(ASK)
    socket.server(SAY, {"serverContent": {"interrupted": True}}, {**DONE, **USAGE})
    assert socket.ended()[0].answer.finish_reason == "interrupted"


def test_a_socket_that_is_cut_breaks_the_open_turn_off(socket: Socket) -> None:
    socket.client(ASK)
    socket.server(SAY)
    [end] = socket.turns.cut("the socket closed")
    assert end.answer.problem == Problem("aborted", "the socket closed")
    assert not end.answer.complete
    assert socket.turns.cut("again") == []


def test_a_turn_that_only_lacks_its_figures_is_not_broken_off(socket: Socket) -> None:
    socket.client(ASK)
    socket.server(SAY, DONE)
    [end] = socket.turns.cut("the socket closed")
    assert end.answer.problem is None
    assert end.answer.complete


def test_the_open_turns_answer_can_be_asked_for(socket: Socket) -> None:
    assert socket.turns.answer(0) is None
    socket.client(ASK)
    socket.server(SAY)
    known = socket.turns.answer(0)
    assert known is not None
    assert known.text == "Hello"
    assert socket.turns.answer(1) is None


def test_what_is_no_turn_makes_no_events(socket: Socket) -> None:
    socket.server({"goAway": {"timeLeft": "3s"}}, {"sessionResumptionUpdate": {}}, DONE, USAGE, [], "x")
    assert socket.events == []


def test_a_turns_request_has_the_setup_and_what_was_said(socket: Socket) -> None:
    socket.client(ASK)
    socket.server(SAY, {**DONE, **USAGE})
    socket.client(ASK)
    started = [event for event in socket.events if isinstance(event, TurnStarted)]
    first, second = (request(LIVE, event.body) for event in started)
    assert (first.model, first.stream, first.tool_count, first.message_count) == (
        "gemini-live-2.5",
        True,
        1,
        1,
    )
    assert first.hidden == frozenset()
    assert second.hidden == {"conversation"}


def test_too_much_audio_is_left_out_and_said_so(socket: Socket) -> None:
    audio = {"realtimeInput": {"audio": {"mimeType": "audio/pcm", "data": "A" * 1_500_000}}}
    for _ in range(4):
        socket.client(audio)
    socket.server(SAY)
    [start] = [event for event in socket.events if isinstance(event, TurnStarted)]
    assert request(LIVE, start.body).hidden == {"partial_body"}
    assert len(start.body) < 5_000_000


def test_a_resumed_session_hides_its_past() -> None:
    doc = {"setup": {"model": "models/m", "sessionResumption": {"handle": "h"}}, "turn": 0}
    assert request(LIVE, doc).hidden == {"conversation"}


KEYS = (
    "setup clientContent turns turnComplete realtimeInput toolResponse serverContent modelTurn parts "
    "toolCall functionCalls usageMetadata text"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(st.lists(st.tuples(st.booleans(), JSON | st.binary(max_size=20)), max_size=8))
def test_no_messages_raise(messages: list[tuple[bool, Any]]) -> None:
    turns = LiveTurns(Target())
    open_turns = 0
    for from_client, doc in messages:
        data = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
        for event in turns.message(from_client, data, True):
            open_turns += isinstance(event, TurnStarted) - isinstance(event, TurnEnded)
            if isinstance(event, TurnStarted):
                request(LIVE, event.body)
            assert isinstance(event, TurnStarted | TurnProgress | TurnEnded)
    assert open_turns == len(turns.cut("end"))
