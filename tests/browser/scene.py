"""A lively afternoon at the proxy: what browser tests and screenshots look at."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from fake_service import FakeService, settled

from kimi_mitm.control.service import Caller
from kimi_mitm.records import Composition, EstimateKind, Exchange, Operation, Problem, Source

_MODELS = {
    "kimi-k2.5": ("moonshotai", "moonshotai", 262_144, "anthropic.messages"),
    "claude-sonnet-4-5": ("anthropic", "aws", 200_000, "aws.converse"),
    "gpt-5.1-codex": ("openai", "openai", 400_000, "openai.responses"),
    "gemini-3-pro": ("google", "google", 1_048_576, "google.generate_content"),
    "codestral-2508": ("mistral", "mistral", 256_000, "openai.chat"),
}


class Scene:
    """Fills a fake engine; `begin` and `settle` then play single exchanges live."""

    def __init__(self, service: FakeService) -> None:
        self.service = service
        self._random = random.Random(7)
        self._count = 0

    async def furnish(self) -> None:
        """Four live sessions at different fills, an ended one, and exchanges of every kind."""
        add = self.service.add_session
        old = add("alice", "claude-code", "openai", "gpt-5.1-codex", name="spike")
        alice = add("alice", "claude-code", "moonshotai", "kimi-k2.5", name="payments refactoring")
        bob = add("bob", "codex", "openai", "gpt-5.1-codex")
        carol = add("carol", "kilo-code", "anthropic", "claude-sonnet-4-5", name="migration")
        dan = add("dan", "gemini-cli", "google", "gemini-3-pro")
        for start, session, model, turns in (
            (9_000, old, "gpt-5.1-codex", 3),
            (12_000, alice, "kimi-k2.5", 9),
            (250_000, bob, "gpt-5.1-codex", 7),
            (172_000, carol, "claude-sonnet-4-5", 6),
            (855_000, dan, "gemini-3-pro", 3),
        ):
            for turn in range(turns):
                self._turn(
                    session.session_id, session.user_id, session.client or "", model, start + turn * 3_100
                )
        await self.service.end_session(old.session_id, Caller("alice"))
        await self.service.set_provider_auto_session("mistral", False, Caller("alice"))
        await self.service.set_auto_session(True, Caller("alice"))
        self._aside(alice.session_id)
        self._failed(bob.session_id)
        self._unknown(dan.session_id)

    def begin(self, session_id: str | None, which: str, tokens: int, **more: Any) -> Exchange:
        """An exchange that has been sent to the model `which`: its estimate is known, nothing else."""
        self._count += 1
        provider, operator, window, wire = _MODELS[which]
        estimate = round(tokens * (1 + self._random.uniform(-0.03, 0.03)))
        exchange = Exchange(
            **{
                "id": f"x_{self._count:06d}",
                "flow_id": f"0b54a1f2-{self._count:04d}",
                "started_at": self.service.now(),
                "session_id": session_id,
                "user": "alice",
                "client": "claude-code",
                "client_version": "2.1.14",
                "provider": provider,
                "served_by": operator,
                "model": which,
                "wire_format": wire,
                "operation": Operation.CHAT,
                "method": "POST",
                "url": f"https://api.{operator}.example/v1/messages",
                "stream": True,
                "estimated_input_tokens": estimate,
                "tiktoken_input_tokens": round(estimate * 0.95),
                "estimate_kind": EstimateKind.CALIBRATED,
                "estimate_p90_error": 0.031,
                "composition": _parts(estimate),
                "context_window": window,
                "context_percent": round(100 * estimate / window, 2),
                **more,
            }
        )
        return self.service.put_exchange(exchange, "exchange:started")

    def settle(self, exchange: Exchange, tokens: int) -> Exchange:
        """The same exchange with what its provider reported."""
        output = self._random.randrange(120, 1900)
        ttft = self._random.uniform(350, 1800)
        took = ttft + output * self._random.uniform(8, 16)
        window = exchange.context_window or 1
        done = settled(
            exchange,
            tokens,
            output,
            response_model=exchange.model,
            cache_read_tokens=round(tokens * 0.83),
            reasoning_tokens=round(output * 0.3),
            delta_tokens=round(tokens * 0.06),
            history_ratio=0.94,
            context_percent=round(100 * tokens / window, 2),
            cost_usd=Decimal(tokens) * Decimal("0.0000004") + Decimal(output) * Decimal("0.0000025"),
            finish_reason="end_turn",
            response_id=f"msg_{exchange.id}",
            first_token_at=exchange.started_at + timedelta(milliseconds=ttft),
            ended_at=exchange.started_at + timedelta(milliseconds=took),
            ttft_ms=ttft,
            duration_ms=took,
        )
        return self.service.put_exchange(done, "exchange:completed")

    def _turn(self, session_id: str, user: str, client: str, model: str, tokens: int) -> None:
        self.settle(self.begin(session_id, model, tokens, user=user, client=client), tokens)

    def _aside(self, session_id: str) -> None:
        more = {"side": True, "client": "continue", "estimate_kind": EstimateKind.PRIOR}
        self.settle(self.begin(session_id, "codestral-2508", 820, **more), 828)

    def _failed(self, session_id: str) -> None:
        problem = Problem(
            "rate_limit_error", "Number of request tokens has exceeded your per-minute rate limit"
        )
        exchange = self.begin(session_id, "gpt-5.1-codex", 271_000, user="bob", client="codex")
        failed = settled(exchange, 1, 1, error=problem, ended_at=exchange.started_at, duration_ms=210.0)
        self.service.put_exchange(_unsettled(failed, status=429), "exchange:completed")

    def _unknown(self, session_id: str) -> None:
        exchange = self.begin(
            session_id,
            "gemini-3-pro",
            1,
            user="dan",
            client="gemini-cli",
            estimated_input_tokens=None,
            estimate_kind=None,
            composition=None,
            context_percent=None,
            operation=Operation.OTHER,
        )
        cut = settled(exchange, 1, 1, ended_at=exchange.started_at, duration_ms=95.0)
        self.service.put_exchange(_unsettled(cut, status=200), "exchange:completed")


def _unsettled(exchange: Exchange, status: int) -> Exchange:
    return replace(
        exchange,
        status=status,
        input_tokens=None,
        output_tokens=None,
        total_tokens=None,
        is_estimated=True,
        source=Source.PROXY,
    )


def _parts(tokens: int) -> Composition:
    shares = {"system": 0.14, "tools": 0.31, "user": 0.06, "assistant": 0.12, "tool_results": 0.33}
    parts = {name: int(tokens * share) for name, share in shares.items()}
    return Composition(**parts, memory=tokens - sum(parts.values()))
