"""The figures that a flow's metadata holds, in lines for a person: each says where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PARTS = ("system", "tools", "user", "assistant", "tool_results", "memory", "media", "other")


def figure_lines(metadata: Mapping[str, Any]) -> list[str]:
    """The lines; none for a flow without figures of ours. Values of a wrong type (files may hold anything)
    are left out."""
    if not isinstance(metadata.get("kimi.id"), str):
        return []
    figures = _Figures(metadata)
    lines = [
        *figures.exchange(),
        f"prompt: {figures.prompt()}",
        *figures.answer(),
        *figures.cached(),
        *figures.cost(),
        *figures.context(),
        *figures.growth(),
        *figures.parts(),
        *figures.times(),
    ]
    error = figures.text("error")
    return [*lines, f"failed: {error}"] if error else lines


class _Figures:
    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self._metadata = metadata

    def number(self, name: str) -> float | None:
        value = self._metadata.get(f"kimi.{name}")
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def tokens(self, name: str) -> str | None:
        value = self.number(name)
        return f"{value:,.0f}" if value is not None else None

    def text(self, name: str) -> str | None:
        value = self._metadata.get(f"kimi.{name}")
        return value if isinstance(value, str) and value else None

    @property
    def settled(self) -> bool:
        return self._metadata.get("kimi.settled") is True

    @property
    def estimated(self) -> bool:
        return self._metadata.get("kimi.is_estimated") is not False

    @property
    def origin(self) -> str:
        return self.text("origin") or "unknown origin"

    def exchange(self) -> list[str]:
        model, answered = self.text("model"), self.text("response_model")
        named = f"{model} (answered by {answered})" if model and answered and answered != model else model
        session = self.text("session")
        served = self.text("served_by")
        provider = self.text("provider")
        said = [
            f"{self.text('client') or 'unknown'} → {provider}",
            f"served by {served}" if served and served != provider else None,
            named or answered,
            "beside the conversation" if self._metadata.get("kimi.side") is True else None,
        ]
        place = [self.text("wire_format"), f"session {session}" if session else None]
        lines = [f"exchange: {' · '.join(filter(None, said))}"]
        return [*lines, f"recorded: {' · '.join(filter(None, place))}"] if any(place) else lines

    def prompt(self) -> str:
        guess, settled = self.tokens("estimated_input_tokens"), self.tokens("input_tokens")
        said = []
        if guess is not None:
            error = self.number("estimate_p90_error")
            kind = self.text("estimate_kind") or "kind unknown"
            bound = f", 9 of 10 within {100 * error:.1f} %" if error is not None else ""
            said.append(f"{guess} estimated ({kind}{bound})")
        if settled is not None and not (self.estimated and settled == guess):
            said.append(f"{settled} ({self.origin})")
        elif self.settled:
            said.append("nothing reported")
        else:
            said.append("no report yet")
        return " → ".join(said)

    def answer(self) -> list[str]:
        output, thought = self.tokens("output_tokens"), self.tokens("reasoning_tokens")
        if output is None:
            return []
        part = f", {thought} of it reasoning" if thought is not None else ""
        return [f"answer: {output} ({'estimated' if self.estimated else self.origin}){part}"]

    def cached(self) -> list[str]:
        read, written = self.tokens("cache_read_tokens"), self.tokens("cache_write_tokens")
        said = [f"{n} {word}" for n, word in ((read, "read"), (written, "written")) if n is not None]
        return [f"cached: {', '.join(said)} ({self.origin})"] if said else []

    def cost(self) -> list[str]:
        cost = self.text("cost_usd")
        if cost is None:
            return []
        basis = "from estimated tokens" if self.estimated else "from reported tokens"
        return [f"cost: ${cost} (list price, {basis})"]

    def context(self) -> list[str]:
        percent, window = self.number("context_percent"), self.tokens("context_window")
        return [f"context: {percent:.1f} % of {window}"] if percent is not None and window else []

    def growth(self) -> list[str]:
        new, share = self.tokens("delta_tokens"), self.number("history_ratio")
        if new is None:
            return []
        history = f", {100 * share:.0f} % is history" if share is not None else ""
        noise = ", mostly noise" if self._metadata.get("kimi.is_noise") is True else ""
        return [f"new: {new} tokens since the previous exchange{history}{noise}"]

    def parts(self) -> list[str]:
        found = [(name, self.number(f"part.{name}")) for name in _PARTS]
        said = [f"{name.replace('_', ' ')} {n:,.0f}" for name, n in found if n]
        return [f"parts: {' · '.join(said)} (estimated)"] if said else []

    def times(self) -> list[str]:
        first, whole = self.number("ttft_ms"), self.number("duration_ms")
        said = []
        if first is not None:
            said.append(f"first token after {first / 1000:.2f} s")
        if whole is not None:
            said.append(f"all in {whole / 1000:.2f} s")
        return [f"time: {', '.join(said)}"] if said else []
