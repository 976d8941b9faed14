from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mitmproxy import contentviews, http
from mitmproxy.contentviews import Metadata
from mitmproxy.test import taddons, tflow

from kimi_mitm import notes
from kimi_mitm.views.contentview import LLM
from tests.samples import flows
from tests.shared import corpus

SAMPLES = flows()
RECORDED = [row for row in corpus() if len(row.get("response_body") or "") < 200_000]


@pytest.fixture
def view() -> Iterator[LLM]:
    with taddons.context() as context:
        context.options.add_option("protobuf_definitions", str, "", "")
        contentviews.add(LLM())
        yield LLM()


def chat_flow(body: bytes = b"", answer: bytes = b"", **headers: str) -> http.HTTPFlow:
    flow = tflow.tflow(resp=True)
    flow.request = http.Request.make(
        "POST", "https://api.openai.com/v1/chat/completions", body, {"host": "api.openai.com", **headers}
    )
    assert flow.response is not None
    flow.response.headers.clear()
    flow.response.raw_content = answer
    return flow


@pytest.mark.parametrize("flow", SAMPLES, ids=[f"{n} {f.request.host}" for n, f in enumerate(SAMPLES)])
def test_the_view_is_chosen_by_itself_and_tells_the_conversation(view: LLM, flow: http.HTTPFlow) -> None:
    messages = [*flow.websocket.messages] if flow.websocket else [flow.request, flow.response]
    for message in messages:
        assert message is not None

        shown = contentviews.prettify_message(message, flow)

        assert shown.view_name == "LLM"
        assert "can't be read" not in shown.text


def test_a_websockets_turns_are_told_message_by_message(view: LLM) -> None:
    (flow,) = (f for f in SAMPLES if f.websocket)
    assert flow.websocket is not None
    texts = [contentviews.prettify_message(m, flow).text for m in flow.websocket.messages]

    assert "user: List tests." in texts[0]
    assert "tools: 3" in texts[0]
    assert texts[1].startswith("event: response.created")
    assert "assistant calls Bash: |" in texts[3]
    assert "reported: 523 in, 0 of it cached, 38 out, 0 of it reasoning" in texts[3]
    assert "previous_response_id resp_demo1" in texts[4]
    assert "result of a tool: test_parser.py::test_one ok" in texts[4]


def test_the_figures_stand_on_top(view: LLM) -> None:
    flow = chat_flow(b'{"messages":[{"role":"user","content":"hi"}]}')
    flow.metadata = {
        "kimi.id": "x1",
        "kimi.provider": "openai",
        "kimi.wire_format": "openai.chat",
        "kimi.estimated_input_tokens": 8,
        "kimi.estimate_kind": "exact",
    }

    text = contentviews.prettify_message(flow.request, flow).text

    assert text.splitlines()[2:5] == ["prompt: 8 estimated (exact) → no report yet", "---", "user: hi"]


def test_a_websockets_figures_stand_on_its_first_message_only(view: LLM) -> None:
    (flow,) = (f.copy() for f in SAMPLES if f.websocket)
    assert flow.websocket is not None
    flow.metadata |= {"kimi.id": "x1", "kimi.wire_format": "openai.responses", "kimi.provider": "openai"}

    texts = [contentviews.prettify_message(m, flow).text for m in flow.websocket.messages]

    assert texts[0].startswith("# the last turn's figures\n")
    assert not any("figures" in text for text in texts[1:])


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("https://www.example.org/v1/orders", b'{"messages": "none"}'),
        ("https://www.example.org/chat", b'{"text": "hello", "model": 5}'),
        ("https://api.openai.com/v1/files", b"{}"),
        ("https://api.anthropic.com/v1/messages/count_tokens", b'{"messages": []}'),
        ("https://api.anthropic.com/api/event_logging/batch", b'{"events": []}'),
    ],
)
def test_other_traffic_keeps_mitmproxys_own_views(view: LLM, url: str, body: bytes) -> None:
    flow = chat_flow()
    flow.request = http.Request.make("POST", url, body, {"content-type": "application/json"})
    assert flow.response is not None
    flow.response.raw_content = b'{"ok": true}'

    assert contentviews.prettify_message(flow.request, flow).view_name != "LLM"
    assert contentviews.prettify_message(flow.response, flow).view_name != "LLM"


def test_what_the_engine_found_counts_more_than_the_address(view: LLM) -> None:
    flow = chat_flow(b'{"messages":[{"role":"user","content":"hi"}]}')
    flow.request.url = "https://llm.example.org/some/where"
    assert contentviews.prettify_message(flow.request, flow).view_name != "LLM"

    flow.metadata = {"kimi.id": "x1", "kimi.wire_format": "openai.chat"}
    assert contentviews.prettify_message(flow.request, flow).view_name == "LLM"

    flow.metadata = {"kimi.id": "x1"}
    flow.request.url = "https://api.openai.com/v1/chat/completions"
    assert contentviews.prettify_message(flow.request, flow).view_name != "LLM"


def test_an_unknown_address_is_judged_by_its_bodies(view: LLM) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False}
    flow = chat_flow(json.dumps(body).encode())
    flow.request.url = "https://llm.example.org/gateway/v1/chat/completions"
    assert flow.response is not None
    flow.response.raw_content = b'{"object":"chat.completion","choices":[{"message":{"content":"yes"}}]}'

    assert "user: hi" in contentviews.prettify_message(flow.request, flow).text
    assert "assistant: yes" in contentviews.prettify_message(flow.response, flow).text


def test_a_damaged_body_is_shown_as_it_is_with_a_word_why(view: LLM) -> None:
    flow = chat_flow(b'{"messages": [{"role": "us', b"<html>502 Bad Gateway</html>")
    assert flow.response is not None

    request = contentviews.prettify_message(flow.request, flow)
    answer = contentviews.prettify_message(flow.response, flow)

    assert request.text == (
        "# This can't be read as openai.chat: it is no JSON object, or not whole. As it is:\n"
        '{"messages": [{"role": "us'
    )
    assert answer.text.endswith("no openai.chat answer is in it. As it is:\n<html>502 Bad Gateway</html>")


def test_a_body_whose_encoding_is_damaged_is_shown_too(view: LLM) -> None:
    flow = chat_flow(b"\x1f\x8b\x08broken", **{"content-encoding": "gzip"})

    shown = contentviews.prettify_message(flow.request, flow)

    assert shown.view_name == "LLM"
    assert "can't be read" in shown.text


def test_asked_for_by_hand_where_there_is_no_exchange_it_says_so(view: LLM) -> None:
    flow = tflow.tflow(resp=True)

    shown = contentviews.prettify_message(flow.request, flow, view_name="llm")

    assert "this is no LLM exchange that can be read" in shown.text


def test_messages_of_other_protocols_are_none_of_its_business(view: LLM) -> None:
    assert view.render_priority(b"{}", Metadata(flow=tflow.ttcpflow())) < 0
    assert view.render_priority(b"{}", Metadata()) < 0
    assert view.render_priority(b"", Metadata(flow=chat_flow(), http_message=chat_flow().request)) < 0


@pytest.mark.parametrize("row", RECORDED[::7], ids=[row["id"] for row in RECORDED[::7]])
def test_recorded_traffic_is_shown(view: LLM, row: dict[str, str]) -> None:
    flow = chat_flow()
    flow.request = http.Request.make(row["method"], row["url"], body(row, "request"))
    flow.response = http.Response.make(int(row["status"]), body(row, "response"))
    for kind, message in (("request", flow.request), ("response", flow.response)):
        message.headers = http.Headers([(k.encode(), v.encode()) for k, v in row[f"{kind}_headers"]])
        message.headers.pop("content-encoding", None)

        shown = contentviews.prettify_message(message, flow)

        assert shown.text or not message.raw_content


def body(row: dict[str, str], side: str) -> bytes:
    text = row.get(f"{side}_body") or ""
    return base64.b64decode(text) if row.get(f"{side}_body_encoding") == "base64" else text.encode()


def test_a_body_of_5_mb_costs_some_milliseconds(view: LLM) -> None:
    """The bound is ten times what it takes, for machines that are busy."""
    text = 'lorem ipsum "dolor" \n sit amet ' * 200
    messages = [{"role": "user", "content": text} for _ in range(800)]
    flow = chat_flow(json.dumps({"model": "gpt-5", "messages": messages}).encode())
    data = flow.request.raw_content
    assert data is not None
    assert len(data) > 5_000_000
    metadata = Metadata(flow=flow, http_message=flow.request)
    view.prettify(b'{"messages":[{"role":"user","content":"hi"}]}', metadata)

    start = time.process_time()
    view.render_priority(data, metadata)
    shown = view.prettify(data, metadata)

    assert time.process_time() - start < 0.3
    assert len(shown) < 60_000
    assert "786 of 800 messages left out" in shown


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(), st.sampled_from(["request", "response"]), st.sampled_from(sorted(notes.MARKERS)))
def test_it_never_fails_on_an_llm_flow(data: bytes, side: str, provider: str) -> None:
    flow = chat_flow(data or b"x", data or b"x")
    flow.metadata = {"kimi.id": "x", "kimi.wire_format": "openai.chat", "kimi.provider": provider}
    message = getattr(flow, side)

    text = LLM().prettify(data or b"x", Metadata(flow=flow, http_message=message))

    assert text.startswith("exchange: ")
