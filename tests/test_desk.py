"""Exchanges from frame to record, through the whole engine."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from kimi_mitm import link
from kimi_mitm.records import Operation, Source
from tests.engine_rig import EPOCH, chat_answer, engine, files_with


async def test_an_exchange_is_recorded_with_the_figures_that_the_provider_reported(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        record = await rig.chat()

    assert (record.input_tokens, record.output_tokens, record.total_tokens) == (12, 3, 15)
    assert record.source is Source.USAGE
    assert record.is_estimated is False
    assert record.provider == "openai"
    assert record.served_by == "openai"
    assert record.model == "gpt-4o"
    assert record.cost_usd is not None
    assert record.context_window


async def test_the_estimate_is_told_before_anything_of_the_answer_is_known(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        with rig.desk.hub.subscribe() as events:
            await rig.open({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})
            told = [json.loads(e.json) for e in await events.batch()]

    started = next(e["data"] for e in told if e["type"] == "exchange:started")
    assert started["estimated_input_tokens"] == 8
    assert started["input_tokens"] is None
    assert started["is_estimated"] is True


async def test_a_stream_without_usage_stays_an_estimate_and_says_so(tmp_path: Path) -> None:
    chunk = {"id": "c", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": "hello there"}}]}
    stop = {"id": "c", "model": "gpt-4o", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    async with engine(tmp_path) as rig:
        n = await rig.open(
            {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        )
        events = [b"data: " + json.dumps(c).encode() + b"\n\n" for c in (chunk, stop)]
        await rig.answer(n, *events, b"data: [DONE]\n\n", content_type="text/event-stream")
        await rig.end(n)
        record = (await rig.records())[-1]

    assert record.is_estimated is True
    assert record.source is Source.PROXY
    assert record.input_tokens == record.estimated_input_tokens
    assert record.output_tokens == 2
    assert record.stream is True
    assert record.first_token_at is not None
    assert record.ttft_ms == pytest.approx(200, abs=1)


async def test_an_answer_that_breaks_off_is_recorded_with_what_was_seen_and_an_error(tmp_path: Path) -> None:
    chunk = b'data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"hel"}}]}\n\n'
    async with engine(tmp_path) as rig:
        n = await rig.open(
            {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        )
        await rig.answer(n, chunk, content_type="text/event-stream")
        await rig.end(n, error="Client disconnected.", lost=17)
        record = (await rig.records())[-1]

    assert record.error is not None
    assert record.error.type == "aborted"
    assert record.response_id == "c"
    assert record.input_tokens is None
    assert record.notes["answer_bytes_lost"] == 17


async def test_a_request_that_never_got_an_answer_is_recorded(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        n = await rig.open({"model": "gpt-4o", "messages": []})
        await rig.end(n, error="connection refused")
        record = (await rig.records())[-1]

    assert record.error is not None
    assert record.error.type == "no_answer"
    assert record.status is None
    assert record.ended_at is not None


async def test_an_error_that_states_the_prompts_tokens_settles_them(tmp_path: Path) -> None:
    body = {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "prompt is too long: 213462 tokens > 200000 maximum",
        },
    }
    async with engine(tmp_path) as rig:
        n = await rig.open(
            {"model": "claude-sonnet-4-5", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]},
            host="api.anthropic.com",
            path="/v1/messages",
            wire_format="anthropic.messages",
            served_by="anthropic",
        )
        await rig.answer(n, json.dumps(body).encode(), status=400)
        await rig.end(n)
        record = (await rig.records())[-1]

    assert record.input_tokens == 213462
    assert record.source is Source.API_ERROR
    assert record.error is not None


async def test_secrets_in_an_error_are_not_kept(tmp_path: Path) -> None:
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    body = {"error": {"type": "auth", "message": f"Incorrect API key provided: {key}"}}
    async with engine(tmp_path) as rig:
        n = await rig.open({"model": "gpt-4o", "messages": [{"role": "user", "content": f"my key is {key}"}]})
        await rig.answer(n, json.dumps(body).encode(), status=401)
        await rig.end(n)
        record = (await rig.records())[-1]

    assert record.error is not None
    assert key not in record.error.message
    assert not files_with(tmp_path, key)


async def test_a_dropped_body_keeps_its_row_estimated_by_length(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        n = await rig.open(b"x" * 4000, body="dropped", hurry=True)
        await rig.answer(n, chat_answer())
        await rig.end(n)
        record = (await rig.records())[-1]

    assert record.estimated_input_tokens == 1000
    assert record.notes["request_body"] == "dropped"
    assert record.input_tokens == 12


async def test_compressed_bodies_are_read(tmp_path: Path) -> None:
    request = gzip.compress(json.dumps({"model": "gpt-4o", "messages": []}).encode())
    async with engine(tmp_path) as rig:
        n = await rig.open(request, headers={"content-encoding": "gzip"})
        await rig.answer(n, gzip.compress(chat_answer()), content_encoding="gzip")
        await rig.end(n)
        record = (await rig.records())[-1]

    assert record.model == "gpt-4o"
    assert record.input_tokens == 12


async def test_an_uncertain_request_is_decided_by_its_body_and_others_leave_no_trace(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for body in (
            {"model": "llama3", "messages": [{"role": "user", "content": "hi"}]},
            {"event": "click"},
        ):
            n = await rig.open(
                body, path="/llm", host="box.local", wire_format=None, served_by=None, certain=False
            )
            await rig.answer(n, chat_answer("llama3") if "model" in body else b'{"ok":true}')
            await rig.end(n)
        records = await rig.records()

    assert [r.wire_format for r in records] == ["openai.chat"]
    assert records[0].provider == "meta"


async def test_a_background_answer_and_its_polls_are_one_exchange(tmp_path: Path) -> None:
    queued = {
        "id": "resp_1",
        "object": "response",
        "status": "queued",
        "model": "gpt-5",
        "usage": None,
        "background": True,
    }
    done = {
        **queued,
        "status": "completed",
        "output": [],
        "usage": {"input_tokens": 50, "output_tokens": 7, "total_tokens": 57},
    }
    settings = {"wire_format": "openai.responses"}
    async with engine(tmp_path) as rig:
        n = await rig.open(
            {"model": "gpt-5", "input": "hi", "background": True}, path="/v1/responses", **settings
        )
        await rig.answer(n, json.dumps(queued).encode())
        await rig.end(n)
        for answer in (queued, done, done):
            n = await rig.open(b"", path="/v1/responses/resp_1", method="GET", poll=True, **settings)
            await rig.answer(n, json.dumps(answer).encode())
            await rig.end(n)
        records = await rig.records()

    assert [(r.input_tokens, r.output_tokens, r.source) for r in records] == [(50, 7, Source.USAGE)]


async def test_each_turn_of_a_socket_is_an_exchange_and_a_warm_up_is_no_answer(tmp_path: Path) -> None:
    def turn(**more: object) -> bytes:
        return json.dumps({"type": "response.create", "model": "gpt-5-codex", "input": [], **more}).encode()

    def event(name: str, response_id: str, usage: dict[str, int] | None) -> bytes:
        response = {"id": response_id, "model": "gpt-5-codex", "usage": usage}
        return json.dumps({"type": f"response.{name}", "response": response}).encode()

    async with engine(tmp_path) as rig:
        n = await rig.open(
            b"", path="/v1/responses", wire_format="openai.responses", method="GET", websocket=True
        )
        rig.intake.handle(link.Answered(n=n, at=EPOCH, status=101, headers={}), b"")
        said = [
            (True, turn(generate=False)),
            (False, event("created", "r0", None)),
            (False, event("completed", "r0", {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0})),
            (True, turn(previous_response_id="r0")),
            (False, event("created", "r1", None)),
            (False, event("completed", "r1", {"input_tokens": 90, "output_tokens": 9, "total_tokens": 99})),
        ]
        for i, (from_client, data) in enumerate(said):
            rig.intake.handle(link.Said(n=n, at=EPOCH + i, from_client=from_client, text=True), data)
        await rig.end(n, error="WebSocket closed with 1006")
        records = await rig.records()

    assert [(r.response_id, r.input_tokens, r.transport) for r in records] == [
        ("r0", 0, "websocket"),
        ("r1", 90, "websocket"),
    ]
    assert [(r.operation, r.side) for r in records] == [(Operation.OTHER, True), (Operation.CHAT, False)]
    assert records[1].error is None


async def test_reading_a_file_again_changes_nothing(tmp_path: Path) -> None:
    async with engine(tmp_path, offline=True) as rig:
        first = await rig.chat(exchange_id="5b9f4f0a-0000-5000-8000-000000000001")
    async with engine(tmp_path, offline=True) as rig:
        n = await rig.open({"model": "gpt-4o"}, exchange_id="5b9f4f0a-0000-5000-8000-000000000001")
        await rig.answer(n, chat_answer(prompt=99))
        await rig.end(n)
        again = await rig.records()

    assert again == [first]


async def test_what_a_dead_process_left_open_is_ended_at_the_next_start(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await rig.open({"model": "gpt-4o", "messages": []})
        engine_ = rig.desk.store.engine
        assert engine_ is not None
        async with engine_.begin() as connection:
            await connection.exec_driver_sql("update exchanges set owner = '999999999@1'")
    async with engine(tmp_path) as rig:
        record = (await rig.records())[-1]

    assert record.error is not None
    assert record.error.type == "aborted"
    assert record.ended_at is not None


async def test_without_a_usable_database_everything_else_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    async with engine(tmp_path, db=str(tmp_path / "file" / "kimi.db")) as rig:
        with rig.desk.hub.subscribe() as events:
            n = await rig.open({"model": "gpt-4o", "messages": []})
            await rig.answer(n, chat_answer())
            await rig.end(n)
            told = [e.type for e in await events.batch()]

        words = rig.downward.words()

    assert "exchange:completed" in told
    assert len(words) == 1
    assert "nothing is stored" in words[0]


async def test_the_flows_note_moves_from_estimate_to_settled(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await rig.chat()
        first, *_, last = rig.downward.notes()

    assert first.comment.startswith("≈8")
    assert first.settled is False
    assert last.comment.startswith("8→12+3")
    assert last.settled is True
    assert last.metadata["kimi.source"] == "usage"
