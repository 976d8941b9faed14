"""Drafts of exchanges: what a request says of itself, then what its answer adds."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from kimi_mitm import draft as drafts
from kimi_mitm import link
from kimi_mitm.draft import Draft
from kimi_mitm.fusion import exchange_figures
from kimi_mitm.records import Answer, EstimateKind, Operation, Problem, Source, Usage
from kimi_mitm.tokens import Estimator

EPOCH = 1_770_000_000.0
ESTIMATOR = Estimator({})
BUSY = Problem("overloaded", "busy")


def opened(**known: Any) -> link.Opened:
    usual = {
        "n": 1,
        "flow_id": "f",
        "exchange_id": "x",
        "at": EPOCH,
        "method": "POST",
        "url": "https://api.openai.com/v1/chat/completions",
        "host": "api.openai.com",
        "path": "/v1/chat/completions",
        "headers": {},
        "client_address": "127.0.0.1",
        "wire_format": "openai.chat",
        "served_by": "openai",
        "size": 400,
    }
    return link.Opened(**{**usual, **known})


def begun(content: Any = None, *, format_name: str | None = "openai.chat", **known: Any) -> Draft:
    raw = json.dumps(content).encode() if isinstance(content, dict) else content
    operation = known.pop("operation", Operation.CHAT)
    return drafts.begin(
        opened(**known), raw, ESTIMATOR, format_name=format_name, operation=operation, table={}
    )


def chat(*messages: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": r, "content": c} for r, c in messages], **more}


def done(draft: Draft, answer: Answer | None, **known: Any) -> Draft:
    usual = {"status": 200, "first_token_at": None, "ended_at": EPOCH + 2, "broken": None}
    return drafts.complete(draft, answer, **{**usual, **known})


def test_a_request_says_who_asks_whom_and_what() -> None:
    draft = begun(chat(("user", "hello")), headers={"user-agent": "OpenAI/Python 2.1.0"})
    exchange = draft.exchange

    assert (exchange.provider, exchange.served_by, exchange.model) == ("openai", "openai", "gpt-4o")
    assert (exchange.client, exchange.client_version, exchange.user) == (
        *("openai-python", "2.1.0", "127.0.0.1"),
    )
    assert (exchange.id, exchange.flow_id, exchange.operation) == ("x", "f", Operation.CHAT)
    assert exchange.context_window == 128_000
    assert exchange.estimated_input_tokens == 8
    assert exchange.composition is not None
    assert exchange.composition.total == 8
    assert exchange.context_percent == 0.0
    assert (exchange.input_tokens, exchange.ended_at, exchange.status) == (None, None, None)
    assert (exchange.delta_tokens, exchange.history_ratio, exchange.is_noise) == (8, 0.0, False)


def test_the_users_own_name_wins_over_the_address() -> None:
    assert begun(chat(), user="alice").exchange.user == "alice"


def test_a_body_that_was_dropped_is_estimated_by_length_and_says_so() -> None:
    exchange = begun(None, body="dropped", size=4000).exchange

    assert (exchange.estimated_input_tokens, exchange.estimate_kind) == (1000, EstimateKind.PLAIN)
    assert exchange.notes == {
        **{"request_body": "dropped", "request_bytes": 4000},
        **{"estimate": "partly by length"},
    }
    assert exchange.model is None


def test_in_a_hurry_the_body_is_read_but_not_counted() -> None:
    exchange = begun(chat(("user", "hello")), hurry=True, size=4000).exchange

    assert (exchange.model, exchange.estimated_input_tokens) == ("gpt-4o", 1000)


def test_what_cannot_be_read_has_no_estimate() -> None:
    exchange = begun(b"\x00", format_name=None, operation=Operation.OTHER).exchange

    assert (exchange.estimated_input_tokens, exchange.composition, exchange.model) == (None, None, None)
    assert exchange.provider == "openai"


@pytest.mark.parametrize(
    ("messages", "last"),
    [
        ([("user", "one"), ("assistant", "a"), ("user", "two")], 2),
        ([("user", "one"), ("assistant", "a"), ("tool", "result")], 0),
        ([("system", "only")], None),
        ([], None),
    ],
)
def test_the_prompt_is_named_by_the_users_own_last_words(
    messages: list[tuple[str, Any]], last: int | None
) -> None:
    draft = begun(chat(*messages))

    expected = draft.slices[last].digest.hex() if last is not None else None
    assert draft.prompt == expected


def test_a_tools_result_is_not_the_users_word() -> None:
    result = [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]
    words = [{"type": "text", "text": "do it"}]
    draft = begun(
        chat(("user", words), ("assistant", "ok"), ("user", result)), format_name="anthropic.messages"
    )

    assert draft.prompt == draft.slices[0].digest.hex()


def test_side_traffic_has_no_prompt_of_the_users() -> None:
    assert begun(chat(("user", "hello"), max_tokens=1)).prompt is None


def test_the_answer_adds_times_ids_and_the_end() -> None:
    answer = Answer(response_id="r", response_model="gpt-4o-2024", finish_reason="stop", streamed=True)
    exchange = done(begun(chat()), answer, first_token_at=EPOCH + 0.25, lost=3).exchange

    assert (exchange.ttft_ms, exchange.duration_ms, exchange.stream) == (250.0, 2000.0, True)
    assert (exchange.response_id, exchange.response_model) == ("r", "gpt-4o-2024")
    assert (exchange.finish_reason, exchange.status, exchange.error) == ("stop", 200, None)
    assert exchange.notes["answer_bytes_lost"] == 3


@pytest.mark.parametrize(
    ("answer", "status", "broken", "error"),
    [
        (None, None, "connection refused", Problem("no_answer", "connection refused")),
        (Answer(complete=False), 200, "cut", Problem("aborted", "cut")),
        (Answer(complete=True), 200, "closed after the end", None),
        (None, 200, "cut", Problem("aborted", "cut")),
        (Answer(problem=Problem("overloaded", "busy")), 529, None, Problem("overloaded", "busy")),
        (
            Answer(problem=Problem("overloaded", "busy"), complete=False),
            200,
            "cut",
            Problem("overloaded", "busy"),
        ),
        (Answer(), 200, None, None),
    ],
)
def test_how_an_exchange_failed(
    answer: Answer | None, status: int | None, broken: str | None, error: Problem | None
) -> None:
    assert done(begun(chat()), answer, status=status, broken=broken).exchange.error == error


def test_secrets_in_a_providers_words_are_masked() -> None:
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    failed = done(begun(chat()), Answer(problem=Problem("auth", f"wrong key {key}")), status=401)

    assert failed.exchange.error is not None
    assert key not in failed.exchange.error.message


def test_readings_of_the_wire_are_the_estimate_and_the_report() -> None:
    draft = done(begun(chat(("user", "hello"))), Answer(usage=Usage(input_tokens=9, output_tokens=2)))
    found = exchange_figures.readings(draft, None)

    assert [(r.source, r.reported, r.usage.input_tokens) for r in found] == [
        (Source.PROXY, False, 8),
        (Source.USAGE, True, 9),
    ]
    assert {r.origin for r in found} == {"flow:f"}
    assert len({r.key for r in found}) == 2


def test_an_estimate_of_a_failed_exchange_is_no_reading() -> None:
    failed = done(begun(chat(("user", "hello"))), None, status=None, broken="refused")

    assert exchange_figures.readings(failed, None) == []


@pytest.mark.parametrize(("usage", "sources"), [((0, 0), [Source.USAGE]), ((7, 0), []), ((None, None), [])])
def test_a_warm_up_counts_only_when_it_says_that_nothing_was_read(
    usage: tuple[int | None, int | None], sources: list[Source]
) -> None:
    body = {"type": "response.create", "model": "gpt-5-codex", "input": [], "generate": False}
    draft = begun(body, format_name="openai.responses")
    settled = done(draft, Answer(usage=Usage(input_tokens=usage[0], output_tokens=usage[1])))

    assert [r.source for r in exchange_figures.readings(settled, None)] == sources
    assert (draft.exchange.operation, draft.exchange.side) == (Operation.OTHER, True)


def test_the_model_that_answered_is_priced_first() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=0)
    exchange = done(begun(chat()), Answer(response_model="gpt-4o-mini")).exchange

    assert exchange_figures.price(exchange, usage, is_estimated=False) == Decimal("0.15")
    assert exchange_figures.price(exchange, usage, is_estimated=True) is None


def test_the_users_own_table_names_the_provider() -> None:
    draft = drafts.begin(
        opened(),
        json.dumps(chat()).encode(),
        ESTIMATOR,
        format_name="openai.chat",
        operation=Operation.CHAT,
        table={"gpt-4o": "mine"},
    )

    assert draft.exchange.provider == "mine"


def test_no_field_of_a_record_carries_a_key() -> None:
    key = "sk-proj-a1B2c3D4e5F6g7H8i9J0k1L2m3N4"
    body = chat(("user", "x"), model=f"m {key}", session_id=f"s {key}")
    answer = Answer(
        response_id=f"r {key}",
        response_model=f"m {key}",
        finish_reason=f"f {key}",
        problem=Problem(f"t {key}", f"Incorrect API key provided: {key[8:]}"),
    )
    drafted = [
        done(begun(body), answer),
        done(begun(body), None, broken=f"Server error for {key}"),
        done(begun(body), None, broken=f"no answer for {key}", status=None),
    ]
    for draft in drafted:
        assert key[8:] not in str(draft.exchange)
