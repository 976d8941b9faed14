"""What a conversation said, each message once, however often its client sends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm.archive import transcript
from kimi_mitm.records import PartKind
from kimi_mitm.sessions.record import EndReason
from tests.engine_rig import Rig, chat_answer, engine, files_with

RESPONSES = {"path": "/v1/responses", "wire_format": "openai.responses"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def turn(rig: Rig, *messages: dict[str, Any], answer: str = "hi", **more: Any) -> str:
    """One chat request and its answer; its session."""
    n = await rig.open({"model": "gpt-4o", "messages": list(messages)}, **more)
    body = json.loads(chat_answer())
    body["choices"][0]["message"]["content"] = answer
    await rig.answer(n, json.dumps(body).encode())
    await rig.end(n)
    return rig.events("exchange:completed")[-1]["session_id"]


async def said(rig: Rig, session_id: str) -> list[tuple[str, str]]:
    """Role and text of each kept message."""
    assert rig.desk.store.engine is not None
    await rig.desk.store.flush()
    async with rig.desk.store.engine.connect() as connection:
        found = await transcript.read(connection, session_id)
    return [(s.message.role, " ".join(p.text for p in s.message.parts)) for s in found]


async def test_each_message_is_kept_once_though_the_client_sends_its_history_again(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await turn(rig, user("one"), answer="first")
        await turn(rig, user("one"), assistant("first"), user("two"), answer="second")
        session = await turn(
            rig,
            *(user("one"), assistant("first"), user("two"), assistant("second"), user("three")),
            answer="third",
        )
        found = await said(rig, session)

    assert found == [
        *(("user", "one"), ("assistant", "first"), ("user", "two"), ("assistant", "second")),
        *(("user", "three"), ("assistant", "third")),
    ]


async def test_what_is_said_twice_is_kept_twice(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await turn(rig, user("continue"), answer="a")
        session = await turn(rig, user("continue"), assistant("a"), user("continue"), answer="b")
        found = await said(rig, session)

    assert found == [("user", "continue"), ("assistant", "a"), ("user", "continue"), ("assistant", "b")]


async def test_a_conversation_that_began_before_the_proxy_keeps_its_history(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        session = await turn(rig, user("old"), assistant("older answer"), user("new"))
        found = await said(rig, session)

    assert found == [("user", "old"), ("assistant", "older answer"), ("user", "new"), ("assistant", "hi")]


async def test_a_restart_in_the_middle_repeats_nothing(tmp_path: Path) -> None:
    headers = {"session_id": "0199a213-81c0-7800-8aa1-bbab2a035a53", "user-agent": "codex_exec/0.63.0"}
    tools = [{"type": "function", "function": {"name": "shell"}}]

    async def ask(rig: Rig, *messages: dict[str, Any], answer: str) -> str:
        n = await rig.open({"model": "gpt-5", "tools": tools, "messages": list(messages)}, headers=headers)
        body = json.loads(chat_answer("gpt-5"))
        body["choices"][0]["message"]["content"] = answer
        await rig.answer(n, json.dumps(body).encode())
        await rig.end(n)
        return rig.events("exchange:completed")[-1]["session_id"]

    async with engine(tmp_path) as rig:
        before = await ask(rig, user("one"), answer="first")
    async with engine(tmp_path) as rig:
        after = await ask(rig, user("one"), assistant("first"), user("two"), answer="second")
        found = await said(rig, after)

    assert before == after
    assert [m for m in found if m[0] != "tools"] == [
        *(("user", "one"), ("assistant", "first"), ("user", "two"), ("assistant", "second")),
    ]
    assert [role for role, _ in found].count("tools") == 1


async def test_all_parts_of_one_message_are_kept(tmp_path: Path) -> None:
    content = [
        {"type": "tool_result", "tool_use_id": "t", "content": "the tool's result"},
        {"type": "text", "text": "and my words"},
    ]
    async with engine(tmp_path) as rig:
        n = await rig.open(
            {
                "model": "claude-sonnet-4-5",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": content}],
            },
            **{"host": "api.anthropic.com", "path": "/v1/messages", "wire_format": "anthropic.messages"},
        )
        await rig.answer(n, b'{"type":"message","content":[]}')
        await rig.end(n)
        found = await said(rig, rig.events("exchange:completed")[-1]["session_id"])

    assert " ".join(text for _, text in found) == "the tool's result and my words"


async def test_a_chain_that_sends_only_what_is_new_keeps_all_of_it(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for i, more in enumerate(
            ({}, {"previous_response_id": "resp_0"}, {"previous_response_id": "resp_1"})
        ):
            n = await rig.open({"model": "gpt-5", "input": "go on", **more}, **RESPONSES)
            answer = {
                "id": f"resp_{i}",
                "object": "response",
                "status": "completed",
                "model": "gpt-5",
                "output": [{"type": "message", "content": [{"type": "output_text", "text": f"step {i}"}]}],
                "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11},
            }
            await rig.answer(n, json.dumps(answer).encode())
            await rig.end(n)
        sessions = {e["session_id"] for e in rig.events("exchange:completed")}
        found = await said(rig, sessions.pop())

    assert sessions == set()
    assert found == [p for i in range(3) for p in (("user", "go on"), ("assistant", f"step {i}"))]


async def test_side_traffic_is_no_conversation(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        session = await turn(rig, user("one"))
        n = await rig.open({"model": "gpt-4o", "max_tokens": 1, "messages": [user("probe")]})
        await rig.answer(n, chat_answer())
        await rig.end(n)
        found = await said(rig, session)

    assert found == [("user", "one"), ("assistant", "hi")]


async def test_secrets_are_not_kept(tmp_path: Path) -> None:
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    async with engine(tmp_path) as rig:
        session = await turn(rig, user(f"use {key}"), answer=f"I used {key}")
        found = await said(rig, session)

    assert key not in str(found)
    assert found[0][1].startswith("use sk-")


async def test_an_answers_reasoning_and_calls_are_kept(tmp_path: Path) -> None:
    message = {
        "role": "assistant",
        "reasoning_content": "let me see",
        "content": "done",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "ls", "arguments": '{"a":1}'}}],
    }
    body = json.loads(chat_answer())
    body["choices"][0]["message"] = message
    async with engine(tmp_path) as rig:
        n = await rig.open({"model": "gpt-4o", "messages": [user("go")]})
        await rig.answer(n, json.dumps(body).encode())
        await rig.end(n)
        session_id = rig.events("exchange:completed")[-1]["session_id"]
        assert rig.desk.store.engine is not None
        async with rig.desk.store.engine.connect() as connection:
            kept = (await transcript.read(connection, session_id))[-1].message

    assert [(p.kind, p.name, p.text) for p in kept.parts] == [
        (PartKind.REASONING, None, "let me see"),
        (PartKind.TEXT, None, "done"),
        (PartKind.TOOL_CALL, "ls", '{"a":1}'),
    ]


async def test_without_content_nothing_of_it_is_kept(tmp_path: Path) -> None:
    async with engine(tmp_path, store_content=False) as rig:
        session = await turn(rig, user("a private word"), answer="another private word")
        assert await said(rig, session) == []

    assert not files_with(tmp_path, "private word")


async def test_a_cleared_session_is_forgotten(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        session = await turn(rig, user("forget me"))
        service = rig.desk._service()
        assert await service.clear_session(session, None)
        assert await said(rig, session) == []


async def test_what_the_disk_refused_at_first_is_kept_once_it_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(tmp_path) as rig:
        writer = rig.desk.store._writer
        assert writer is not None
        transact, refused = writer.transact, [0]

        async def full(work: Any) -> Any:
            if refused[0] < 3:
                refused[0] += 1
                raise OSError(28, "No space left on device")
            return await transact(work)

        monkeypatch.setattr(writer, "transact", full)
        await turn(rig, user("one"), answer="first")
        session = await turn(rig, user("one"), assistant("first"), user("two"), answer="second")
        while writer.depth:
            await writer.flush(again=True)
        await turn(rig, user("one"), assistant("first"), user("two"), assistant("second"), user("3"))
        found = await said(rig, session)

    assert [text for _, text in found] == ["one", "first", "two", "second", "3", "hi"]


async def test_a_very_long_part_is_cut(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        session = await turn(rig, user("word " * 100_000))
        found = await said(rig, session)

    assert len(found[0][1]) == 200_000


async def test_an_ended_session_keeps_what_it_said(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        session = await turn(rig, user("one"))
        now = rig.clock.now
        await rig.desk.keeper.change(lambda book: book.end(session, EndReason.REQUEST, now))
        await rig.desk.archivist.archive_ended()

        assert len(await said(rig, session)) == 2


async def test_of_a_very_long_conversation_the_end_is_read(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        session = ""
        for i in range(5):
            session = await turn(rig, *(user(f"{k} " + "x" * 500) for k in range(i + 1)), answer="yes")
        assert rig.desk.store.engine is not None
        async with rig.desk.store.engine.connect() as connection:
            found = await transcript.read(connection, session, 1500)

    assert [s.message.parts[0].text[:3] for s in found] == ["yes", "4 x", "yes"]


async def test_beyond_its_bound_a_session_keeps_figures_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "MOST_MESSAGES", 3)
    async with engine(tmp_path) as rig:
        for i in range(4):
            session = await turn(rig, *(user(str(k)) for k in range(i + 1)))
        kept, records = await said(rig, session), await rig.records()

    assert len(kept) <= 4
    assert len(records) == 4
