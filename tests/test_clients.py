"""Who sent a request, in which session, and what is side traffic: rows as they were seen on the wire."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.clients import HEADERS, Client, body_fields, identify, side_call
from kimi_mitm.headers import is_kept
from kimi_mitm.records import Operation, Request

TABLE = tomllib.loads(files("kimi_mitm").joinpath("clients.toml").read_text(encoding="utf-8"))
UUID = "e3f4384d-5859-4078-a86c-7cc89c25c2ec"
TURN = json.dumps({"session_id": UUID, "thread_id": UUID, "agent_name": "/root", "request_kind": "turn"})


with (Path(__file__).parent / "seen_clients.jsonl").open(encoding="utf-8") as lines:
    SEEN = [json.loads(line) for line in lines]


@pytest.mark.parametrize("seen", SEEN, ids=[f"{row['client']}-{at}" for at, row in enumerate(SEEN)])
def test_a_client_is_known_as_it_was_seen(seen: dict[str, Any]) -> None:
    client = identify(seen["headers"], body_fields(json.dumps(seen["body"]).encode()), "api.example.com")

    assert (client.name, client.version, client.session_id) == (
        seen["client"],
        seen["version"],
        seen["session"],
    )


def test_every_client_of_the_table_was_seen() -> None:
    assert {row["name"] for row in TABLE["clients"]} <= {row["client"] for row in SEEN}


def test_all_that_identifies_may_be_kept() -> None:
    needed = {s.split(":")[1] for s in TABLE["sessions"] if s.startswith("header:")}
    needed |= {name for row in TABLE["clients"] for name in row.get("headers", {})}
    needed |= {row["version"].partition(":")[0] for row in TABLE["clients"] if "version" in row}
    needed |= {row["header"] for row in TABLE["marks"]} | set(TABLE["subagents"]["headers"])

    assert {name for name in needed if not is_kept(name)} == set()


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "set-cookie",
        "x-amz-security-token",
        "x-amz-date",
        "anthropic-organization-id",
        "openai-organization",
        "chatgpt-account-id",
        "sec-websocket-protocol",
        "sec-websocket-key",
        "x-github-token",
        "x-kilocode-organizationid",
        "x-msh-device-name",
        "x-cursor-checksum",
        "x-zed-system-id",
        "x-codex-turn-state",
        "x-goog-user-project",
        "cf-access-client-secret",
    ],
)
def test_credentials_and_accounts_are_not_kept(name: str) -> None:
    assert name not in HEADERS
    assert not is_kept(name)


def test_a_generic_session_header_counts_for_anyone() -> None:
    assert identify({"x-session-id": "mine"}, None).session_id == "mine"


def test_without_a_body_the_headers_speak() -> None:
    assert identify({"user-agent": "codex_exec/0.169.0 (x)"}, None) == Client(name="codex", version="0.169.0")


@pytest.mark.parametrize(
    ("headers", "body", "side", "subagent"),
    [
        ({"x-claude-code-request-class": "main"}, {}, False, None),
        ({"x-claude-code-request-class": "auxiliary"}, {}, True, None),
        ({"x-claude-code-request-class": "side_reply"}, {}, True, None),
        ({"x-claude-code-request-class": "compaction"}, {}, True, None),
        (
            {"x-claude-code-request-class": "subagent", "x-claude-code-agent-type": "Explore"},
            {},
            None,
            "Explore",
        ),
        ({"x-claude-code-request-class": "workflow"}, {}, None, "workflow"),
        ({"x-claude-code-agent-id": "a-1"}, {}, None, "a-1"),
        ({"x-app": "cli"}, {}, None, None),
        ({"x-app": "cli-bg"}, {}, True, None),
        ({"x-openai-subagent": "compact"}, {}, True, None),
        ({"x-openai-subagent": "memory_consolidation"}, {}, True, None),
        ({"x-openai-subagent": "review"}, {}, None, "review"),
        ({"x-openai-subagent": "collab_spawn"}, {}, None, "collab_spawn"),
        ({"x-interaction-type": "conversation-background"}, {}, True, None),
        ({"x-interaction-type": "conversation-user"}, {}, False, None),
        ({"x-interaction-type": "conversation-subagent"}, {}, None, "conversation-subagent"),
        ({"x-codex-turn-metadata": TURN.replace('"turn"', '"prewarm"')}, {}, True, None),
        ({"x-codex-turn-metadata": TURN}, {}, None, None),
        (
            {"x-codex-turn-metadata": TURN.replace('"turn"', '"prewarm"')},
            {"client_metadata": {"x-codex-turn-metadata": TURN}},
            None,
            None,
        ),
        ({"x-codex-turn-metadata": TURN.replace("/root", "/root/helper")}, {}, None, "/root/helper"),
        ({}, {"type": "response.create", "generate": False}, True, None),
        ({"x-codex-turn-metadata": "{broken"}, {}, None, None),
    ],
)
def test_headers_and_fields_may_say_what_a_request_is_for(
    headers: dict[str, str], body: dict[str, Any], side: bool | None, subagent: str | None
) -> None:
    client = identify(headers, body_fields(json.dumps(body).encode()))

    assert (client.side, client.subagent) == (side, subagent)


@pytest.mark.parametrize(
    ("headers", "body", "turn"),
    [
        ({"x-claude-code-prompt-id": "p-1"}, {}, "p-1"),
        ({"x-interaction-id": "i-1"}, {}, "i-1"),
        ({"x-opencode-request": "msg_1"}, {}, "msg_1"),
        ({}, {"client_metadata": {"turn_id": "t-1"}}, "t-1"),
        ({}, {"user_prompt_id": "u########3"}, "u########3"),
        ({}, {"metadata": {"promptId": "q-1"}}, "q-1"),
    ],
)
def test_the_user_s_prompt_may_have_a_name(headers: dict[str, str], body: dict[str, Any], turn: str) -> None:
    assert identify(headers, body_fields(json.dumps(body).encode())).turn_id == turn


def _is_side(name: str, request: Request, operation: Operation = Operation.CHAT, opening: str = "") -> bool:
    return side_call(Client(name=name), operation=operation, request=request, opening=opening)


def test_embeddings_counting_and_completion_while_typing_are_side_traffic() -> None:
    assert _is_side("unknown", Request(tool_count=1), Operation.EMBEDDINGS)
    assert _is_side("unknown", Request(tool_count=1), Operation.COUNT_TOKENS)
    assert _is_side("continue", Request(fim=True), Operation.TEXT_COMPLETION)


def test_probes_and_warm_ups_are_side_traffic() -> None:
    assert _is_side("claude-code", Request(max_output_tokens=1, tool_count=3))
    assert _is_side("unknown", Request(max_output_tokens=1))
    assert _is_side("codex", Request(generates=False, tool_count=9))


@pytest.mark.parametrize("name", ["claude-code", "opencode", "kilo-code", "qwen-code", "codex", "gemini-cli"])
def test_agents_that_always_offer_tools_make_side_calls_without(name: str) -> None:
    assert _is_side(name, Request())
    assert not _is_side(name, Request(tool_count=1))
    assert not _is_side(name, Request(hidden=frozenset({"partial_body"})))


@pytest.mark.parametrize(
    "opening",
    [
        "You are a title generator. You output ONLY a thread title.",
        "You are naming a coding session so the user can pick it out",
        "You will generate a short title based on the first message a user begins a conversation with",
        "Analyze if this message indicates a new conversation topic.",
        "*Briefly* summarize this partial conversation about programming.",
        "You are an expert software engineer that generates concise, one-line Git commit messages based on",
        "Please generate a concise, 5 word title for the following chat",
    ],
)
def test_titles_topics_summaries_and_commit_messages_are_side_traffic(opening: str) -> None:
    assert _is_side("unknown", Request(tool_count=2), opening=opening)


def test_a_plain_conversation_is_none() -> None:
    assert not _is_side("openai-python", Request(), opening="You are a helpful assistant. What is a title?")
    assert not _is_side("cline", Request(tool_count=10), opening="You are Cline, an AI coding agent.")
    assert not _is_side("unknown", Request(), Operation.TEXT_COMPLETION)


def test_what_a_client_says_itself_wins() -> None:
    sure = Client(name="claude-code", side=False)

    assert not side_call(
        sure, operation=Operation.CHAT, request=Request(), opening="You are a title generator"
    )
    assert side_call(Client(side=True), operation=Operation.CHAT, request=Request(tool_count=3))


def test_fields_are_found_in_wrappers() -> None:
    frame = {
        "type": "response.create",
        "response": {"model": "m", "prompt_cache_key": UUID, "instructions": "Be."},
    }
    fields = body_fields(json.dumps(frame).encode())

    assert (fields["model"], fields["prompt_cache_key"], fields["opening"]) == ("m", UUID, "Be.")

    wrapped = {
        "model": "g",
        "request": {
            "session_id": UUID,
            "systemInstruction": {"parts": [{"text": "Hello"}]},
            "tools": [{"functionDeclarations": []}],
        },
    }
    fields = body_fields(json.dumps(wrapped).encode())

    assert (fields["request.session_id"], fields["opening"], fields["tools"]) == (UUID, "Hello", True)


def test_the_opening_is_read_unescaped_and_bounded() -> None:
    body = json.dumps(
        {"system": 'a "b"\n' + "x" * 10_000, "messages": [{"role": "user", "content": "y"}]}
    ).encode()

    opening = body_fields(body)["opening"]

    assert opening.startswith('a "b"\nxxx')
    assert len(opening) <= 2000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"metadata":[]}',
        b'{"metadata":{"user_id":{"a":1}}}',
        b'{"system":5}',
        b'{"request":"x","response":[1]}',
        b'{"messages":' + b"[" * 100_000,
        b'{"model":"\xff"}',
        b'{"generate":NaN}',
    ],
)
def test_strange_bodies_have_fewer_fields(body: bytes) -> None:
    client = identify({}, body_fields(body))

    assert client.session_id is None


@given(
    st.dictionaries(
        st.sampled_from(["user-agent", "session_id", "x-codex-turn-metadata", "x-app"]), st.text(max_size=80)
    ),
    st.binary(max_size=200),
    st.dictionaries(
        st.sampled_from(
            ["metadata", "prompt_cache_key", "request", "system", "client_metadata", "messages", "tools"]
        ),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=9), st.lists, max_leaves=3)
        | st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
    ),
)
def test_nothing_raises(headers: dict[str, str], raw: bytes, body: dict[str, Any]) -> None:
    identify(headers, body_fields(raw))
    client = identify(headers, body_fields(json.dumps(body).encode()))
    side_call(client, operation=Operation.CHAT)
