"""What path, request and answer together say: a wire format, a model's unreadable call, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kimi_mitm import answers
from kimi_mitm.shapes import Asked

OTHER = "other"
"""The verdict on a call of a model whose format is not read."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of one exchange.

    `suggested`: the path's wire format, `certain` when nothing but an LLM API has such a path.
    `known`: the host's operator is known. `body` and `head` are decoded, None or empty when missing.
    """

    suggested: str | None
    certain: bool
    known: bool
    path: str
    headers: Mapping[str, str]
    asked: Asked
    body: bytes | None
    head: bytes
    status: int | None


def decide(case: Case) -> str | None:
    """A wire format, `OTHER`, or None for no LLM call."""
    answered = answers.of_answer(case.head)
    if case.suggested is not None and case.certain:
        return _by_certain_path(case, case.suggested, answered)
    name = _by_bodies(case, answered)
    if name is not None and answered is None and _contradicts(case):
        name = OTHER if _is_conversation(case.asked) else None
    if name is None and _is_unreadable(case, answered):
        return OTHER
    return name


def is_settled(case: Case, name: str) -> bool:
    """Whether no answer could change the verdict."""
    return case.certain and name == case.suggested and name not in _SHARED and case.asked.fits(name)


# Paths that services other than LLM APIs may have too: an unknown host must say more.
_WEAK = frozenset(
    {
        "openai.responses",
        "openai.completions",
        "openai.embeddings",
        "google.interactions",
        "ollama.chat",
        "ollama.generate",
        "ollama.embed",
        "anthropic.complete",
    }
)

# Formats whose path others use too, for other bodies.
_SHARED: Mapping[str, frozenset[str]] = {
    "ollama.chat": frozenset({"openai.chat", "openai.responses", "anthropic.messages"}),
    "ollama.generate": frozenset({"openai.completions"}),
    "openai.completions": frozenset({"openai.chat"}),
    "ollama.embed": frozenset({"openai.embeddings"}),
}


def _by_certain_path(case: Case, suggested: str, answered: str | None) -> str | None:
    asked = case.asked
    if answered is not None and asked.fits(answered):
        if answered in _SHARED.get(suggested, ()) or not asked.fits(suggested):
            return answered
    elif suggested == "openai.completions" and asked.is_list("messages") and not asked.has("prompt"):
        return "openai.chat"
    if suggested == "openai.embeddings" and asked.model.startswith("voyage-"):
        return "voyage.embed"
    if answered is None and _is_doubtful(case, suggested):
        return None
    if answered == suggested or asked.fits(suggested):
        return suggested
    if asked.whole:
        return _misfit(case, suggested)
    if case.known or suggested not in _WEAK or case.body is None:
        return suggested
    return suggested if asked or _is_binary(case.body) else None


def _is_doubtful(case: Case, suggested: str) -> bool:
    """Whether an unknown host, at a path that many services have, was asked without naming a model: only an
    answer can tell then."""
    return suggested in _WEAK and not case.known and case.asked.whole and not case.asked.model


def _misfit(case: Case, suggested: str) -> str | None:
    """A whole body that is none of the path's format: refused by the provider, private, or no LLM call."""
    if not case.known:
        return None
    if case.status is None or case.status >= 400:
        return suggested
    return OTHER


def _is_binary(body: bytes) -> bool:
    head = body[:64]
    return any(byte < 9 or byte >= 0x80 for byte in head)


def _by_bodies(case: Case, answered: str | None) -> str | None:
    asked, suggested = case.asked, case.suggested
    if case.path.endswith("/v1/chat") and asked.is_list("messages") and answered in (None, "openai.chat"):
        return "writer.chat" if asked.roles else None
    if suggested == "google.predict" and answered in ("openai.chat", "openai.completions"):
        return suggested if asked.fits(suggested) else answered
    if answered == "openai.embeddings" and asked.model.startswith("voyage-"):
        return "voyage.embed"
    speaks = answered is not None and asked.fits(answered)
    if suggested is not None and asked and asked.fits(suggested) and (answered == suggested or not speaks):
        if answered == suggested or _stands_alone(case, suggested):
            return suggested
        return _by_request(asked)
    if speaks or not asked:
        return answered
    if asked.is_list("messages") and case.headers.get("anthropic-version"):
        return "anthropic.messages"
    return _by_request(asked)


_RESPONSES_ONLY = (
    "max_output_tokens",
    "previous_response_id",
    "reasoning",
    "store",
    "tools",
    "conversation",
)
_COHERE_ONLY = ("chat_history", "preamble", "connectors", "prompt_truncation", "conversation_id", "documents")


def _by_request(asked: Asked) -> str | None:
    """The wire format that a request's keys alone speak for; None when they fit several or none."""
    if asked.has("contents") and asked.fits("google.generate_content"):
        return "google.generate_content"
    if asked.is_list("messages") and asked.roles:
        if asked.has("anthropic_version", "system", "stop_sequences"):
            return "anthropic.messages"
        if asked.has("inferenceConfig", "toolConfig", "additionalModelRequestFields"):
            return "aws.converse"
        return "openai.chat" if asked.model else None
    if asked.is_text("message") and asked.has(*_COHERE_ONLY):
        return "cohere.chat"
    if asked.has("prompt"):
        if asked.has("max_tokens_to_sample"):
            return "anthropic.complete"
        told = asked.has("max_tokens", "temperature", "top_p", "logprobs")
        return "openai.completions" if asked.model and told else None
    if asked.has("input") and asked.model:
        if asked.fits("openai.responses") and (asked.roles or asked.has(*_RESPONSES_ONLY)):
            return "openai.responses"
        if asked.has("encoding_format", "dimensions") or "embed" in asked.model:
            return "openai.embeddings"
    return None


def _stands_alone(case: Case, suggested: str) -> bool:
    """Whether a request is enough for a suggestion of the path, with no answer to confirm it."""
    asked = case.asked
    if suggested == "anthropic.messages":
        return asked.roles and bool(asked.model or case.headers.get("anthropic-version"))
    if suggested == "openai.chat":
        return asked.roles
    if suggested == "cohere.chat":
        speaks = asked.is_text("message") and bool(asked.model)
        return speaks or asked.has(*_COHERE_ONLY) or case.path.endswith("/v2/chat")
    if suggested == "google.predict":
        # Below `endpoints` stands anybody's own model, of any kind.
        return case.known and "/endpoints/" not in case.path
    return bool(asked.model)


def _contradicts(case: Case) -> bool:
    """Whether an unknown host, at a path that says nothing, answered well, readably, in no model's format."""
    if case.known or case.suggested or case.status is None or case.status >= 400:
        return False
    return answers.is_readable(case.head)


def _is_conversation(asked: Asked) -> bool:
    return asked.roles and bool(asked.model)


_PRIVATE = ("prompt", "contents", "conversationState", "provider_request", "chat_history", "inputText")


def _is_unreadable(case: Case, answered: str | None) -> bool:
    """Whether an exchange of no readable format looks like a model's call all the same."""
    asked = case.asked
    if answered is not None or answers.is_foreign(case.head):
        return True
    if asked.is_text("inputs") and asked.has("parameters"):
        return True
    if asked.is_text("prompt") and asked.has("max_context_length", "max_length", "n_predict"):
        return True
    if asked.model and asked.has("messages", "prompt", "contents", "input") and answers.has_usage(case.head):
        return True
    return case.known and ((asked.is_list("messages") and asked.roles) or asked.has(*_PRIVATE))
