"""What a run has used, in a line or two for its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from kimi_mitm.notes import dollars, short


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One exchange, as far as the summary needs it; None is unknown. `reported`: the provider gave the
    figures."""

    session_id: str | None = None
    client_session_id: str | None = None
    estimated: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reported: bool = False
    cost_usd: Decimal | None = None
    side: bool = False
    failed: bool = False
    open: bool = False


def lines(seen: Sequence[Seen]) -> list[str]:
    """The summary; says so when nothing was seen."""
    if not seen:
        return ["no LLM exchange was seen (`kimi-mitm doctor` says what may be wrong)"]
    parts = [_exchanges(seen), _prompt(seen), _answer(seen), _cost(seen)]
    found = [" · ".join(filter(None, parts))]
    sessions = dict.fromkeys(s.session_id for s in seen if s.session_id)
    own = dict.fromkeys(s.client_session_id for s in seen if s.client_session_id)
    if sessions:
        named = f" · the client's own {', '.join(own)}" if own else ""
        found.append(f"{_plural('session', len(sessions))} {', '.join(sessions)}{named}")
    return found


def client_session(seen: Iterable[Seen]) -> str | None:
    """The client's own session id, as its requests gave it; of the conversation rather than of what goes
    on beside it."""
    return next(
        (s.client_session_id for s in sorted(seen, key=lambda s: s.side) if s.client_session_id), None
    )


def _exchanges(seen: Sequence[Seen]) -> str:
    counts = (
        (sum(s.side for s in seen), "beside the conversation"),
        (sum(s.failed for s in seen), "failed"),
        (sum(s.open for s in seen), "unfinished"),
    )
    of_these = ", ".join(f"{count} {what}" for count, what in counts if count)
    return _count("exchange", len(seen)) + (f" ({of_these})" if of_these else "")


def _prompt(seen: Sequence[Seen]) -> str:
    """Estimated and real; both over the same exchanges where every one of them was reported."""
    estimates = [s.estimated for s in seen if s.estimated is not None]
    real = [s.input_tokens for s in seen if s.reported and s.input_tokens is not None]
    estimated = f"≈{short(sum(estimates))} estimated" if estimates else "no estimate"
    if not real:
        return f"prompt {estimated}, none reported"
    of_all = "" if len(real) == len(seen) else f" ({len(real)} of {len(seen)})"
    return f"prompt {estimated}, {short(sum(real))} reported{of_all}"


def _answer(seen: Sequence[Seen]) -> str:
    known = [s.output_tokens for s in seen if s.output_tokens is not None]
    return f"answer {short(sum(known))}" if known else ""


def _cost(seen: Sequence[Seen]) -> str:
    known = [s.cost_usd for s in seen if s.cost_usd is not None]
    if not known:
        return "cost unknown"
    unknown = len(seen) - len(known)
    return dollars(sum(known, Decimal(0))) + (f" ({unknown} unpriced)" if unknown else "")


def _count(noun: str, number: int) -> str:
    return f"{number} {_plural(noun, number)}"


def _plural(noun: str, number: int) -> str:
    return noun if number == 1 else f"{noun}s"
