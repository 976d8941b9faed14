"""Counting a conversation turn by turn gives what counting it afresh gives, at the price of what is new."""

from __future__ import annotations

import json
import random
from typing import Any
from unittest import mock

import pytest
from helpers_tokens import claude

from kimi_mitm.tokens import Estimator, tokenizer


def conversation(turns: int, seed: int, *, marks: bool) -> list[list[dict[str, Any]]]:
    """The messages of every turn; with cache markers on the last messages where `marks`."""
    chance = random.Random(seed)
    messages: list[dict[str, Any]] = []
    found = []
    for place in range(turns):
        text = " ".join(
            chance.choice(["alpha", "beta", '{"a": 1}', "naïve", "\n  x = 12345"]) for _ in range(40)
        )
        messages.append({"role": "user", "content": [{"type": "text", "text": text}]})
        messages.append(
            {"role": "assistant", "content": [{"type": "text", "text": f"answer {place} {text[:20]}"}]}
        )
        if chance.random() < 0.3:
            call = {"type": "tool_use", "id": f"t{place}", "name": "f", "input": {"n": place}}
            messages[-1]["content"].append(call)
            result = {"type": "tool_result", "tool_use_id": f"t{place}", "content": "done"}
            messages.append({"role": "user", "content": [result]})
            messages.append({"role": "assistant", "content": [{"type": "text", "text": "fine"}]})
        shown = json.loads(json.dumps(messages))
        if marks:
            for message in shown[-2:]:
                message["content"][-1]["cache_control"] = {"type": "ephemeral"}
        found.append(shown)
        if chance.random() < 0.1 and len(messages) > 12:  # a compaction, or an edit in the middle
            del messages[4:6]
    return found


@pytest.mark.parametrize("marks", [False, True])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spaced", [False, True])
def test_turn_by_turn_is_the_same_as_afresh(seed: int, marks: bool, spaced: bool) -> None:
    """Estimate, plain count and parts agree at every turn."""
    going = Estimator()
    tools = [{"name": "f", "description": "does", "input_schema": {"type": "object"}}]
    separators = None if spaced else (",", ":")
    for place, messages in enumerate(conversation(25, seed, marks=marks)):
        with mock.patch("json.dumps", wraps=lambda doc: json.JSONEncoder(separators=separators).encode(doc)):
            call = claude(messages, tools=tools, system="be brief", conversation="c")
        if place % 2:  # keys after the messages, too
            call = claude(messages, system="be brief", tools=tools, conversation="c")

        ours, fresh = going.estimate(call).estimate, Estimator().estimate(call).estimate

        assert ours == fresh


def test_only_new_messages_are_tokenized() -> None:
    """The next turn of a long conversation costs its last messages."""
    turns = conversation(60, 1, marks=False)
    estimator = Estimator()
    estimator.estimate(claude(turns[-2], conversation="c"))

    with mock.patch.object(tokenizer, "count", wraps=tokenizer.count) as count:
        estimator.estimate(claude(turns[-1], conversation="c"))

    assert count.call_count <= 12


def test_a_message_seen_elsewhere_is_not_tokenized_again() -> None:
    """Counts are kept by digest: a shortened conversation has nothing new."""
    turns = conversation(30, 2, marks=False)
    estimator = Estimator()
    estimator.estimate(claude(turns[-1]))

    with mock.patch.object(tokenizer, "count", wraps=tokenizer.count) as count:
        estimator.estimate(claude(turns[-1][7:]))

    assert count.call_count == 0


def test_what_is_remembered_is_bounded() -> None:
    """A thousand conversations leave no more than the limits."""
    estimator = Estimator()
    for place in range(400):
        estimator.estimate(claude([{"role": "user", "content": f"question {place} {n}"} for n in range(40)]))

    reader = estimator._reader
    assert len(reader.slices) <= 8192
    assert len(reader.prefixes) <= 2048
    assert len(reader.starts._kept) <= 64
    assert len(estimator._conversations._recent) <= 256
