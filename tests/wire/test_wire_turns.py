from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_mitm.records import Answer, Problem
from kimi_mitm.wire import FORMATS, Target, Turns
from kimi_mitm.wire.turn_events import TurnEnded, TurnEvent, TurnProgress, TurnStarted

USAGE = {"input_tokens": 10, "output_tokens": 3, "total_tokens": 13}


class Socket:
    """A socket under test; messages are given as objects."""

    def __init__(self, form: str, **query: str) -> None:
        self.form = form
        self.target = Target(path="/v1/x", query=query)
        self.turns = Turns(form, self.target)

    def client(self, **doc: Any) -> list[TurnEvent]:
        return self.turns.message(True, json.dumps(doc).encode(), True)

    def server(self, **doc: Any) -> list[TurnEvent]:
        return self.turns.message(False, json.dumps(doc).encode(), True)

    def asked(self, event: TurnEvent) -> Any:
        assert isinstance(event, TurnStarted)
        return json.loads(event.body)


def only(events: list[TurnEvent] | list[TurnEnded]) -> Answer:
    (event,) = events
    assert isinstance(event, TurnEnded)
    return event.answer


@pytest.fixture
def codex() -> Socket:
    return Socket("openai.responses")


def test_codex_first_warms_up_and_then_asks(codex: Socket) -> None:
    (warm,) = codex.client(type="response.create", model="gpt", generate=False, input=[])
    assert isinstance(warm, TurnStarted)
    assert not FORMATS["openai.responses"].read_request(warm.body, codex.target).generates
    codex.server(type="response.created", response={"id": "r1", "status": "in_progress"})
    ended = codex.server(
        type="response.completed",
        response={"id": "r1", "status": "completed", "usage": {"input_tokens": 0, "output_tokens": 0}},
    )
    assert only(ended).usage.output_tokens == 0

    (asked,) = codex.client(
        type="response.create", model="gpt", previous_response_id="r1", input=[{"role": "user"}]
    )
    assert isinstance(asked, TurnStarted)
    assert asked.index == 1
    assert FORMATS["openai.responses"].read_request(asked.body, codex.target).previous_response_id == "r1"
    assert codex.server(type="codex.rate_limits", rate_limits={}) == []
    assert codex.server(type="response.created", response={"id": "r2"}) == []
    assert codex.server(type="response.output_text.delta", output_index=0, delta="a") == [TurnProgress(1)]
    assert codex.server(type="response.output_text.delta", output_index=0, delta="b") == []
    live = codex.turns.answer(1)
    assert live is not None
    assert (live.text, live.complete) == ("ab", False)
    answer = only(
        codex.server(type="response.completed", response={"id": "r2", "status": "completed", "usage": USAGE})
    )
    assert (answer.response_id, answer.text, answer.usage.input_tokens) == ("r2", "ab", 10)
    assert answer.complete
    assert codex.turns.answer(1) is None
    assert codex.turns.cut("1006") == []


@pytest.mark.parametrize("end", ["failed", "incomplete"])
def test_a_turn_ends_however_its_response_ends(codex: Socket, end: str) -> None:
    codex.client(type="response.create")
    answer = only(codex.server(type=f"response.{end}", response={"id": "r", "status": end, "usage": USAGE}))
    assert (answer.finish_reason, answer.usage.input_tokens) == (end, 10)
    assert (answer.problem is not None) is (end == "failed")


def test_an_error_ends_the_turn(codex: Socket) -> None:
    codex.client(type="response.create")
    error = {"type": "usage_limit_reached", "message": "limit"}
    answer = only(codex.server(type="error", status=429, error=error))
    assert answer.problem == Problem("usage_limit_reached", "limit")


def test_a_cut_socket_ends_its_turns(codex: Socket) -> None:
    codex.client(type="response.create")
    codex.server(type="response.output_text.delta", delta="a")
    answer = only(codex.turns.cut("closed with 1006"))
    assert answer.problem == Problem("aborted", "closed with 1006")
    assert (answer.text, answer.complete) == ("a", False)


def test_requests_ahead_of_answers_are_answered_in_order(codex: Socket) -> None:
    codex.client(type="response.create")
    codex.client(type="response.create")
    assert only(codex.server(type="response.completed", response={"id": "r1"})).response_id == "r1"
    assert only(codex.server(type="response.completed", response={"id": "r2"})).response_id == "r2"


def test_an_answer_to_what_was_not_heard_is_a_turn_too(codex: Socket) -> None:
    (started,) = codex.server(
        type="response.created", response={"id": "r1", "model": "gpt", "instructions": "be"}
    )
    assert codex.asked(started) == {"type": "response.create", "model": "gpt", "instructions": "be"}


@pytest.mark.parametrize("form", ["openai.responses", "openai.realtime", "google.live"])
def test_a_turn_is_always_streamed(form: str) -> None:
    socket = Socket(form)
    socket.client(type="response.create", clientContent={"turns": [], "turnComplete": True})
    socket.server(
        type="response.created", response={"id": "r"}, serverContent={"modelTurn": {"parts": [{"text": "a"}]}}
    )
    live = socket.turns.answer(0)
    assert live is not None
    assert live.streamed
    assert only(socket.turns.cut("1006")).streamed


def test_other_messages_start_nothing(codex: Socket) -> None:
    assert codex.client(type="response.processed") == []
    assert codex.server(type="response.output_text.delta", delta="x") == []
    assert codex.turns.message(True, b"\x00", False) == []
    assert codex.turns.message(False, b"[1]", True) == []


@pytest.fixture
def voice() -> Socket:
    socket = Socket("openai.realtime", model="gpt-realtime")
    socket.server(type="session.created", session={"id": "s", "tools": []})
    socket.client(type="session.update", session={"instructions": "be kind", "tools": [{"type": "function"}]})
    return socket


def said(text: str, name: str) -> dict[str, Any]:
    return {"id": name, "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def test_a_response_that_the_client_asks_for_is_a_turn(voice: Socket) -> None:
    voice.client(type="conversation.item.create", item=said("hi", "i1"))
    voice.server(type="conversation.item.added", item=said("hi", "i1"))
    assert voice.client(type="response.create", response={"instructions": "be brief"}) == []
    (started,) = voice.server(type="response.created", response={"id": "r1", "status": "in_progress"})
    asked = voice.asked(started)
    assert asked["model"] == "gpt-realtime"
    assert asked["session"]["instructions"] == "be brief"
    assert [item["id"] for item in asked["input"]] == ["i1"]
    assert isinstance(started, TurnStarted)
    found = FORMATS["openai.realtime"].read_request(started.body, voice.target)
    assert (found.model, found.tool_count, found.message_count, found.hidden) == (
        "gpt-realtime",
        1,
        1,
        frozenset(),
    )
    assert voice.server(type="response.text.delta", response_id="r1", delta="yo") == [TurnProgress(0)]
    done = {"id": "r1", "status": "completed", "usage": USAGE, "output": [said("yo", "o1")]}
    answer = only(voice.server(type="response.done", response=done))
    assert (answer.text, answer.usage.total_tokens, answer.finish_reason) == ("yo", 13, "completed")


def test_each_later_turn_has_all_that_was_said(voice: Socket) -> None:
    for turn in range(3):
        voice.client(type="conversation.item.create", item=said("q", f"q{turn}"))
        (started,) = voice.server(type="response.created", response={"id": f"r{turn}"})
        assert len(voice.asked(started)["input"]) == 2 * turn + 1
        voice.server(type="response.done", response={"id": f"r{turn}", "output": [said("a", f"a{turn}")]})


def test_a_response_that_the_server_starts_is_a_turn(voice: Socket) -> None:
    item = {"id": "i1", "type": "message", "role": "user", "content": [{"type": "input_audio"}]}
    voice.server(type="conversation.item.created", item=item)
    voice.server(
        type="conversation.item.input_audio_transcription.completed",
        item_id="i1",
        content_index=0,
        transcript="hello",
    )
    (started,) = voice.server(type="response.created", response={"id": "r1"})
    assert voice.asked(started)["input"][0]["content"][0]["transcript"] == "hello"
    assert isinstance(started, TurnStarted)
    assert FORMATS["openai.realtime"].read_request(started.body, voice.target).hidden == {"partial_body"}


def test_xais_usage_stands_beside_its_response(voice: Socket) -> None:
    voice.server(type="response.created", response={"id": "r1"})
    answer = only(voice.server(type="response.done", response={"id": "r1", "usage": {}}, usage=USAGE))
    assert answer.usage.input_tokens == 10


def test_a_response_that_is_refused_is_a_failed_turn(voice: Socket) -> None:
    voice.client(type="response.create")
    events = voice.server(type="error", error={"type": "invalid_request_error", "message": "active"})
    assert isinstance(events[0], TurnStarted)
    assert only(events[1:]).problem == Problem("invalid_request_error", "active")


def test_an_error_beside_the_turns_ends_none(voice: Socket) -> None:
    voice.server(type="response.created", response={"id": "r1"})
    assert voice.server(type="error", error={"message": "no such item"}) == []
    assert voice.turns.answer(0) is not None


def test_an_item_that_the_server_names_is_one_item(voice: Socket) -> None:
    unnamed = {key: value for key, value in said("q", "").items() if key != "id"}
    voice.client(type="conversation.item.create", item=unnamed)
    voice.server(type="conversation.item.created", item=said("q", "i1"))
    (started,) = voice.server(type="response.created", response={"id": "r1"})
    assert [item["id"] for item in voice.asked(started)["input"]] == ["i1"]


def test_a_long_conversation_is_bounded_and_says_so(voice: Socket) -> None:
    for turn in range(6):
        voice.client(type="conversation.item.create", item=said("x" * 1_000_000, f"q{turn}"))
    (started,) = voice.server(type="response.created", response={"id": "r1"})
    assert isinstance(started, TurnStarted)
    assert len(started.body) < 5_000_000
    assert FORMATS["openai.realtime"].read_request(started.body, voice.target).hidden == {"partial_body"}


def test_a_deleted_item_is_no_part_of_the_prompt(voice: Socket) -> None:
    voice.client(type="conversation.item.create", item=said("q", "q1"))
    voice.server(type="conversation.item.deleted", item_id="q1")
    (started,) = voice.server(type="response.created", response={"id": "r1"})
    assert voice.asked(started)["input"] == []


def test_a_cut_session_ends_its_open_turn(voice: Socket) -> None:
    voice.server(type="response.created", response={"id": "r1"})
    assert only(voice.turns.cut("gone")).problem == Problem("aborted", "gone")


def test_gemini_live_is_spoken_here() -> None:
    live = Socket("google.live")
    live.client(setup={"model": "models/gemini-live"})
    live.client(clientContent={"turns": [{"role": "user", "parts": [{"text": "hi"}]}], "turnComplete": True})
    events = live.server(serverContent={"modelTurn": {"parts": [{"text": "yo"}]}})
    events += live.server(usageMetadata={"promptTokenCount": 5}, serverContent={"turnComplete": True})
    assert isinstance(events[-1], TurnEnded)
    assert events[-1].answer.text == "yo"


def test_a_format_that_is_not_spoken_over_sockets_has_no_turns() -> None:
    chat = Socket("openai.chat")
    assert chat.client(model="x") == []
    assert chat.turns.answer(0) is None
    assert chat.turns.cut("x") == []
