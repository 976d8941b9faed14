"""Kimi CLI's and Kimi Code's wire files."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from kimi_mitm.logs import kimi_cli, kimi_code
from tests.logs.feeding import feed, figures, sample
from tests.shared import LOGS

SESSION = "8cdb305f-dd2e-4609-ae36-aab0d1bc52d9"
DIGEST = hashlib.md5(b"/home/dev/proj", usedforsecurity=False).hexdigest()
CLI = f"/home/dev/.kimi/sessions/{DIGEST}/{SESSION}/wire.jsonl"
USAGE = {"input_other": 65, "output": 12, "input_cache_read": 256, "input_cache_creation": 0}
BEGIN = {"timestamp": 1772442000.5, "message": {"type": "StepBegin", "payload": {"n": 1}}}


def status(name: str | None = "chatcmpl-1", usage: Any = USAGE) -> dict[str, Any]:
    payload = {"token_usage": usage, "message_id": name, "max_context_tokens": 262_144}
    return {"timestamp": 1772442003.5, "message": {"type": "StatusUpdate", "payload": payload}}


@pytest.mark.parametrize("restart_before", [None, 2])
def test_kimi_cli_s_step_is_an_answer(restart_before: int | None) -> None:
    (reading,) = feed(
        kimi_cli.WireReader,
        BEGIN,
        status(),
        path=CLI,
        beside={
            "state.json": {"custom_title": "Fix it"},
            "../../../kimi.json": {"work_dirs": [{"path": "/home/other"}, {"path": "/home/dev/proj"}]},
        },
        restart_before=restart_before,
    )

    assert figures(reading) == (321, 12, 256, 0, None)
    assert reading.ids == ("chatcmpl-1",)
    assert (reading.client_session_id, reading.title) == (SESSION, "Fix it")
    assert (reading.folder, reading.context_window) == ("/home/dev/proj", 262_144)
    assert reading.started_at is not None
    assert (reading.at - reading.started_at).total_seconds() == 3


def test_kimi_cli_s_status_without_usage_is_none() -> None:
    assert feed(kimi_cli.WireReader, status(usage=None), path=CLI) == []


def test_kimi_cli_s_sub_agent_is_unwrapped() -> None:
    wrapped = status()
    wrapped["message"] = {"type": "SubagentEvent", "payload": {"event": wrapped["message"]}}

    (reading,) = feed(kimi_cli.WireReader, wrapped, path=CLI)

    assert figures(reading) == (321, 12, 256, 0, None)
    assert (reading.client_session_id, reading.subagent) == (SESSION, "subagent")


def test_kimi_cli_s_sub_agent_file_belongs_to_its_session() -> None:
    (reading,) = feed(kimi_cli.WireReader, status(), path=CLI.replace("wire", "subagents/a1/wire"))

    assert (reading.client_session_id, reading.subagent) == (SESSION, "a1")


FOLDER = "/home/dev/.kimi-code/sessions/wd_proj_bb97ae4cdb5b/session_fc891b4a"
CODE = f"{FOLDER}/agents/main/wire.jsonl"
CODE_USAGE = {"inputOther": 65, "output": 12, "inputCacheRead": 256, "inputCacheCreation": 0}
RECORD = {"type": "usage.record", "model": "alias", "usage": CODE_USAGE, "time": 1772442003000}
STEP = {
    "type": "context.append_loop_event",
    "event": {
        "type": "step.end",
        "uuid": "u",
        "usage": CODE_USAGE,
        "messageId": "c1",
        "rawFinishReason": "stop",
    },
    "time": 1772442003010,
}
APPENDED = {
    "type": "agent.message.appended",
    "message": {"meta": {"usage": CODE_USAGE, "messageId": "c1"}},
    "time": 1772442003020,
}


def request(kind: str) -> dict[str, Any]:
    about = {"model": "kimi-for-coding", "modelAlias": "alias", "time": 1772442000020}
    return {"type": "llm.request", "kind": kind} | about


@pytest.mark.parametrize("restart_before", [None, 2, 3, 4])
def test_kimi_code_s_step_is_written_three_times_and_read_once(restart_before: int | None) -> None:
    (reading,) = feed(
        kimi_code.WireReader,
        request("loop"),
        RECORD,
        STEP,
        APPENDED,
        path=CODE,
        beside={"../../state.json": {"cwd": "/home/dev/proj", "title": "Fix it"}},
        restart_before=restart_before,
    )

    assert figures(reading) == (321, 12, 256, 0, None)
    assert (reading.ids, reading.model) == (("c1",), "kimi-for-coding")
    assert (reading.client_session_id, reading.folder) == ("session_fc891b4a", "/home/dev/proj")
    assert (reading.title, reading.subagent, reading.side) == ("Fix it", None, False)
    assert reading.finish_reason == "stop"


def test_kimi_code_s_other_requests_have_only_the_record() -> None:
    (reading,) = feed(kimi_code.WireReader, request("compaction"), RECORD, path=CODE)

    assert figures(reading) == (321, 12, 256, 0, None)
    assert reading.ids == ()
    assert reading.started_at is not None


def test_kimi_code_s_sub_agent_has_its_own_file() -> None:
    (reading,) = feed(kimi_code.WireReader, STEP, path=CODE.replace("main", "agent-0"))

    assert (reading.client_session_id, reading.subagent) == ("session_fc891b4a", "agent-0")


@pytest.mark.skipif(LOGS is None, reason="no sample logs here")
def test_samples() -> None:
    assert LOGS
    (cli,) = (LOGS / "kimi-cli").rglob("wire.jsonl")
    (code,) = (LOGS / "kimi-code").rglob("wire.jsonl")

    assert [(one.ids[0], figures(one)) for one in sample(kimi_cli.SOURCES[0], cli)] == [
        (f"chatcmpl-synthkimi{turn}", (321 + 400 * turn, 12, 256 * (turn + 1), 0, None)) for turn in range(5)
    ]
    assert [figures(one)[:3] for one in sample(kimi_code.SOURCES[0], code)] == [
        (65 + 256, 12, 256),
        (165 + 512, 12, 512),
        (265 + 768, 12, 768),
        (365 + 1024, 12, 1024),
    ]
