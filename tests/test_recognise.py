"""Is an exchange an LLM call, and in which format: path rules, recorded exchanges, disguises, damage."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import corpus

from kimi_mitm.providers import is_other
from kimi_mitm.recognise import OPERATIONS, Candidate, look, serves_llm, settle, sniff
from kimi_mitm.records import Operation

TABLE = tomllib.loads(files("kimi_mitm").joinpath("paths.toml").read_text(encoding="utf-8"))
JSON = {"content-type": "application/json"}
SOCKET = {"upgrade": "websocket", "connection": "Upgrade"}

FORMATS = {
    "openai-chat": "openai.chat",
    "openai-completions": "openai.completions",
    "openai-responses": "openai.responses",
    "openai-embeddings": "openai.embeddings",
    "anthropic-messages": "anthropic.messages",
    "anthropic-complete": "anthropic.complete",
    "gemini": "google.generate_content",
    "gemini-embed": "google.embed_content",
    "bedrock-converse": "aws.converse",
    "bedrock-invoke": "aws.invoke",
    "ollama-chat": "ollama.chat",
    "ollama-generate": "ollama.generate",
    "ollama-embed": "ollama.embed",
    "cohere-chat-v1": "cohere.chat",
    "cohere-chat-v2": "cohere.chat",
    "cohere-generate": "cohere.generate",
    "cohere-embed": "cohere.embed",
    "voyage-embed": "voyage.embed",
    "watsonx": "watsonx",
    "writer-chat": "writer.chat",
    "alephalpha": "alephalpha",
}

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STUDIO = "generativelanguage.googleapis.com"
VERTEX = "us-east5-aiplatform.googleapis.com"
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
ASSIST = "cloudcode-pa.googleapis.com"
CHAT_ANSWER = b'{"id":"c1","object":"chat.completion","choices":[{"index":0,"message":{"content":"x"}}]}'


def _post(host: str, path: str, headers: Mapping[str, str] = JSON, port: int = 443) -> Candidate | None:
    return look("POST", host, port, path, headers)


def _settled(
    host: str,
    path: str,
    body: Any,
    answer: bytes = b"",
    status: int | None = None,
    headers: Mapping[str, str] = JSON,
) -> Candidate | None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = _post(host, path, headers)
    if found is None or not (found.certain or sniff(raw)):
        return None
    return settle(found, "POST", path, headers, raw, status, answer)


def _name(found: Candidate | None) -> str | None:
    return found and (found.wire_format or found.operation.value)


# host, path, wire format of certain candidates; "count", "other", None = no LLM, "?" = the body decides
PATHS = [
    ("api.openai.com", "/v1/chat/completions", "openai.chat"),
    ("api.openai.com", "/v1/completions", "openai.completions"),
    ("api.openai.com", "/v1/responses", "openai.responses"),
    ("api.openai.com", "/v1/responses/compact", None),
    ("api.openai.com", "/v1/responses/input_tokens", "count"),
    ("api.openai.com", "/v1/embeddings", "openai.embeddings"),
    ("api.openai.com", "/v1/batches", None),
    ("api.openai.com", "/v1/files", None),
    ("api.openai.com", "/v1/moderations", None),
    ("api.openai.com", "/v1/images/generations", None),
    ("api.openai.com", "/v1/audio/speech", None),
    ("api.openai.com", "/v1/audio/transcriptions", None),
    ("api.openai.com", "/v1/assistants", None),
    ("api.openai.com", "/v1/threads", None),
    ("api.openai.com", "/v1/threads/thread_1/messages", None),
    ("api.openai.com", "/v1/threads/thread_1/runs", None),
    ("api.openai.com", "/v1/traces/ingest", None),
    ("api.openai.com", "/v1/fine_tuning/jobs", None),
    ("api.openai.com", "/v1/realtime/client_secrets", None),
    ("api.openai.com", "/v1/realtime/sessions", None),
    ("chatgpt.com", "/backend-api/codex/responses", "openai.responses"),
    ("chatgpt.com", "/backend-api/codex/analytics-events/events", None),
    ("x.openai.azure.com", "//openai/deployments/d/chat/completions?api-version=2024", "openai.chat"),
    ("x.openai.azure.com", "/openai/v1/responses", "openai.responses"),
    ("x.openai.azure.com", "/openai/deployments/d/embeddings", "openai.embeddings"),
    ("x.services.ai.azure.com", "/models/chat/completions", "openai.chat"),
    ("x.services.ai.azure.com", "/anthropic/v1/messages", "anthropic.messages"),
    ("api.anthropic.com", "/v1/messages?beta=true", "anthropic.messages"),
    ("api.anthropic.com", "/v1/complete", "anthropic.complete"),
    ("api.anthropic.com", "/v1/messages/count_tokens", "count"),
    ("api.anthropic.com", "/v1/messages/batches", None),
    ("api.anthropic.com", "/api/event_logging/v2/batch", None),
    (STUDIO, "/v1beta/models/g:generateContent?key=k", "google.generate_content"),
    (STUDIO, "/v1/models/g:streamGenerateContent", "google.generate_content"),
    (STUDIO, "/v1beta/models/g%3AstreamGenerateContent", "google.generate_content"),
    (STUDIO, "/v1beta/models/g:embedContent", "google.embed_content"),
    (STUDIO, "/v1beta/models/g:batchEmbedContents", "google.embed_content"),
    (STUDIO, "/v1beta/models/g:countTokens", "count"),
    (STUDIO, "/v1beta/models/g:batchGenerateContent", None),
    (STUDIO, "/v1beta/models/imagen-4:predict", None),
    (STUDIO, "/v1beta/models/veo-3:predictLongRunning", None),
    (STUDIO, "/v1beta/models/text-bison:generateText", "other"),
    (STUDIO, "/v1beta/openai/chat/completions", "openai.chat"),
    (STUDIO, "/v1beta/interactions", "google.interactions"),
    (STUDIO, "/upload/v1beta/files", None),
    (STUDIO, "/v1beta/cachedContents", None),
    (VERTEX, "/v1/projects/p/locations/l/publishers/anthropic/models/c:rawPredict",
     "anthropic.messages"),
    (VERTEX,
     "/v1/projects/p/locations/l/publishers/anthropic/models/c@1:streamRawPredict", "anthropic.messages"),
    (VERTEX,
     "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict", "count"),
    (VERTEX, "/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict",
     "openai.chat"),
    (VERTEX, "/v1/projects/p/locations/l/endpoints/openapi/chat/completions",
     "openai.chat"),
    ("aiplatform.googleapis.com", "/v1/publishers/google/models/gemini-2.5-pro:generateContent",
     "google.generate_content"),
    (VERTEX, "/v1/projects/p/locations/l/publishers/google/models/t:predict", "?"),
    (ASSIST, "/v1internal:streamGenerateContent?alt=sse", "google.generate_content"),
    (ASSIST, "/v1internal:loadCodeAssist", None),
    (ASSIST, "/v1internal:countTokens", "count"),
    (BEDROCK, "/model/amazon.nova-lite-v1%3A0/converse", "aws.converse"),
    (BEDROCK, "/model/amazon.nova-lite-v1:0/converse-stream", "aws.converse"),
    (BEDROCK, "/model/x/invoke", "aws.invoke"),
    (BEDROCK,
     "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/invoke-with-response-stream",
     "aws.invoke"),
    (BEDROCK, "/model/x/count-tokens", "count"),
    (BEDROCK, "/model/amazon.nova-sonic/invoke-with-bidirectional-stream", "other"),
    (BEDROCK, "/model/amazon.titan-image-generator-v1/invoke", None),
    ("bedrock-mantle.us-east-1.api.aws", "/openai/v1/responses", "openai.responses"),
    ("api.moonshot.cn", "/v1/tokenizers/estimate-token-count", "count"),
    ("open.bigmodel.cn", "/api/paas/v4/tokenizer", "count"),
    ("gateway.corp.example", "/utils/token_counter", "count"),
    ("localhost", "/v1/internal/token-count", "count"),
    ("hunyuan.tencentcloudapi.com", "/", "other"),
    ("api.hunyuan.cloud.tencent.com", "/v1/chat/completions", "openai.chat"),
    ("api.mistral.ai", "/v1/fim/completions", "openai.completions"),
    ("api.mistral.ai", "/v1/agents/completions", "openai.chat"),
    ("api.mistral.ai", "/v1/conversations", "other"),
    ("api.mistral.ai", "/v1/datalake/events", None),
    ("api.reka.ai", "/v1/chat", "other"),
    ("chatgpt.com", "/backend-api/conversation", "other"),
    ("chatgpt.com", "/backend-anon/f/conversation", "other"),
    ("api.deepinfra.com", "/v1/inference/meta-llama/Meta-Llama-3-8B-Instruct", "other"),
    ("api.deepinfra.com", "/v1/openai/chat/completions", "openai.chat"),
    ("dashscope.aliyuncs.com", "/api/v1/services/aigc/text-generation/generation", "other"),
    ("dashscope.aliyuncs.com", "/api/v1/services/aigc/text2image/image-synthesis", "?"),
    ("dashscope.aliyuncs.com", "/compatible-mode/v1/chat/completions", "openai.chat"),
    ("api.openai.com", "/v1/conversations", "?"),
    ("api.x.ai", "/xai_api.Chat/GetCompletionChunk", "other"),
    ("server.codeium.com", "/exa.api_server_pb.ApiServerService/GetChatMessage", "other"),
    ("t.api.augmentcode.com", "/chat-stream", "other"),
    ("bedrock-agent-runtime.us-east-1.amazonaws.com", "/retrieveAndGenerate", "other"),
    ("inference.generativeai.us-chicago-1.oci.oraclecloud.com", "/20231130/actions/chat", "other"),
    ("api.replicate.com", "/v1/models/meta/llama-2-70b-chat/predictions", "other"),
    ("api.replicate.com", "/v1/models/black-forest-labs/flux-schnell/predictions", "?"),
    ("api.groq.com", "/openai/v1/chat/completions", "openai.chat"),
    ("api.cohere.com", "/v1/chat", "cohere.chat"),
    ("api.cohere.com", "/v2/chat", "cohere.chat"),
    ("api.cohere.com", "/v1/generate", "cohere.generate"),
    ("api.cohere.com", "/v2/embed", "cohere.embed"),
    ("api.cohere.com", "/v2/rerank", None),
    ("api.cohere.com", "/v1/tokenize", "count"),
    ("api.writer.com", "/v1/chat", "writer.chat"),
    ("api.voyageai.com", "/v1/embeddings", "voyage.embed"),
    ("api.voyageai.com", "/v1/rerank", None),
    ("api.aleph-alpha.com", "/complete", "alephalpha"),
    ("us-south.ml.cloud.ibm.com", "/ml/v1/text/generation?version=1", "watsonx"),
    ("us-south.ml.cloud.ibm.com", "/ml/v1/text/chat_stream", "watsonx"),
    ("us-south.ml.cloud.ibm.com", "/ml/v1-beta/generation/text_stream", "watsonx"),
    ("openrouter.ai", "/api/v1/chat/completions", "openai.chat"),
    ("api.kilo.ai", "/api/openrouter/chat/completions", "openai.chat"),
    ("opencode.ai", "/zen/v1/messages", "anthropic.messages"),
    ("api.individual.githubcopilot.com", "/responses", "openai.responses"),
    ("api.individual.githubcopilot.com", "/mcp/readonly", None),
    ("copilot-proxy.githubusercontent.com", "/v1/engines/gpt-4o-copilot/completions", "openai.completions"),
    ("x.azuredatabricks.net", "/serving-endpoints/chat/completions", "openai.chat"),
    ("x.snowflakecomputing.com", "/api/v2/cortex/v1/chat/completions", "openai.chat"),
    ("open.bigmodel.cn", "/api/paas/v4/chat/completions", "openai.chat"),
    ("api.cloudflare.com", "/client/v4/accounts/a/ai/v1/chat/completions", "openai.chat"),
    ("api.cloudflare.com", "/client/v4/accounts/a/ai/run/@cf/meta/llama-3-8b", "other"),
    ("api.cloudflare.com", "/client/v4/accounts/a/ai/run/@cf/bytedance/stable-diffusion-xl-lightning", None),
    ("api.cloudflare.com", "/client/v4/zones", "?"),
    ("ai-gateway.vercel.sh", "/v3/ai/language-model", "other"),
    ("api2.cursor.sh", "/aiserver.v1.ChatService/StreamUnifiedChatWithTools", "other"),
    ("localhost", "/api/chat", "ollama.chat"),
    ("localhost", "/api/generate", "ollama.generate"),
    ("localhost", "/api/embed", "ollama.embed"),
    ("localhost", "/mcp", None),
    ("gateway.corp.example", "/team/7/V1/CHAT/Completions/", "openai.chat"),
    ("gateway.corp.example", "/x/v1%2Fmessages", "anthropic.messages"),
    ("gateway.corp.example", "/ask", "?"),
    ("us.i.posthog.com", "/v1/chat/completions", None),
]  # fmt: skip


@pytest.mark.parametrize(("host", "path", "expected"), PATHS, ids=[f"{h}{p}" for h, p, _ in PATHS])
def test_a_path_tells_the_wire_format(host: str, path: str, expected: str | None) -> None:
    found = _post(host, path)

    if expected is None:
        assert found is None
    elif expected == "?":
        assert found is not None
        assert not found.certain
    elif expected == "count":
        assert found is not None
        assert found.operation is Operation.COUNT_TOKENS
    elif expected == "other":
        assert found is not None
        assert (found.wire_format, found.operation, found.certain) == (None, Operation.OTHER, True)
    else:
        assert found is not None
        assert (found.wire_format, found.certain) == (expected, True)
        assert found.operation is OPERATIONS[expected]


@pytest.mark.parametrize("row", TABLE["tails"].items(), ids=lambda row: row[0])
def test_every_tail_stands_under_any_prefix(row: tuple[str, str]) -> None:
    tail, value = row
    found = _post("gateway.corp.example", f"/some/prefix/{tail}")

    if value == "none":
        assert found is None
    elif value == "count":
        assert found is not None
        assert found.operation is Operation.COUNT_TOKENS
    else:
        assert found is not None
        assert (found.wire_format, found.certain) == (value.removeprefix("?"), value[0] != "?")


@pytest.mark.parametrize("row", TABLE["verbs"].items(), ids=lambda row: row[0])
def test_every_verb_of_google_is_known(row: tuple[str, str]) -> None:
    verb, value = row
    found = _post("generativelanguage.googleapis.com", f"/v1beta/models/some-model:{verb}")

    assert (found is None) == (value == "none")


def test_every_format_of_the_tables_has_an_operation() -> None:
    named = {v.removeprefix("?") for k in ("tails", "verbs", "bedrock") for v in TABLE[k].values()}
    named |= {v for rows in TABLE["at"].values() for v in rows.values()}

    assert named - {"none", "count", "other"} <= set(OPERATIONS)


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "DELETE", "PUT", "PATCH", "CONNECT"])
def test_other_methods_are_no_calls(method: str) -> None:
    assert look(method, "api.openai.com", 443, "/v1/chat/completions", JSON) is None


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("api.openai.com", "/v1/models"),
        ("api.openai.com", "/v1/chat/completions"),
        ("api.openai.com", "/v1/responses/resp_0123456789abcdef/input_items"),
        ("api.anthropic.com", "/v1/models"),
        ("surveys.example", "/api/responses/6f9619ff8b86d011b42d00cf4fc964ff"),
        ("api.openai.com", "/"),
    ],
)
def test_reading_something_is_no_call(host: str, path: str) -> None:
    assert look("GET", host, 443, path, {}) is None


def test_a_polled_answer_is_no_new_generation() -> None:
    path = "/v1/responses/resp_68c7a5b2d8a4819f?stream=true"
    found = look("GET", "api.openai.com", 443, path, {})

    assert found == Candidate("openai.responses", Operation.CHAT, "openai", certain=True, poll=True)
    assert settle(found, "GET", path, {}, None, 200, b'{"id":"resp_1","object":"response"}') == found
    assert settle(found, "GET", path, {}, None, 404, b'{"error":{"message":"not found"}}') is None


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("api.openai.com", "/v1/responses", "openai.responses"),
        ("chatgpt.com", "/backend-api/codex/responses", "openai.responses"),
        ("api.openai.com", "/v1/realtime?model=gpt-realtime", "openai.realtime"),
        ("x.openai.azure.com", "/openai/realtime?deployment=d", "openai.realtime"),
        ("api.x.ai", "/v1/realtime", "openai.realtime"),
        (STUDIO,
         "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k",
         "google.live"),
        ("us-central1-aiplatform.googleapis.com",
         "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent", "google.live"),
        ("api.openai.com", "/v1/notifications", None),
    ],
)  # fmt: skip
def test_a_websocket_is_known_by_its_path(host: str, path: str, expected: str | None) -> None:
    found = look("GET", host, 443, path, SOCKET)

    assert _name(found) == expected


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com",
        "API.Anthropic.COM.",
        "x.openai.azure.com",
        "bedrock-runtime.us-east-1.amazonaws.com",
        "europe-west1-aiplatform.googleapis.com",
        "api.individual.githubcopilot.com",
        "api.business.githubcopilot.com",
        "abc.snowflakecomputing.com",
        "adb-1.2.azuredatabricks.net",
        "api.kimi.com",
        "localhost",
        "127.0.0.1",
    ],
)
def test_hosts_that_may_serve_a_model_are_decrypted(host: str) -> None:
    assert serves_llm(host)


@pytest.mark.parametrize(
    "host",
    [
        "statsig.anthropic.com",
        "ab.chatgpt.com",
        "play.googleapis.com",
        "telemetry.individual.githubcopilot.com",
        "us.i.posthog.com",
        "app.posthog.com",
        "otel.cline.bot",
        "data.cline.bot",
        "telemetry-logs.kimi.com",
        "gb4w8c3ygj-default-sea.rum.aliyuncs.com",
        "experiments.mistral.services",
        "oauth2.googleapis.com",
        "www.googleapis.com",
        "console.mistral.ai",
        "chat.mistral.ai",
        "github.com",
        "api.github.com",
        "auth.openai.com",
        "packages.example.org",
        "models.dev",
        "models.opencode.ai",
        "raw.githubusercontent.com",
        "api.continue.dev",
        "bedrock.us-east-1.amazonaws.com",
        "example.com",
        "",
    ],
)
def test_other_hosts_are_tunnelled(host: str) -> None:
    assert not serves_llm(host)


def _body(rec: Mapping[str, Any], side: str) -> bytes:
    text = rec.get(f"{side}_body")
    if text is None:
        return b""
    if rec.get(f"{side}_body_encoding") == "base64":
        raw = base64.b64decode(text)
        return zlib.decompressobj(31).decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    return str(text).encode("utf-8", "surrogatepass")


def _disguised(rec: Mapping[str, Any], disguise: str) -> str | None:
    """What an exchange is taken for, in a disguise."""
    url = urlsplit(rec["url"])
    headers = {k.lower(): v for k, v in rec["request_headers"]}
    host, path = url.hostname or "", url.path + (f"?{url.query}" if url.query else "")
    body: bytes | None = _body(rec, "request")
    head = _body(rec, "response")[:16384]
    chance = random.Random(rec["id"])
    match disguise:
        case "address":
            host = "10.20.30.40"
        case "prefix":
            host, path = "gateway.corp.example", f"//a/proxy//team-1{url.path.upper()}/?x=1"
        case "encoded":
            host = "gateway.corp.example"
            path = "".join(f"%{ord(c):02x}" if c != "/" and chance.random() < 0.2 else c for c in url.path)
        case "no content type":
            host, headers = "10.20.30.40", {}
        case "body not kept":
            body = None
        case "cut request":
            body = (body or b"")[: chance.randrange(len(body or b"") + 1)]
        case "cut answer":
            host, head = "10.20.30.40", head[: chance.randrange(len(head) + 1)]
        case "no answer":
            host, head = "10.20.30.40", b""
    found = look(rec["method"], host, url.port or 443, path, headers)
    if found is None or not (found.certain or sniff(body or b"")):
        return None
    return _name(settle(found, rec["method"], path, headers, body, rec["status"], head))


DISGUISES = [
    "none", "address", "prefix", "encoded", "no content type", "body not kept", "cut request", "cut answer",
    "no answer",
]  # fmt: skip


@pytest.mark.parametrize("disguise", DISGUISES)
def test_recorded_exchanges_are_recognised_in_every_disguise(disguise: str) -> None:
    wrong = []
    for rec in corpus():
        got = _disguised(rec, disguise)
        expected = FORMATS.get(rec["expected"]["wire_format"] or "")
        if rec["llm"] is True and got != expected and (disguise, got) != ("no answer", "openai.completions"):
            wrong.append((rec["url"], expected, got))
        if rec["llm"] is False and got is not None:
            wrong.append((rec["url"], None, got))
    assert wrong == []


def test_side_endpoints_are_generations_or_counts_where_they_are_listed() -> None:
    listed = {_disguised(rec, "none") for rec in corpus() if rec["llm"] is None}

    assert listed <= {None, "count_tokens", "other"}


@pytest.mark.parametrize(
    ("path", "body", "answer", "expected"),
    [
        ("/ask", CHAT, CHAT_ANSWER, "openai.chat"),
        ("/ask", CHAT, b"", "openai.chat"),
        ("/ask", CHAT | {"system": "s", "max_tokens": 5},
         b'{"type":"message","role":"assistant"}', "anthropic.messages"),
        ("/ask", CHAT, b'event: message_start\ndata: {"type":"message_start"}', "anthropic.messages"),
        ("/ask", {"contents": [{"parts": [{"text": "x"}]}]},
         b'{"candidates":[{"content":{}}]}', "google.generate_content"),
        ("/ask", CHAT,
         b'{"model":"m","created_at":"2025","message":{"role":"assistant"},"done":false}', "ollama.chat"),
        ("/ask", {"model": "m", "input": "x"}, b'{"id":"r","object":"response"}', "openai.responses"),
        ("/ask", {"model": "m", "input": "x"},
         b'{"object":"list","data":[{"embedding":[1]}]}', "openai.embeddings"),
        ("/ask", {"model": "m", "prompt": "x"},
         b'{"object":"text_completion","choices":[]}', "openai.completions"),
        ("/ask", {"message": "x", "chat_history": []},
         b'{"response_id":"1","generation_id":"2"}', "cohere.chat"),
        ("/ask", {"inputs": "x", "parameters": {}}, b'[{"generated_text":"y"}]', "other"),
        ("/completion", {"prompt": "x", "n_predict": 5}, b'{"content":"y","tokens_evaluated":3}', "other"),
        ("/api/v1/generate", {"prompt": "x", "max_length": 50}, b'{"results":[{"text":"y"}]}', "other"),
        ("/v1/completions", {"prompt": "x"}, b'{"object":"text_completion","choices":[]}',
         "openai.completions"),
        ("/v1/embeddings", {"input": "x"}, b'{"object":"list","data":[{"embedding":[1]}]}',
         "openai.embeddings"),
        ("/generation", {"model": "qwen-max", "input": {"messages": CHAT["messages"]}},
         b'{"output":{"choices":[]},"usage":{"input_tokens":2,"output_tokens":3}}', "other"),
        ("/ask", CHAT, b'{"reply":"hello"}', "other"),
        ("/ask", CHAT, b'{"choices":[{"logprobs":{"a":[]},"delta":{"content":"x"}}]}', "openai.chat"),
        ("/cortex/inference:complete", CHAT, b"", "openai.chat"),
        ("/api/chat", CHAT, CHAT_ANSWER, "openai.chat"),
        ("/v1/completions", CHAT, b"", "openai.chat"),
        ("/serving-endpoints/x/invocations", {"messages": CHAT["messages"]}, b"", "openai.chat"),
    ],
)  # fmt: skip
def test_bodies_tell_the_format_where_the_path_does_not(
    path: str, body: Any, answer: bytes, expected: str
) -> None:
    assert _name(_settled("gateway.corp.example", path, body, answer, 200 if answer else None)) == expected


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/api/memories", {"messages": CHAT["messages"], "user_id": "u"}, b'{"results":[]}'),
        ("/v2/guard", {"messages": CHAT["messages"]}, b'{"flagged":false}'),
        ("/embed", {"model": "e5", "inputs": [{"text": "x"}]}, b'{"data":[],"usage":{"total_tokens":3}}'),
        ("/v1/messages", {"to": "+49", "body": "hi"}, b'{"sid":"SM1"}'),
        ("/api/responses", {"survey": 3, "answers": []}, b'{"ok":true}'),
        ("/v1/completions", {"query": "x"}, b'{"hits":[]}'),
        ("/rpc", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"prompt": "x"}}, b"{}"),
        ("/tts", {"model": "tts", "input": "hello", "voice": "x", "stream": True}, b"ID3"),
        ("/make", {"prompt": "a cat", "size": "1024"}, b'{"images":["x"]}'),
        ("/completions", {"prompt": "abc", "limit": 5}, b'{"suggestions":["abcd"]}'),
        ("/embeddings", {"id": "1", "input": [0.1, 0.2]}, b'{"ok":true}'),
        ("/forms/1/responses", {"input": "x", "answers": []}, b'{"id":"1"}'),
        ("/api/generate", {"prompt": "a poster"}, b'{"job":"1"}'),
        ("/api/generate", {}, b'{"ok":true}'),
        ("/search", {"query": "x"}, b'{"results":[]}'),
        ("/batch/", {"batch": [{"properties": {"model": "gpt"}}]}, b'{"status":1}'),
    ],
)
def test_other_services_are_no_llm_calls(path: str, body: Any, answer: bytes) -> None:
    assert _settled("service.example", path, body, answer, 200) is None


def test_a_refused_request_keeps_its_format() -> None:
    body = {"foo": 1}

    assert (
        _name(_settled("api.openai.com", "/v1/chat/completions", body, b'{"error":{}}', 400)) == "openai.chat"
    )
    assert _name(_settled("cloud.zed.dev", "/completions", {"provider_request": {}}, b"{}", 200)) == "other"


def test_what_only_the_request_said_is_provisional_until_the_answer_came() -> None:
    early = _settled("gateway.corp.example", "/ask", CHAT)
    late = _settled("gateway.corp.example", "/ask", CHAT, b'{"type":"message","role":"assistant"}', 200)
    sure = _settled("gateway.corp.example", "/v1/chat/completions", CHAT)

    assert early is not None
    assert (early.wire_format, early.certain) == ("openai.chat", False)
    assert late is not None
    assert (late.wire_format, late.certain) == ("anthropic.messages", True)
    assert sure is not None
    assert sure.certain


@pytest.mark.parametrize(
    ("path", "body", "operation"),
    [
        ("/model/amazon.titan-embed-text-v2%3A0/invoke", {"inputText": "x"}, Operation.EMBEDDINGS),
        ("/model/cohere.embed-english-v3/invoke", {"texts": ["x"]}, Operation.EMBEDDINGS),
        ("/model/amazon.titan-text-express-v1/invoke", {"inputText": "x"}, Operation.TEXT_COMPLETION),
        ("/model/anthropic.claude/invoke", CHAT, Operation.CHAT),
        ("/model/cohere.command-r-v1:0/invoke", {"message": "x", "chat_history": []}, Operation.CHAT),
    ],
)
def test_bedrock_s_operation_depends_on_model_and_body(path: str, body: Any, operation: Operation) -> None:
    found = _settled("bedrock-runtime.us-east-1.amazonaws.com", path, body)

    assert found is not None
    assert (found.wire_format, found.operation) == ("aws.invoke", operation)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"m","messages":[]}', True),
        (b'\xef\xbb\xbf \n{"prompt":"x"}', True),
        (b'{"a":"' + b"x" * 100_000 + b'","messages":[]}', True),
        (b"\x1f\x8b\x08\x00rest", True),
        (b"\x28\xb5\x2f\xfdrest", True),
        (b'{"query":"x"}', False),
        (b'{"jsonrpc":"2.0","method":"x","params":{"messages":[]}}', False),
        (b"a=1&messages=2", False),
        (b"", False),
    ],
)
def test_a_glance_at_a_body_tells_what_may_be_a_request(body: bytes, expected: bool) -> None:
    assert sniff(body) is expected


def test_predictions_of_other_models_are_no_llm_calls() -> None:
    body = {"instances": [[1.0, 2.0]]}
    text = {"instances": [{"content": "x"}]}

    assert (
        _settled("serving.example", "/v1/models/half_plus_two:predict", body, b'{"predictions":[2.5]}', 200)
        is None
    )
    assert (
        _settled(VERTEX, "/v1/projects/p/locations/l/endpoints/7:predict", body, b'{"predictions":[]}', 200)
        is None
    )
    path = "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict"
    found = _settled(VERTEX, path, text, b'{"predictions":[{"embeddings":{"values":[1]}}]}', 200)
    assert found is not None
    assert (found.wire_format, found.operation) == ("google.predict", Operation.EMBEDDINGS)


def test_the_recorder_s_side_stays_light() -> None:
    program = "import kimi_mitm.recognise, kimi_mitm.redact, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    heavy = {"mitmproxy", "fastapi", "pydantic", "sqlalchemy", "tiktoken", "genai_prices", "httpx", "asyncio"}
    assert heavy & set(done.stdout.split()) == set()


def test_deep_nesting_and_broken_text_are_survived() -> None:
    for body in (
        b'{"messages":' + b"[" * 100_000,
        b'{"model":"\xff","messages":[{"role":"user"}]}',
        b"[" * 50_000,
    ):
        found = _post("api.openai.com", "/v1/chat/completions")
        assert found is not None
        assert settle(found, "POST", "/v1/chat/completions", JSON, body, None, b"[" * 50_000) is not None


@given(
    st.text(max_size=60),
    st.text(max_size=60),
    st.text(max_size=120),
    st.binary(max_size=300),
    st.binary(max_size=300),
)
def test_nothing_raises(method: str, host: str, path: str, body: bytes, head: bytes) -> None:
    look(method, host, 443, path, {})
    for found in (look("POST", host, 443, path, {}), look("GET", host, 443, path, SOCKET)):
        sniff(body)
        if found is not None:
            settle(found, "POST", path, {}, body, 200, head)
    assert is_other(host) in (True, False)


@given(
    st.dictionaries(
        st.sampled_from(
            ["model", "messages", "input", "prompt", "contents", "system", "message", "inputs", "tools"]
        ),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4),
    ),
    st.sampled_from([path for _, path, _ in PATHS]),
)
def test_wrong_types_are_survived(body: dict[str, Any], path: str) -> None:
    _settled("gateway.corp.example", path, body)
    _settled("api.openai.com", path, body, b"{}", 200)


@pytest.mark.parametrize(
    ("host", "path", "body", "answer", "expected"),
    [
        ("api.lab.example", "/v1/chat", CHAT, CHAT_ANSWER, "writer.chat"),
        ("gateway.ai.cloudflare.com", "/v1/a/g/writer/v1/chat", CHAT, CHAT_ANSWER, "writer.chat"),
        ("api.reka.ai", "/v1/chat", CHAT, b'{"responses":[],"usage":{"input_tokens":3}}', "other"),
        (VERTEX, "/v1/projects/p/locations/l/endpoints/1:predict",
         {"instances": [{"@requestFormat": "chatCompletions", "messages": CHAT["messages"]}]},
         b'{"predictions":{"object":"chat.completion","choices":[]}}', "google.predict"),
        (VERTEX, "/v1/projects/p/locations/l/endpoints/1:predict", {"instances": [{"a": 1.0}]},
         b'{"predictions":[[0.5]]}', None),
    ],
)  # fmt: skip
def test_who_operates_the_host_has_a_say(
    host: str, path: str, body: Any, answer: bytes, expected: str | None
) -> None:
    assert _name(_settled(host, path, body, answer, 200 if answer else None)) == expected
