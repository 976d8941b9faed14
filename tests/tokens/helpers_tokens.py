"""Builders for the tests of counting."""

from __future__ import annotations

import json
from typing import Any

from kimi_mitm.records import Usage
from kimi_mitm.tokens import Call, Estimated, Estimator


def chat(messages: list[dict[str, Any]], *, model: str = "gpt-4o", **more: Any) -> Call:
    """An OpenAI chat call."""
    about = {
        key: more.pop(key)
        for key in ("conversation", "hidden", "family", "previous_response_id")
        if key in more
    }
    body = json.dumps({"model": model, "messages": messages, **more}).encode()
    family = about.pop("family", "gpt")
    return Call(
        provider="openai",
        served_by="openai",
        wire_format="openai.chat",
        model=model,
        family=family,
        body=body,
        **about,
    )


def claude(messages: list[dict[str, Any]], **more: Any) -> Call:
    """An Anthropic call."""
    about = {key: more.pop(key) for key in ("conversation", "hidden") if key in more}
    body = json.dumps({"model": "claude-sonnet-4-5", "messages": messages, **more}).encode()
    return Call(
        provider="anthropic",
        served_by="anthropic",
        wire_format="anthropic.messages",
        model="claude-sonnet-4-5",
        family="claude",
        body=body,
        **about,
    )


def user(text: str) -> dict[str, Any]:
    """A user's message."""
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    """An assistant's message."""
    return {"role": "assistant", "content": text}


def answer(estimator: Estimator, call: Call, tokens: int | None) -> tuple[Estimated, list[str]]:
    """Estimates a call, then reports its tokens."""
    estimated = estimator.estimate(call)
    return estimated, estimator.learn(estimated, Usage(input_tokens=tokens, output_tokens=10))
