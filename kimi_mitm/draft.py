"""One exchange as far as it is known: built from its request, completed by its answer. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kimi_mitm import clients, link, prices, prompts, providers, redact
from kimi_mitm.fusion.exchange_figures import percent, turn_fields
from kimi_mitm.prompts import Shape, Slice
from kimi_mitm.records import (
    Answer,
    Estimate,
    EstimateKind,
    Exchange,
    Operation,
    PartKind,
    Problem,
    Request,
)
from kimi_mitm.tokens import Call, Estimated, Estimator, estimate_by_length
from kimi_mitm.wire import FORMATS, read_request
from kimi_mitm.wire.format import Format, Target, WireError

_LOOK_BACK = 50
"""Slices at a prompt's end among which the user's last words are looked for."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An exchange, and what placing, counting and archiving it need to know beside the record.

    `prompt` names the user's own last words, the same through an agent's whole loop. `slices` are the
    request's body as `prompts` cuts it, in the shape `shape`.
    """

    exchange: Exchange
    opened: link.Opened
    format: Format | None
    request: Request
    client: clients.Client
    body: bytes | None
    estimated: Estimated | None = None
    answer: Answer | None = None
    response_headers: Mapping[str, str] = field(default_factory=dict)
    shape: Shape | None = None
    slices: Sequence[Slice] = ()
    prompt: str | None = None

    @property
    def pending(self) -> bool:
        """True for a background answer that will be polled for."""
        return self.answer is not None and self.answer.pending


def utc(seconds: float) -> datetime:
    """Unix seconds as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def begin(
    opened: link.Opened,
    body: bytes | None,
    estimator: Estimator,
    *,
    format_name: str | None,
    operation: Operation,
    table: Mapping[str, str],
    exchange_id: str | None = None,
    at: float | None = None,
    transport: str = "http",
) -> Draft:
    """The draft of a request. `body` is decoded, None when it was dropped; `table` is the user's own
    model → provider table."""
    format = FORMATS.get(format_name) if format_name else None
    request = _request(format, body, opened)
    request = replace(request, model=redact.field(request.model))
    fields = clients.body_fields(body or b"")
    client = clients.identify(opened.headers, fields, opened.host, opened.run_client)
    client = replace(client, session_id=redact.field(client.session_id))
    provider = providers.provider_of(request.model, served_by=opened.served_by, table=table)
    done = Operation.OTHER if not request.generates else (request.operation or operation)
    side = clients.side_call(client, operation=operation, request=request, opening=fields.get("opening", ""))
    window = prices.context_window(request.model, provider, opened.served_by)
    estimate, estimated = None, None
    if format is not None or done is not Operation.OTHER:
        estimate, estimated = _estimate(opened, body, estimator, format_name or "", request, client, provider)
    exchange = Exchange(
        id=exchange_id or opened.exchange_id,
        flow_id=opened.flow_id,
        started_at=utc(at if at is not None else opened.at),
        user=opened.user or opened.client_address,
        client=client.name,
        client_version=client.version,
        client_session_id=client.session_id,
        provider=provider,
        served_by=opened.served_by,
        model=request.model,
        wire_format=format_name,
        operation=done,
        side=side,
        method=opened.method,
        url=opened.url,
        stream=request.stream,
        transport=transport,
        context_window=window,
        context_percent=percent(estimate.input_tokens if estimate else None, window),
        notes=_notes(opened, client, estimate, dropped=body is None),
        **(_estimate_fields(estimate, estimated) if estimate else {}),
    )
    shape = prompts.shape_of(format_name, body) if body and format_name else None
    slices = shape.split(body) if shape and body else ()
    prompt = None if side or client.turn_id else _last_words(shape, slices)
    return Draft(
        exchange, opened, format, request, client, body, estimated, shape=shape, slices=slices, prompt=prompt
    )


def complete(
    draft: Draft,
    answer: Answer | None,
    *,
    status: int | None,
    first_token_at: float | None,
    ended_at: float,
    broken: str | None,
    lost: int = 0,
    response_headers: Mapping[str, str] | None = None,
) -> Draft:
    """The draft with its answer; figures are settled later, by fusion."""
    start = draft.exchange.started_at
    first, end = (utc(t) if t is not None else None for t in (first_token_at, ended_at))
    notes = dict(draft.exchange.notes)
    if lost:
        notes["answer_bytes_lost"] = lost
    exchange = replace(
        draft.exchange,
        status=status,
        first_token_at=first,
        ended_at=end,
        ttft_ms=_ms(start, first),
        duration_ms=_ms(start, end),
        stream=answer.streamed if answer and status is not None else draft.request.stream,
        **(names(answer) if answer else {}),
        error=_problem(answer, status, broken),
        notes=notes,
    )
    return replace(draft, exchange=exchange, answer=answer, response_headers=response_headers or {})


def names(answer: Answer) -> dict[str, Any]:
    """The fields of an exchange that an answer names, without secrets."""
    return {
        "response_model": redact.field(answer.response_model),
        "response_id": redact.field(answer.response_id),
        "finish_reason": redact.field(answer.finish_reason),
    }


def _request(format: Format | None, body: bytes | None, opened: link.Opened) -> Request:
    if format is None:
        return Request()
    url = urlsplit(opened.url)
    target = Target(
        host=opened.host, path=opened.path, query=dict(parse_qsl(url.query)), headers=opened.headers
    )
    try:
        request = read_request(format, body or b"", target)
    except WireError:
        return Request(hidden=frozenset({"partial_body"}))
    if body is None:
        return replace(request, hidden=request.hidden | {"partial_body"})
    return request


def _estimate(
    opened: link.Opened,
    body: bytes | None,
    estimator: Estimator,
    wire_format: str,
    request: Request,
    client: clients.Client,
    provider: str,
) -> tuple[Estimate, Estimated | None]:
    if body is None or opened.hurry:
        return estimate_by_length(opened.size), None
    call = Call(
        provider=provider,
        wire_format=wire_format,
        body=body,
        model=request.model,
        family=providers.family_of(request.model),
        served_by=opened.served_by,
        hidden=request.hidden,
        conversation=client.session_id,
        previous_response_id=request.previous_response_id,
        host=opened.host,
        stream=request.stream,
    )
    estimated = estimator.estimate(call)
    return estimated.estimate, estimated


def _estimate_fields(estimate: Estimate, estimated: Estimated | None) -> dict[str, Any]:
    fields = {
        "estimated_input_tokens": estimate.input_tokens,
        "tiktoken_input_tokens": estimate.tiktoken_input_tokens,
        "estimate_kind": estimate.kind,
        "estimate_p90_error": estimate.p90_error,
        "composition": estimate.composition,
    }
    return fields | (turn_fields(estimated.turn) if estimated else {})


def _last_words(shape: Shape | None, slices: Sequence[Slice]) -> str | None:
    """The digest of the user's last message that is no tool's result."""
    for piece in reversed(slices[-_LOOK_BACK:]) if shape else ():
        for message in shape.messages(piece) if shape else ():
            kinds = {part.kind for part in message.parts}
            if message.role == "user" and PartKind.TEXT in kinds and PartKind.TOOL_RESULT not in kinds:
                return message.digest
    return None


def _problem(answer: Answer | None, status: int | None, broken: str | None) -> Problem | None:
    if answer is not None and answer.problem:
        return Problem(redact.word(answer.problem.type), redact.error(answer.problem.message))
    if broken is not None and status is None:
        return Problem("no_answer", redact.error(broken[:500]))
    if broken is not None and (answer is None or not answer.complete):
        return Problem("aborted", redact.error(broken[:500]))
    return None


def _notes(
    opened: link.Opened, client: clients.Client, estimate: Estimate | None, *, dropped: bool
) -> dict[str, str | int | float | bool | None]:
    notes: dict[str, str | int | float | bool | None] = {}
    if opened.body != "whole":
        notes["request_body"] = opened.body
        notes["request_bytes"] = opened.size
    if client.subagent:
        notes["subagent"] = client.subagent
    if opened.run:
        notes["run"] = opened.run
    if estimate and (estimate.approximate or (estimate.kind is EstimateKind.PLAIN and dropped)):
        notes["estimate"] = "partly by length"
    return notes


def _ms(start: datetime, end: datetime | None) -> float | None:
    return round((end - start).total_seconds() * 1000, 3) if end else None
