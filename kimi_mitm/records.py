"""The frozen values that every other module speaks in; nothing here does anything.

Tokens are whole numbers, money is `Decimal` US dollars, times are aware UTC datetimes,
durations are milliseconds. Unknown is None, never 0. Names follow OpenTelemetry's
GenAI conventions where there is one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal


class Operation(enum.StrEnum):
    """OpenTelemetry's `gen_ai.operation.name`, as far as we tell them apart."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
    GENERATE_CONTENT = "generate_content"
    COUNT_TOKENS = "count_tokens"
    OTHER = "other"


class Source(enum.StrEnum):
    """What a figure rests on. `USAGE` is the provider's own report; the rest are fused (see fusion)."""

    USAGE = "usage"
    COMPILE_CHAT = "compile_chat"
    API_ERROR = "api_error"
    PROXY = "proxy"
    LOGS = "logs"
    HYBRID = "hybrid"


class EstimateKind(enum.StrEnum):
    """How an estimate was made, best first."""

    EXACT = "exact"
    CALIBRATED = "calibrated"
    PRIOR = "prior"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token figures in one convention, whatever the provider's.

    `input_tokens`: all prompt tokens, those read from a cache and written to it included.
    `output_tokens`: all generated tokens, reasoning included. The next three are parts of these two.
    `billed_input_tokens`: what several hidden passes over the context were billed in all, where the
    provider says so apart (Anthropic's `iterations`); never part of the others.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    billed_input_tokens: int | None = None
    cost_usd: Decimal | None = None

    def __bool__(self) -> bool:
        return self != NO_USAGE


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Problem:
    """An error, in the provider's own words or in ours (`aborted`, `no_answer`, …); secrets removed."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call that the model generated; `arguments` is the text as it was streamed."""

    name: str
    arguments: str
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a request's body and path say, before any counting.

    `hidden`: reasons why the prompt can't be seen whole in this request, empty when it can:
    `previous_response_id`, `conversation`, `cached_content`, `server_tools`, `remote_media`, `partial_body`.
    `issued_ids`: ids that the provider issued and that tie this turn to earlier ones (previous response,
    conversation, thread).
    `generates` is False for a warm-up that must not count as an answer (Codex's `generate: false`).
    """

    model: str | None = None
    stream: bool | None = None
    hidden: frozenset[str] = frozenset()
    issued_ids: tuple[str, ...] = ()
    previous_response_id: str | None = None
    generates: bool = True
    background: bool = False
    fim: bool = False
    max_output_tokens: int | None = None
    output_schema: bool = False
    tool_count: int = 0
    message_count: int = 0
    operation: Operation | None = None
    """Where one wire format serves several operations (Bedrock invoke, Vertex predict, watsonx): which one
    this is; None means the format's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was read of an answer. `complete` is False when it broke off before the format's own end."""

    response_id: str | None = None
    response_model: str | None = None
    usage: Usage = NO_USAGE
    finish_reason: str | None = None
    problem: Problem | None = None
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    streamed: bool = False
    complete: bool = True
    pending: bool = False
    """True for a background answer that has only been queued: the real one is polled for."""
    issued_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """Prompt tokens by part; the parts sum to the estimate."""

    system: int = 0
    tools: int = 0
    user: int = 0
    assistant: int = 0
    tool_results: int = 0
    memory: int = 0
    media: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return sum(getattr(self, f.name) for f in fields(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Our figure for a prompt before its answer.

    `input_tokens` is calibrated, `tiktoken_input_tokens` the plain count behind it, in the model's
    own encoding where that is published, else in o200k.
    `p90_error`: the model's own recent 90th percentile of |estimate - reported| / reported, None if unknown.
    `approximate`: the text was too long for its budget, or was dropped, and was partly estimated by length.
    """

    input_tokens: int
    tiktoken_input_tokens: int
    kind: EstimateKind
    p90_error: float | None = None
    composition: Composition = field(default_factory=Composition)
    approximate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One source's figures for one exchange, to be fused with others.

    `reported`: stated by the provider (perhaps copied by a client), not estimated by anybody.
    `key`: stable name of the record; a later reading with the same key replaces the earlier.
    `origin`: where it was read: `flow:<id>`, or `<file>:<line>`, or `<file>#<row>`.
    `ids`: every id the record shares with the wire (response, message, request ids).
    `lower_bound`: the input figure is a floor only (CompileChat's parts).
    `log`: the name of the log source that gave it; logs of one client may each have a record of a call.
    `undated`: the log has no time of its own for it; `at` is only near (the file's, or the session's).
    `joined_by`: how it was tied to its exchange: `id` (a response, message or request id) or `time`.
    """

    source: Source
    reported: bool
    at: datetime
    key: str
    origin: str
    usage: Usage = NO_USAGE
    client: str | None = None
    client_version: str | None = None
    user: str | None = None
    model: str | None = None
    client_session_id: str | None = None
    ids: tuple[str, ...] = ()
    started_at: datetime | None = None
    lower_bound: bool = False
    context_window: int | None = None
    tools_tokens: int | None = None
    system_tokens: int | None = None
    title: str | None = None
    folder: str | None = None
    branch: str | None = None
    subagent: str | None = None
    side: bool | None = None
    problem: Problem | None = None
    finish_reason: str | None = None
    joined_by: str | None = None
    log: str | None = None
    undated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One LLM exchange as outsiders see it: `kimi-mitm export` and `GET /api/exchanges` give these fields."""

    id: str
    flow_id: str | None = None
    started_at: datetime
    first_token_at: datetime | None = None
    ended_at: datetime | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    session_id: str | None = None
    user: str | None = None
    client: str = "unknown"
    client_version: str | None = None
    client_session_id: str | None = None
    provider: str = "unknown"
    served_by: str | None = None
    model: str | None = None
    response_model: str | None = None
    wire_format: str | None = None
    operation: Operation = Operation.OTHER
    side: bool = False
    method: str | None = None
    url: str | None = None
    status: int | None = None
    stream: bool | None = None
    transport: str = "http"
    estimated_input_tokens: int | None = None
    tiktoken_input_tokens: int | None = None
    estimate_kind: EstimateKind | None = None
    estimate_p90_error: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    is_estimated: bool = True
    source: Source = Source.PROXY
    via: str | None = None
    delta_tokens: int | None = None
    history_ratio: float | None = None
    is_noise: bool | None = None
    composition: Composition | None = None
    context_window: int | None = None
    context_percent: float | None = None
    cost_usd: Decimal | None = None
    response_id: str | None = None
    finish_reason: str | None = None
    error: Problem | None = None
    notes: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """What else is known and worth showing: limits that were passed, a log's title, folder, branch."""


class PartKind(enum.StrEnum):
    """What one part of a prompt message is."""

    TEXT = "text"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"
    MEMORY = "memory"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    FILE = "file"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a message. `text` is what a model reads as text; media has `mime`, `size` in bytes,
    `width` and `height` in pixels and a `digest` instead; a tool call has `name`, and its arguments in
    `text`."""

    kind: PartKind
    text: str = ""
    name: str | None = None
    mime: str | None = None
    size: int | None = None
    width: int | None = None
    height: int | None = None
    pages: int | None = None
    seconds: float | None = None
    detail: str | None = None
    digest: str | None = None
    remote: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a prompt: role is `system`, `user`, `assistant`, `tool`, or `tools` for the
    definitions of tools and `schema` for an output schema. `digest` names the message's bytes."""

    role: str
    parts: tuple[Part, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request's prompt in one shape, whatever the wire format: what is counted, shown and archived."""

    messages: tuple[Message, ...] = ()
    hidden: frozenset[str] = frozenset()
    """As in `Request.hidden`."""
