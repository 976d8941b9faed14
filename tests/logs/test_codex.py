"""Codex's rollouts."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_mitm.logs.codex import SOURCES, CodexReader
from kimi_mitm.logs.source import is_note
from kimi_mitm.records import Source
from tests.logs.feeding import feed, figures, sample
from tests.shared import LOGS

THREAD = "019caf00-0001-7abc-8def-8a6a24ede6a4"
PATH = f"/home/dev/.codex/sessions/2026/03/02/rollout-2026-03-02T09-00-00-{THREAD}.jsonl"
RESTARTS = pytest.mark.parametrize("restart_before", [None, 2, 3, 4])


def line(kind: str, second: float = 5.0, **payload: Any) -> dict[str, Any]:
    stamp = f"2026-03-02T09:00:{second:06.3f}Z"
    if kind in ("session_meta", "turn_context", "token_usage_record", "response_item"):
        return {"timestamp": stamp, "type": kind, "payload": payload}
    return {"timestamp": stamp, "type": "event_msg", "payload": {"type": kind} | payload}


def meta(**more: Any) -> dict[str, Any]:
    about = {"id": THREAD, "cwd": "/home/dev/proj", "cli_version": "0.98.0", "git": {"branch": "main"}}
    return line("session_meta", 0.1, **(about | more))


def usage(input: int, output: int, cached: int = 0, reasoning: int = 0) -> dict[str, int]:
    return {
        "input_tokens": input,
        "cached_input_tokens": cached,
        "output_tokens": output,
        "reasoning_output_tokens": reasoning,
        "total_tokens": input + output,
    }


def count(total: dict[str, int], last: dict[str, int] | None, second: float = 8.0) -> dict[str, Any]:
    info = {"total_token_usage": total, "last_token_usage": last, "model_context_window": 258_400}
    return line("token_count", second, info=info)


CONTEXT = line("turn_context", model="gpt-5-codex", cwd="/home/dev/proj")


@RESTARTS
def test_totals_become_answers(restart_before: int | None) -> None:
    """Repeated at the next turn's start, and first of all without any figures."""
    first, second = usage(5000, 77, 0, 64), usage(5700, 78, 4096, 64)
    both = {name: first[name] + second[name] for name in first}

    readings = feed(
        CodexReader,
        meta(),
        CONTEXT,
        line("token_count", info=None),
        count(first, first),
        count(first, first, 13),
        count(both, second, 16),
        count(both, second, 20),
        path=PATH,
        restart_before=restart_before,
    )

    assert [figures(reading) for reading in readings] == [(5000, 77, 0, None, 64), (5700, 78, 4096, None, 64)]
    assert [reading.key for reading in readings] == [f"codex:{THREAD}:5077", f"codex:{THREAD}:10855"]
    about = readings[-1]
    assert (about.model, about.folder, about.branch) == ("gpt-5-codex", "/home/dev/proj", "main")
    assert (about.client_session_id, about.client_version) == (THREAD, "0.98.0")
    assert about.context_window == 258_400


def test_without_the_last_usage_it_is_the_difference() -> None:
    readings = feed(CodexReader, count(usage(5000, 77), None), count(usage(10_700, 155), None), path=PATH)

    assert [figures(reading)[:2] for reading in readings] == [(5000, 77), (5700, 78)]


def record(
    name: str, of: dict[str, int], total: dict[str, int] | None, thread: str = THREAD
) -> dict[str, Any]:
    about = {"thread_id": thread, "session_id": thread, "response_id": name, "usage": of}
    return line("token_usage_record", 6.0, **about, **({"thread_token_usage": total} if total else {}))


@RESTARTS
@pytest.mark.parametrize("with_total", [True, False])
def test_a_record_and_its_count_are_one_answer(restart_before: int | None, with_total: bool) -> None:
    first, second = usage(5000, 70), usage(5300, 71)
    both = {name: first[name] + second[name] for name in first}

    readings = feed(
        CodexReader,
        meta(),
        record("resp_1", first, first if with_total else None),
        count(first, first),
        record("resp_2", second, both if with_total else None),
        count(both, second),
        path=PATH,
        restart_before=restart_before,
    )

    assert [(one.ids, one.usage.input_tokens) for one in readings] == [
        (("resp_1",), 5000),
        (("resp_2",), 5300),
    ]


def test_a_fork_leaves_its_parent_s_answers_to_its_parent() -> None:
    """Copied lines bear the moment of the fork, or the parent's thread."""
    old = usage(5000, 77)
    both = {name: old[name] * 2 for name in old}

    readings = feed(
        CodexReader,
        meta(forked_from_id="parent"),
        line("session_meta", 0.1, id="parent", cli_version="0.90.0"),
        count(old, old, 0.2),
        record("resp_old", old, old, thread="parent"),
        count(both, old, 7),
        path=PATH,
    )

    assert [one.key for one in readings] == [f"codex:{THREAD}:10154"]
    assert readings[0].client_version == "0.98.0"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("exec", None),
        ({"subagent": "review"}, "review"),
        ({"subagent": {"thread_spawn": {"parent_thread_id": "p", "agent_role": "explorer"}}}, "explorer"),
        ({"subagent": {"other": {}}}, "other"),
    ],
)
def test_a_sub_agent_says_which(source: Any, name: str | None) -> None:
    (reading,) = feed(CodexReader, meta(source=source), count(usage(5, 5), usage(5, 5)), path=PATH)

    assert reading.subagent == name


def test_an_error_is_kept_with_what_it_states() -> None:
    words = "maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."

    readings = feed(
        CodexReader,
        meta(),
        line("error", message=words, codex_error_info="context_window_exceeded"),
        line("error", message="stream disconnected", codex_error_info={"stream_disconnected": {}}),
        path=PATH,
    )

    assert [(one.source, one.usage.input_tokens) for one in readings] == [
        (Source.API_ERROR, 130_000),
        (Source.LOGS, None),
    ]
    assert [one.problem.type for one in readings if one.problem] == [
        "context_window_exceeded",
        "stream_disconnected",
    ]


def test_a_thread_s_name_is_a_note() -> None:
    (note,) = feed(
        CodexReader,
        meta(),
        line("thread_name_updated", thread_id=THREAD, thread_name="Fix the parser"),
        path=PATH,
    )

    assert is_note(note)
    assert (note.title, note.client_session_id) == ("Fix the parser", THREAD)


@pytest.mark.skipif(LOGS is None, reason="no sample logs here")
def test_samples() -> None:
    assert LOGS
    old, new = sorted((LOGS / "codex").rglob("*.jsonl"))

    assert [figures(one) for one in sample(SOURCES[0], old)] == [
        (5000, 77, 0, None, 64),
        (5700, 78, 4096, None, 64),
        (6400, 79, 5632, None, 64),
    ]
    assert [(one.ids, figures(one)) for one in sample(SOURCES[0], new)] == [
        (("resp_synth00",), (5000, 70, 4096, 0, 32)),
        (("resp_synth01",), (5300, 71, 4096, 0, 32)),
        (("resp_synth10",), (5900, 70, 4096, 0, 32)),
        (("resp_synth11",), (6200, 71, 4096, 0, 32)),
    ]
