"""Is this exchange an LLM call, and in which wire format?

`look` decides from method, host, path and headers, on the proxy's loop: dictionary lookups and at
most a few compiled patterns. Where the path says too little, `sniff` looks at the body's first bytes,
and `settle`, in the engine, decides by the shapes of body and answer, under any prefix or disguise.
Counting endpoints are recognised as `Operation.COUNT_TOKENS`, so that nobody takes them for answers;
batches, files, model lists, telemetry and MCP are None. Nothing here raises on any input.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

from kimi_mitm import shapes
from kimi_mitm.answers import of_answer
from kimi_mitm.providers import is_local, is_other, operator_of, served_by_host
from kimi_mitm.records import Operation
from kimi_mitm.verdict import Case, decide, is_settled

__all__ = ["OPERATIONS", "Candidate", "look", "serves_llm", "settle", "sniff"]

sniff = shapes.sniff

OPERATIONS: Mapping[str, Operation] = {
    "openai.chat": Operation.CHAT,
    "openai.completions": Operation.TEXT_COMPLETION,
    "openai.responses": Operation.CHAT,
    "openai.embeddings": Operation.EMBEDDINGS,
    "openai.realtime": Operation.CHAT,
    "anthropic.messages": Operation.CHAT,
    "anthropic.complete": Operation.TEXT_COMPLETION,
    "google.generate_content": Operation.GENERATE_CONTENT,
    "google.embed_content": Operation.EMBEDDINGS,
    "google.interactions": Operation.GENERATE_CONTENT,
    "google.live": Operation.GENERATE_CONTENT,
    "google.predict": Operation.TEXT_COMPLETION,
    "aws.converse": Operation.CHAT,
    "aws.invoke": Operation.CHAT,
    "ollama.chat": Operation.CHAT,
    "ollama.generate": Operation.TEXT_COMPLETION,
    "ollama.embed": Operation.EMBEDDINGS,
    "cohere.chat": Operation.CHAT,
    "cohere.generate": Operation.TEXT_COMPLETION,
    "cohere.embed": Operation.EMBEDDINGS,
    "voyage.embed": Operation.EMBEDDINGS,
    "watsonx": Operation.TEXT_COMPLETION,
    "writer.chat": Operation.CHAT,
    "alephalpha": Operation.TEXT_COMPLETION,
}
"""Each wire format's usual operation."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a request may be.

    `certain`: path and host say it, the body need not be asked. `poll`: a stored answer is fetched
    (`GET …/responses/{id}`), no new generation. Not certain, with a `wire_format`: the path suggests it.
    """

    wire_format: str | None
    operation: Operation
    served_by: str | None
    certain: bool
    poll: bool = False


def serves_llm(host: str) -> bool:
    """Whether the host may serve an LLM API, so that its TLS is worth decrypting: hosts of the tables,
    and this machine. Telemetry, sign-in and catalogue hosts of the same vendors are False."""
    return operator_of(host) is not None or (is_local(host) and not is_other(host))


_UNREADABLE = "other"
_COUNT = "count"
_NONE = "none"


def _load() -> dict[str, Any]:
    return tomllib.loads(files("kimi_mitm").joinpath("paths.toml").read_text(encoding="utf-8"))


_TABLE = _load()
_TAILS: Mapping[str, str] = _TABLE["tails"]
_VERBS: Mapping[str, str] = _TABLE["verbs"]
_BEDROCK: Mapping[str, str] = _TABLE["bedrock"]
_AT: Mapping[str, Mapping[str, str]] = _TABLE["at"]
_BRANCHES: frozenset[str] = frozenset(_TABLE["branches"]["names"])
_OPAQUE: Mapping[str, re.Pattern[str]] = {k: re.compile(v) for k, v in _TABLE["opaque"].items()}


_BINARY = re.compile(
    r"(?:multipart/|image/|audio/|video/|font/|application/(?:grpc|x-protobuf|protobuf|proto|connect\+proto|"
    r"x-ndjson-rpc|pdf|zip|gzip|x-tar|wasm))"
)
_NO_CHAT_MODEL = re.compile(
    r"stability\.|titan-image|nova-(?:canvas|reel)|luma\.|rerank|marengo|stable-diffusion|/flux|dreamshaper|"
    r"whisper|resnet|melotts|m2m100|imagen|imagetext|/veo"
)
_IS_EMBEDDING = re.compile(r"embed")


def look(method: str, host: str, port: int, path: str, headers: Mapping[str, str]) -> Candidate | None:
    """What a request may be, before its body is known; None when it is surely no LLM exchange.

    `host` is the name that the client asked for (never an address when there is a name), `path` may
    carry a query, `headers` have lower-case names or ignore case. Takes a few microseconds.
    """
    if is_other(host):
        return None
    method = method.upper()
    if method != "POST" and method != "GET":
        return None
    plain = plain_path(path)
    served_by = served_by_host(host, port)
    if method == "GET":
        return _look_get(plain, served_by, headers)
    found = _by_path(plain, served_by)
    if found is None:
        opaque = _OPAQUE.get(served_by or "")
        if opaque is not None and opaque.search(plain):
            found = _NONE if _NO_CHAT_MODEL.search(plain) else _UNREADABLE
        elif _BINARY.match(headers.get("content-type", "").lower()):
            return None
        else:
            return Candidate(None, Operation.OTHER, served_by, certain=False)
    if found == _NONE:
        return None
    if found == _COUNT:
        return Candidate(None, Operation.COUNT_TOKENS, served_by, certain=True)
    if found == _UNREADABLE:
        return Candidate(None, Operation.OTHER, served_by, certain=True)
    if found[0] == "?":
        return Candidate(found[1:], OPERATIONS[found[1:]], served_by, certain=False)
    return Candidate(found, OPERATIONS[found], served_by, certain=True)


def plain_path(path: str) -> str:
    """The path as it is compared: no query, decoded, lower-case, single slashes, none at the end."""
    path = path.partition("?")[0].partition("#")[0][-_LONGEST_PATH:]
    if "%" in path:
        path = unquote(path)
    if "//" in path:
        path = _SLASHES.sub("/", path)
    return path.rstrip("/ ").lower()


_LONGEST_PATH = 4096
_SLASHES = re.compile(r"/{2,}")


def _by_path(path: str, served_by: str | None) -> str | None:
    """A value of the tables for the path, or None when it says nothing."""
    head, _, last = path.rpartition("/")
    previous = head.rpartition("/")[2]
    if last in _BEDROCK and "/model/" in path:
        if _NO_CHAT_MODEL.search(path):
            return _NONE
        return _BEDROCK[last]
    if ":" in last:
        verb = last.rpartition(":")[2]
        if verb in _VERBS:
            return _by_verb(path, _VERBS[verb])
    found = _TAILS.get(f"{previous}/{last}") or _TAILS.get(last)
    if found == _NONE:
        return _NONE
    if found is not None and found[0] != "?" and found not in {"openai.completions", "openai.embeddings"}:
        return _at(served_by, found)
    if not _BRANCHES.isdisjoint(path.split("/")):
        return _NONE
    return _at(served_by, found) if found else None


def _at(served_by: str | None, found: str) -> str:
    rows = _AT.get(served_by or "")
    return rows.get(found, found) if rows else found


def _by_verb(path: str, found: str) -> str:
    if found != "?google.predict":
        return found
    if "publishers/anthropic/" in path:
        return _COUNT if "count-tokens" in path else "anthropic.messages"
    if "publishers/mistralai/" in path:
        return "openai.chat"
    return found if not _NO_CHAT_MODEL.search(path) else _NONE


def _look_get(path: str, served_by: str | None, headers: Mapping[str, str]) -> Candidate | None:
    if headers.get("upgrade", "").lower() == "websocket":
        name = _socket(path)
        if name is None:
            return None
        return Candidate(name, OPERATIONS[name], served_by, certain=True)
    polled = _POLL.search(path)
    if polled is None or (served_by is None and not polled[2].startswith("resp_")):
        return None
    name = "openai.responses" if polled[1] == "responses" else "google.interactions"
    return Candidate(name, OPERATIONS[name], served_by, certain=True, poll=True)


_POLL = re.compile(r"/(responses|interactions)/([a-z0-9_=-]{12,})$")


def _socket(path: str) -> str | None:
    if path.endswith("/responses"):
        return "openai.responses"
    if path.endswith("/realtime"):
        return "openai.realtime"
    if path.endswith("bidigeneratecontent"):
        return "google.live"
    return None


def settle(
    candidate: Candidate,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    status: int | None,
    response_head: bytes,
) -> Candidate | None:
    """What an exchange is, by its decoded request body and the answer's decoded first kilobytes.

    `body` is None when it was not kept, `response_head` empty while there is no answer. A `wire_format` of
    None with `Operation.OTHER` is an LLM call that can't be read; None is no LLM call. What comes back
    `certain` is final; else the request alone said it, and the answer may say something else: ask again.
    """
    if candidate.poll:
        return candidate if _is_polled(candidate, response_head) else None
    if candidate.operation is Operation.COUNT_TOKENS or method.upper() == "GET":
        return candidate
    if candidate.certain and candidate.wire_format is None:
        return candidate
    plain = plain_path(path)
    asked = shapes.of_request(body or b"")
    case = Case(
        suggested=candidate.wire_format,
        certain=candidate.certain,
        known=candidate.served_by is not None,
        path=plain,
        headers=headers,
        asked=asked,
        body=body,
        head=response_head,
        status=status,
    )
    name = decide(case)
    if name is None:
        return None
    final = bool(response_head) or status is not None or is_settled(case, name)
    if name == _UNREADABLE:
        return replace(candidate, wire_format=None, operation=Operation.OTHER, certain=final)
    return replace(candidate, wire_format=name, operation=_operation(name, plain, asked), certain=final)


def _is_polled(candidate: Candidate, head: bytes) -> bool:
    return not head or of_answer(head) == candidate.wire_format


def _operation(name: str, path: str, asked: shapes.Asked) -> Operation:
    if name == "aws.invoke" or name == "google.predict":
        if _IS_EMBEDDING.search(path) or "gecko" in path:
            return Operation.EMBEDDINGS
        if asked.has("messages", "schemaVersion", "message", "chat_history"):
            return Operation.CHAT
        return Operation.TEXT_COMPLETION if asked else OPERATIONS[name]
    if name == "watsonx":
        if path.endswith(("text/chat", "text/chat_stream")):
            return Operation.CHAT
        if path.endswith("embeddings"):
            return Operation.EMBEDDINGS
    return OPERATIONS[name]
