"""Estimates a prompt's tokens before its answer, and learns from what the provider then reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kimi_mitm import prompts
from kimi_mitm.records import Answer, Composition, Estimate, EstimateKind, PartKind, Prompt, Usage
from kimi_mitm.tokens import tokenizer
from kimi_mitm.tokens.reading import Call
from kimi_mitm.tokens.turns import Turn

_MEDIA = frozenset({PartKind.IMAGE, PartKind.AUDIO, PartKind.VIDEO, PartKind.FILE})
_ROLE_PART = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool_results"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """An estimate, and what `Estimator.learn` and `turn` need to know of it."""

    estimate: Estimate
    call: Call
    turn: Turn
    prompt: Prompt | None = None


def estimate_by_length(size: int) -> Estimate:
    """For a body that was dropped: four bytes a token."""
    tokens = size // 4
    return Estimate(
        input_tokens=tokens,
        tiktoken_input_tokens=tokens,
        kind=EstimateKind.PLAIN,
        composition=Composition(other=tokens),
        approximate=True,
    )


class Estimator:
    """Counts, learns, remembers; has no clock and no I/O. Use it from one thread at a time."""

    def __init__(self, states: Mapping[str, bytes] | None = None) -> None:
        self._states = dict(states or {})
        self.faults: list[str] = []

    def warm(self) -> None:
        """Loads what counting needs (0.3-0.5 s); may be called from another thread."""
        tokenizer.load(tokenizer.O200K)

    def estimate(self, call: Call) -> Estimated:
        """The tokens of a request's prompt; never raises."""
        prompt = prompts.read(call.wire_format, call.body, call.hidden)
        parts = dict.fromkeys(
            ("system", "tools", "user", "assistant", "tool_results", "memory", "media", "other"), 0
        )
        for message in prompt.messages:
            for part in message.parts:
                name = _ROLE_PART.get(message.role, "tools" if message.role == "tools" else "other")
                if part.kind in _MEDIA:
                    parts["media"] += 500
                    continue
                if part.kind is PartKind.MEMORY:
                    name = "memory"
                elif part.kind is PartKind.TOOL_RESULT:
                    name = "tool_results"
                parts[name] += tokenizer.count(part.text)
        parts["other"] += 3 + 4 * len(prompt.messages)
        total = sum(parts.values())
        estimate = Estimate(
            input_tokens=total,
            tiktoken_input_tokens=total,
            kind=EstimateKind.PLAIN,
            composition=Composition(**parts),
        )
        return Estimated(estimate=estimate, call=call, turn=Turn(total, 0.0, False), prompt=prompt)

    def turn(self, estimated: Estimated, input_tokens: int | None = None) -> Turn:
        """What of the prompt is new, in settled tokens once the provider has reported them."""
        return estimated.turn

    def learn(
        self,
        estimated: Estimated,
        reported: Usage,
        *,
        response_id: str | None = None,
        answer: Answer | None = None,
    ) -> list[str]:
        """Learns from the provider's figures; returns the keys of the states that changed."""
        return []

    def estimate_output(self, call: Call, answer: Answer) -> int:
        """Tokens of an answer without usage, from its text."""
        return sum(
            tokenizer.count(text)
            for text in (answer.text, answer.reasoning, *(c.name + c.arguments for c in answer.tool_calls))
        )

    def count_text(self, family: str, text: str) -> int:
        """Tokens of a text alone, with the family's encoding."""
        return tokenizer.count(text)

    def states(self) -> dict[str, bytes]:
        """Everything that was learned, to be kept: key → versioned bytes."""
        return dict(self._states)

    def state(self, key: str) -> bytes:
        """One of `states`."""
        return self._states[key]
