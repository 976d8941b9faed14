"""Claude Code's session files."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_mitm.logs.claude_code import SOURCES, ClaudeCodeReader
from kimi_mitm.logs.source import Tally, is_note
from kimi_mitm.records import Problem, Source, Usage
from tests.logs.feeding import feed, figures, sample
from tests.shared import LOGS

AT = "2026-03-02T09:00:03.000Z"
SESSION = "7d0e2c54-1a2b-4c3d-8e4f-5a6b7c8d9e0f"


def answer(
    name: str | None = "msg_1", *, output: Any = 88, request: str | None = "req_1", **more: Any
) -> dict[str, Any]:
    usage = {
        "input_tokens": 50,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 15_000,
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": 9},
    }
    message = {"id": name, "model": "claude-opus-5-5", "usage": usage, "stop_reason": "end_turn"}
    return {
        "type": "assistant",
        "timestamp": AT,
        "uuid": "u-1",
        "message": message,
        "requestId": request,
        "sessionId": SESSION,
        "cwd": "/home/dev/proj",
        "gitBranch": "main",
        "version": "2.1.329",
    } | more


def test_an_answer_has_the_whole_prompt_and_both_ids() -> None:
    (reading,) = feed(ClaudeCodeReader, answer())

    assert figures(reading) == (15_350, 88, 15_000, 300, 9)
    assert reading.ids == ("msg_1", "req_1")
    assert reading.client_session_id == SESSION
    assert (reading.folder, reading.branch, reading.client_version) == ("/home/dev/proj", "main", "2.1.329")
    assert (reading.model, reading.finish_reason) == ("claude-opus-5-5", "end_turn")
    assert reading.reported


def test_a_line_per_block_is_one_reading_and_the_last_stands() -> None:
    """Older versions wrote the first blocks before the output was counted."""
    readings = feed(ClaudeCodeReader, answer(output=1), answer(output=88))

    assert {reading.key for reading in readings} == {"claude-code:msg_1"}
    assert readings[-1].usage.output_tokens == 88


def test_a_line_without_a_stop_reason_has_no_output_yet() -> None:
    line = answer(output=1)
    line["message"]["stop_reason"] = None

    (reading,) = feed(ClaudeCodeReader, line)

    assert figures(reading) == (15_350, None, 15_000, 300, None)


def test_a_fork_s_copies_stay_the_old_session_s() -> None:
    fork = answer(sessionId="new", requestSessionId=SESSION)

    (reading,) = feed(ClaudeCodeReader, fork)

    assert (reading.key, reading.client_session_id) == ("claude-code:msg_1", SESSION)


def test_a_sub_agent_says_which() -> None:
    (reading,) = feed(ClaudeCodeReader, answer(isSidechain=True, agentId="c0447ddb"))

    assert reading.subagent == "c0447ddb"


def request(purpose: str) -> dict[str, Any]:
    return {"type": "api-request", "id": "r", "timestamp": "2026-03-02T09:00:00.200Z", "querySource": purpose}


@pytest.mark.parametrize(
    ("purpose", "side"),
    [
        ("repl_main_thread", False),
        ("sdk", False),
        ("agent:explore", False),
        ("generate_session_title", True),
        ("compact", None),
    ],
)
@pytest.mark.parametrize("restart_before", [None, 2])
def test_the_request_tells_start_and_purpose(
    purpose: str, side: bool | None, restart_before: int | None
) -> None:
    (reading,) = feed(
        ClaudeCodeReader, request(purpose), answer(requestRef="r"), restart_before=restart_before
    )

    assert reading.started_at is not None
    assert (reading.at - reading.started_at).total_seconds() == 2.8
    assert reading.side is side


def test_an_error_has_no_figures_but_its_request() -> None:
    """The client writes its own message with a usage of noughts."""
    line = answer("x", isApiErrorMessage=True, error="invalid_request")
    line["message"] |= {"model": "<synthetic>", "content": [{"type": "text", "text": "Prompt is too long"}]}

    (reading,) = feed(ClaudeCodeReader, line)

    assert reading.usage == Usage()
    assert reading.ids == ("req_1",)
    assert reading.problem == Problem("invalid_request", "Prompt is too long")
    assert reading.source is Source.LOGS


def test_an_error_that_states_the_prompt_has_it() -> None:
    line = answer("x", isApiErrorMessage=True, error="invalid_request")
    words = 'API Error: 400 {"error":{"message":"prompt is too long: 213462 tokens > 200000 maximum"}}'
    line["message"] |= {"model": "<synthetic>", "content": [{"type": "text", "text": words}]}

    (reading,) = feed(ClaudeCodeReader, line)

    assert reading.source is Source.API_ERROR
    assert (reading.usage.input_tokens, reading.context_window) == (213_462, 200_000)


def test_a_local_notice_is_no_exchange() -> None:
    """No request, so nothing was ever sent."""
    line = answer("x", request=None, isApiErrorMessage=True)
    line["message"] |= {"model": "<synthetic>"}

    assert feed(ClaudeCodeReader, line) == []


def test_a_title_is_a_note_on_the_session() -> None:
    readings = feed(
        ClaudeCodeReader,
        answer(),
        {"type": "summary", "summary": "Old title", "leafUuid": "u-1"},
        {"type": "custom-title", "customTitle": "New title", "sessionId": SESSION},
        path=f"/x/{SESSION}.jsonl",
    )

    notes = readings[1:]
    assert [note.title for note in notes] == ["Old title", "New title"]
    assert {note.client_session_id for note in notes} == {SESSION}
    assert all(is_note(note) for note in notes)


def test_another_session_s_summary_is_passed_over() -> None:
    assert feed(ClaudeCodeReader, {"type": "summary", "summary": "Other", "leafUuid": "elsewhere"}) == []


def test_a_figure_out_of_bounds_is_left_out_and_the_rest_kept() -> None:
    tally = Tally()

    (reading,) = feed(ClaudeCodeReader, answer(output=-1), tally=tally)

    assert reading.usage.output_tokens is None
    assert reading.usage.input_tokens == 15_350
    assert tally.rejected == 1


def test_other_lines_are_passed_over() -> None:
    lines = [
        {"type": "user", "message": {"role": "user", "content": 'says "assistant" and "usage"'}},
        {"type": "api-request-blob", "message": {"role": "assistant", "usage": {"input_tokens": 5}}},
        {"type": "cost-state", "modelUsage": {"claude": {"inputTokens": 62}}},
        "[]",
        "",
        '{"type": "assistant"',
    ]

    assert feed(ClaudeCodeReader, *lines) == []


@pytest.mark.skipif(LOGS is None, reason="no sample logs here")
def test_samples() -> None:
    """A session, its fork and a side chain: three answers and one error in all."""
    assert LOGS
    folder = LOGS / "claude-code/.claude/projects/-home-dev-proj"
    kept = {}
    for path in sorted(folder.glob("*.jsonl")):
        kept |= {one.key: one for one in sample(SOURCES[0], path)}

    assert sorted((one.ids[0], figures(one)) for one in kept.values()) == [
        ("msg_01SYNTHAAAAAAAAAAAAAAAAA", (15_350, 88, 15_000, 300, 0)),
        ("msg_01SYNTHBBBBBBBBBBBBBBBBB", (15_432, 21, 15_300, 120, 0)),
        ("msg_01SYNTHSIDE0000000000000", (4_900, 37, 4_000, 0, None)),
        ("req_011SYNTHERR0000000000000", (None, None, None, None, None)),
    ]
