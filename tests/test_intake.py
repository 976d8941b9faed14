"""The intake under fire: prompts and answers far beyond what anybody planned for; one record each."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm import link
from kimi_mitm.engine import intake
from kimi_mitm.records import Exchange, Operation, Source
from kimi_mitm.store import rows
from tests.engine_rig import EPOCH, Rig, chat_answer, engine, sse

GENEROUS_S = 60.0
"""Against what never ends; a machine that does nothing else takes a second or two."""


async def whole(rig: Rig, body: dict[str, Any] | bytes, *pieces: bytes, **more: Any) -> Exchange:
    """One request with its answer, by default a usual one; its record. No line may have been said."""
    started = time.monotonic()
    n = await rig.open(body, **more)
    await rig.answer(n, *(pieces or (chat_answer(),)))
    await rig.end(n)
    found = await rig.records()
    assert len(found) == 1
    assert rig.downward.words() == []
    assert time.monotonic() - started < GENEROUS_S
    return found[0]


def chat(text: str) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}


async def test_a_prompt_of_five_megabytes(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        record = await whole(rig, chat("The quick brown fox jumps over the lazy dog. " * 116_000))

    assert (record.estimated_input_tokens or 0) == pytest.approx(1_160_000, rel=0.2)
    assert record.input_tokens == 12


async def test_a_million_spaces(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        record = await whole(rig, chat(" " * 1_000_000))

    assert record.estimated_input_tokens
    assert record.input_tokens == 12


@pytest.mark.parametrize("depth", [900, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_deeply_nested_json_in_the_request(tmp_path: Path, depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deep = opening * depth + "1" + closing * depth
    body = f'{{"model": "gpt-4o", "messages": [{{"role": "user", "content": {deep}}}]}}'.encode()
    async with engine(tmp_path) as rig:
        record = await whole(rig, body)

    assert record.input_tokens == 12
    assert record.wire_format == "openai.chat"


async def test_deeply_nested_json_in_the_answer(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        record = await whole(rig, chat("hi"), b'{"usage":' + b"[" * 100_000 + b"]" * 100_000 + b"}")

    assert record.status == 200
    assert record.input_tokens in (None, record.estimated_input_tokens)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"model":"gpt-4o","messages":[{"role":"user","content":"\xff\xfe\x80"}]}', id="utf-8"),
        pytest.param(b'{"model":"gpt-4o","messages":[{"role":"user","content":"\\ud800"}]}', id="surrogate"),
        pytest.param('{"model":"gpt-4o","messages":[]}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'{"model":"gpt-4o","messages":[{"role":"user","content":"a', id="cut"),
        pytest.param(b'{"model":"\\u0000","messages":[]}', id="nul"),
        pytest.param(b"\x00" * 1000, id="zeros"),
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"gpt-4o"', id="string"),
        pytest.param(b'{"model":NaN,"messages":Infinity}', id="nan"),
        pytest.param(b'{"model":' + b"9" * 5000 + b',"messages":[]}', id="huge number"),
        pytest.param(b'{"model":{"a":[]},"messages":"x","tools":7,"stream":"yes"}', id="wrong types"),
        pytest.param(b'{"model":"gpt-4o","model":"gpt-5","messages":[]}', id="twice"),
        pytest.param(b'{"model":"' + b"m" * 100_000 + b'","messages":[]}', id="long model"),
        pytest.param(
            b'{"model":"gpt-4o","messages":[' + b"null," * 50_000 + b"null]}", id="messages of nothing"
        ),
    ],
)
async def test_a_body_that_is_no_good(tmp_path: Path, body: bytes) -> None:
    async with engine(tmp_path) as rig:
        record = await whole(rig, body)

    assert record.input_tokens == 12
    assert record.source is Source.USAGE


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 10_000, id="bytes"),
        pytest.param(b"<html>Bad gateway</html>", id="html"),
        pytest.param(
            b'{"usage":{"prompt_tokens":-5,"completion_tokens":true,"total_tokens":1e400}}', id="odd"
        ),
        pytest.param(b'{"usage":{"prompt_tokens":' + b"9" * 400 + b"}}", id="huge"),
        pytest.param(b'{"usage":[],"choices":{"a":1},"id":{},"model":7}', id="wrong types"),
        pytest.param(b"data: {]\n\ndata: [DONE]\n\n", id="broken event"),
        pytest.param(b'{"id":"\\ud800","model":"\\u0000","choices":[]}', id="surrogate"),
    ],
)
async def test_an_answer_that_is_no_good(tmp_path: Path, answer: bytes) -> None:
    async with engine(tmp_path) as rig:
        record = await whole(rig, chat("hi"), answer)

    assert record.source is not Source.USAGE
    assert record.is_estimated


async def test_a_stream_of_twenty_thousand_events(tmp_path: Path) -> None:
    chunk = {"id": "c", "model": "gpt-4o", "choices": [{"index": 0, "delta": {"content": " word"}}]}
    usage = {"id": "c", "choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 20_000}}
    *events, last, done = sse(chunk, usage)
    async with engine(tmp_path) as rig:
        n = await rig.open({**chat("hi"), "stream": True})
        rig.intake.handle(
            link.Answered(n=n, at=EPOCH, status=200, headers={"content-type": "text/event-stream"}), b""
        )
        started = time.monotonic()
        for i in range(0, 20_000, 50):
            piece = [events[0]] * 50
            times = [EPOCH + n + i / 1000] * 50
            rig.intake.handle(link.Pieces(n=n, times=times, sizes=[len(p) for p in piece]), b"".join(piece))
            await rig.settle()
        rig.intake.handle(link.Pieces(n=n, times=[EPOCH + 30], sizes=[len(last + done)]), last + done)
        await rig.end(n)
        took = time.monotonic() - started
        found = await rig.records()

    assert [(r.input_tokens, r.output_tokens) for r in found] == [(8, 20_000)]
    assert 10 <= len(rig.events("exchange:updated")) <= 25
    assert took < GENEROUS_S


async def test_a_bomb_is_read_as_far_as_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODY_LIMIT", 1_000_000)
    bomb = gzip.compress(json.dumps(chat("x" * 50_000_000)).encode())
    async with engine(tmp_path) as rig:
        record = await whole(rig, bomb, headers={"content-encoding": "gzip"})

    assert record.wire_format == "openai.chat"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"not gzip at all"),
        ("gzip", gzip.compress(json.dumps(chat("hello")).encode())[:-9]),
        ("deflate", zlib.compress(json.dumps(chat("hello")).encode())),
        ("br, gzip", b"\x00\x01"),
        ("nosuch", json.dumps(chat("hello")).encode()),
        ("", json.dumps(chat("hello")).encode()),
    ],
)
async def test_damaged_and_strange_encodings(tmp_path: Path, encoding: str, body: bytes) -> None:
    async with engine(tmp_path) as rig:
        record = await whole(rig, body, headers={"content-encoding": encoding})

    assert record.input_tokens == 12


async def test_many_tools_and_many_messages(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "t", "parameters": {"type": "object"}}}
    body = {**chat("hi"), "tools": [tool] * 2000}
    body["messages"] = [{"role": "user", "content": f"message {i}"} for i in range(5000)]
    async with engine(tmp_path) as rig:
        record = await whole(rig, body)

    assert record.composition is not None
    assert record.composition.tools > 1000
    assert record.composition.user > 5000


async def test_frames_of_what_is_not_open_are_passed_over(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        for frame in (
            link.Answered(n=99, at=EPOCH, status=200, headers={}),
            link.Pieces(n=99, times=[EPOCH], sizes=[1]),
            link.Said(n=99, at=EPOCH, from_client=True, text=True),
            link.Ended(n=99, at=EPOCH),
        ):
            rig.intake.handle(frame, b"x")
        record = await rig.chat()

    assert record.input_tokens == 12
    assert rig.downward.words() == []


@pytest.mark.parametrize(
    ("times", "sizes"), [([], []), ([EPOCH], [10**9]), ([EPOCH] * 3, [-5, 0, 2]), ([EPOCH], [])]
)
async def test_pieces_that_say_nonsense_of_themselves_end_only_their_exchange(
    tmp_path: Path, times: list[float], sizes: list[int]
) -> None:
    async with engine(tmp_path) as rig:
        n = await rig.open(chat("hi"))
        rig.intake.handle(link.Answered(n=n, at=EPOCH + n, status=200, headers={}), b"")
        rig.intake.handle(link.Pieces(n=n, times=times, sizes=sizes), b"{}")
        await rig.end(n)
        other = await rig.chat()
        found = await rig.records()

    assert len(found) == 2
    assert all(e.ended_at for e in found)
    assert other.input_tokens == 12


class Trips:
    """Something of ours that fails, as often as it is asked."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise KeyError("ours")


@pytest.mark.parametrize(
    "where",
    [
        "kimi_mitm.clients.body_fields",
        "kimi_mitm.draft.read_request",
        "kimi_mitm.engine.shared_estimator.SharedEstimator.estimate",
        "kimi_mitm.wire.answer.AnswerReader.feed",
        "kimi_mitm.wire.answer.AnswerReader.finish",
        "kimi_mitm.fusion.rules.settle",
        "kimi_mitm.engine.shared_estimator.SharedEstimator.learn",
        "kimi_mitm.prices.cost",
        "kimi_mitm.recognise.settle",
        "kimi_mitm.sieve.masked",
        "kimi_mitm.engine.intake.decode_body",
    ],
)
async def test_a_fault_of_ours_is_said_once_and_the_next_exchange_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    async with engine(tmp_path) as rig:
        with monkeypatch.context() as patched:
            patched.setattr(where, Trips())
            for _ in range(3):
                n = await rig.open(chat("hi"))
                await rig.answer(n, chat_answer())
                await rig.end(n)
            broken = await rig.records()
        record = await rig.chat()

    assert all(e.ended_at is not None for e in broken)
    assert 1 <= len(rig.downward.words()) <= 2
    assert all("KeyError" in w for w in rig.downward.words())
    assert (record.input_tokens, record.source) == (12, Source.USAGE)


async def test_one_update_that_cannot_be_stored_does_not_take_its_batch_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(tmp_path) as rig:
        good = rows.row_of

        def picky(exchange: Exchange) -> dict[str, Any]:
            if exchange.model == "bad":
                raise OverflowError("ours")
            return good(exchange)

        monkeypatch.setattr("kimi_mitm.store.exchanges.row_of", picky)
        for n, model in enumerate(("gpt-4o", "bad", "gpt-4o", "bad", "gpt-5"), 1):
            body = json.dumps({"model": model, "messages": []}).encode()
            opened = link.Opened(
                n=n,
                flow_id=f"flow-{n}",
                exchange_id=f"00000000-0000-4000-8000-00000000000{n}",
                at=EPOCH,
                method="POST",
                url="https://api.openai.com/v1/chat/completions",
                host="api.openai.com",
                path="/v1/chat/completions",
                headers={},
                user="alice",
                wire_format="openai.chat",
                served_by="openai",
            )
            rig.intake.handle(opened, body)
            rig.intake.handle(link.Answered(n=n, at=EPOCH, status=200, headers={}), b"")
            data = chat_answer(model)
            rig.intake.handle(link.Pieces(n=n, times=[EPOCH], sizes=[len(data)]), data)
            rig.intake.handle(link.Ended(n=n, at=EPOCH + 1), b"")
        await rig.settle()
        found = await rig.records()
        session = rig.desk.keeper.book.session(found[0].session_id or "")

    assert [e.model for e in found] == ["gpt-4o", "gpt-4o", "gpt-5"]
    assert all(e.input_tokens == 12 for e in found)
    assert session is not None
    assert session.stats.requests == 3
    assert len(rig.downward.words()) == 1


async def test_what_is_no_llm_call_leaves_no_trace(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        n = await rig.open(
            {"query": "{ me { name } }"}, path="/graphql", wire_format=None, served_by=None, certain=False
        )
        await rig.answer(n, *[b"x" * 1000] * 500)
        await rig.end(n)

        assert await rig.records() == []


async def test_an_llm_call_that_cannot_be_read_is_kept_as_other(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        n = await rig.open(
            b"\x0a\x05hello", host="api.cursor.sh", path="/aiserver/Chat", wire_format=None, operation="other"
        )
        await rig.answer(n, b"\x00\x01")
        await rig.end(n)
        found = await rig.records()

    assert [(e.operation, e.wire_format, e.estimated_input_tokens) for e in found] == [
        (Operation.OTHER, None, None)
    ]
    assert found[0].url == "https://api.cursor.sh/aiserver/Chat"
