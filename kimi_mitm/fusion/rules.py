"""The readings of one exchange, and the one figure that they settle.

Every field of `Usage` is settled by itself, by the first of these rules that gives it a value:

1. The provider's own report on this exchange's wire.
2. The provider's own report in a client's log, if an id ties that record to this exchange.
3. The highest priority among the readings not older than the window: `compile_chat` 4, `api_error` 3,
   `proxy` 2, `logs` 1; of equal ones the newer.
4. Where rule 3 would take the proxy's figure and a log has one too, and the two differ by more than
   100 tokens but by less than 20 % of their mean: the larger of the two (`hybrid`).
5. With none in the window, the last known figure, marked stale.

A reading whose input is a lower bound is a floor: it wins where no firm figure stands, and over a firm
one of a lower priority that is below it.

Time is an argument, and the order in which readings came makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from kimi_mitm.records import NO_USAGE, Reading, Source, Usage

WINDOW_S: Final = 5.0
"""A reading of exactly this age still counts as fresh."""
HYBRID_OVER: Final = 100
"""Tokens; a difference of exactly this many is no hybrid."""
_TENTHS_OF_SUM: Final = 10  # |a - b| < 20 % of the mean  ⇔  10·|a - b| < a + b, in whole numbers

PRIORITY: Final = {
    Source.USAGE: 5,
    Source.COMPILE_CHAT: 4,
    Source.API_ERROR: 3,
    Source.PROXY: 2,
    Source.LOGS: 1,
    Source.HYBRID: 0,
}
_WHOLE: Final = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "reasoning_tokens": "output_tokens",
    "cost_usd": "input_tokens",
}
"""Figures that are of another one: its parts, and what it cost."""
_FIGURES: Final = tuple(f.name for f in fields(Usage))
_LEADING: Final = ("input_tokens", "output_tokens", "total_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A reading that took part; `age_s` in seconds at the reference time, `fresh` within the window."""

    reading: Reading
    priority: int
    age_s: float
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """One field's outcome: its value, the rule that won (1 to 5) and the reading it came from.

    `source` is what the exchange record says; `via` is `logs` for a provider's report that a log kept.
    """

    value: int | Decimal
    rule: int
    source: Source
    winner: Reading
    via: str | None = None

    @property
    def stale(self) -> bool:
        return self.rule == 5


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What readings know beside figures: the highest priority's word, of equal ones the newest."""

    client: str | None = None
    client_version: str | None = None
    client_session_id: str | None = None
    model: str | None = None
    context_window: int | None = None
    tools_tokens: int | None = None
    system_tokens: int | None = None
    title: str | None = None
    folder: str | None = None
    branch: str | None = None
    subagent: str | None = None
    side: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """The settled figures and why.

    `source`, `via`, `rule`, `winner` and `stale` are those of the input tokens, or of the output or the
    total where no input is known; `rule` is None where nothing is known. `is_estimated` is False once
    the provider's own figure, from the wire, a log or an error, stands there. `lower_bound`: the input
    is a floor. `figures` has every settled field by name. The learner takes rules 1 and 2 only.
    """

    usage: Usage = NO_USAGE
    source: Source = Source.PROXY
    via: str | None = None
    rule: int | None = None
    winner: Reading | None = None
    stale: bool = False
    is_estimated: bool = True
    lower_bound: bool = False
    candidates: tuple[Candidate, ...] = ()
    figures: dict[str, Settled] = field(default_factory=dict)
    about: About = field(default_factory=About)


def settle(readings: Sequence[Reading], *, now: datetime | None = None, window_s: float = WINDOW_S) -> Fused:
    """Fuses the readings of one exchange at the time `now` (UTC); None means the newest reading's own
    time, as for an exchange that is over. Of readings with one key the newest counts."""
    if not readings:
        return Fused()
    latest = _latest(readings)
    reference = now or max(r.at for r in latest)
    window = timedelta(seconds=window_s)
    candidates = tuple(
        Candidate(
            reading=r,
            priority=PRIORITY[r.source],
            age_s=(reference - r.at).total_seconds(),
            fresh=reference - r.at <= window,
        )
        for r in sorted(latest, key=_rank, reverse=True)
    )
    settled = {name: found for name in _FIGURES if (found := _settle(name, candidates))}
    _drop_misfits(settled)
    lead = next((settled[name] for name in _LEADING if name in settled), None)
    about = _about([c.reading for c in candidates])
    if lead is None:
        return Fused(candidates=candidates, figures=settled, usage=_usage(settled), about=about)
    return Fused(
        usage=_usage(settled),
        source=lead.source,
        via=lead.via,
        rule=lead.rule,
        winner=lead.winner,
        stale=lead.stale,
        is_estimated=not lead.winner.reported,
        lower_bound=lead.winner.lower_bound and "input_tokens" in settled,
        candidates=candidates,
        figures=settled,
        about=about,
    )


def is_hybrid(proxy: int, logs: int) -> bool:
    """Whether two figures differ by more than 100 tokens and by less than 20 % of their mean."""
    apart = abs(proxy - logs)
    return apart > HYBRID_OVER and _TENTHS_OF_SUM * apart < proxy + logs


def _latest(readings: Iterable[Reading]) -> list[Reading]:
    by_key: dict[str, Reading] = {}
    for reading in readings:
        known = by_key.get(reading.key)
        if known is None or (reading.at, _rank(reading)) > (known.at, _rank(known)):
            by_key[reading.key] = reading
    return list(by_key.values())


def _rank(reading: Reading) -> tuple[int, datetime, bool, bool, str, str, str, str]:
    """Priority, then newness; the rest only makes the order a total one."""
    return (
        PRIORITY[reading.source],
        reading.at,
        reading.reported,
        reading.lower_bound,
        reading.joined_by or "",
        str(reading.usage),
        reading.key,
        reading.origin,
    )


def _settle(name: str, candidates: Sequence[Candidate]) -> Settled | None:
    having = [c for c in candidates if getattr(c.reading.usage, name) is not None]
    if not having:
        return None
    for candidate in having:
        if candidate.reading.source is Source.USAGE and candidate.reading.reported:
            return _settled(name, candidate, 1, Source.USAGE)
    for candidate in having:
        reading = candidate.reading
        copied = reading.source is Source.LOGS and reading.reported and reading.joined_by == "id"
        if copied and not _is_floor(name, reading):
            return _settled(name, candidate, 2, Source.USAGE, via="logs")
    fresh = [c for c in having if c.fresh]
    if fresh:
        return _by_priority(name, fresh)
    last = max(having, key=lambda c: (c.reading.at, c.priority, _rank(c.reading)))
    return _settled(name, last, 5, last.reading.source)


def _by_priority(name: str, fresh: Sequence[Candidate]) -> Settled:
    """Rules 3 and 4; `fresh` is in falling rank."""
    floors = [c for c in fresh if _is_floor(name, c.reading)]
    firm = [c for c in fresh if c not in floors]
    if not firm:
        best = max(floors, key=lambda c: (c.priority, getattr(c.reading.usage, name)))
        return _settled(name, best, 3, best.reading.source)
    found = _hybrid(name, firm) or _settled(name, firm[0], 3, firm[0].reading.source)
    for floor in floors:
        if floor.priority > firm[0].priority and getattr(floor.reading.usage, name) > found.value:
            return _settled(name, floor, 3, floor.reading.source)
    return found


def _is_floor(name: str, reading: Reading) -> bool:
    return reading.lower_bound and name in ("input_tokens", "total_tokens")


def _hybrid(name: str, firm: Sequence[Candidate]) -> Settled | None:
    if firm[0].reading.source is not Source.PROXY or name == "cost_usd":
        return None
    log = next((c for c in firm if c.reading.source is Source.LOGS), None)
    if log is None:
        return None
    seen, written = (getattr(c.reading.usage, name) for c in (firm[0], log))
    if not is_hybrid(seen, written):
        return None
    return _settled(name, firm[0] if seen >= written else log, 4, Source.HYBRID)


def _settled(name: str, candidate: Candidate, rule: int, source: Source, via: str | None = None) -> Settled:
    value = getattr(candidate.reading.usage, name)
    return Settled(value=value, rule=rule, source=source, winner=candidate.reading, via=via)


def _drop_misfits(settled: dict[str, Settled]) -> None:
    """Leaves out a part that another reading gave than its whole, if the two don't belong together, or it
    doesn't fit, or is 0: clients write 0 for what they were not told."""
    for name, whole_name in _WHOLE.items():
        part, whole = settled.get(name), settled.get(whole_name)
        if part is None or whole is None or part.winner == whole.winner:
            continue
        both_reported = part.rule <= 2 and whole.rule <= 2
        same_whole = getattr(part.winner.usage, whole_name) == whole.value
        fits = name == "cost_usd" or 0 < part.value <= whole.value
        if not (fits and (both_reported or same_whole)):
            del settled[name]


def _usage(settled: dict[str, Settled]) -> Usage:
    values = {name: found.value for name, found in settled.items()}
    if "input_tokens" in values and "output_tokens" in values:
        values["total_tokens"] = values["input_tokens"] + values["output_tokens"]
    return Usage(**values)  # type: ignore[arg-type]  # the values came out of these very fields


def _about(ranked: Sequence[Reading]) -> About:
    found = {}
    for name in (f.name for f in fields(About)):
        found[name] = next((v for r in ranked if (v := getattr(r, name)) is not None), None)
    return About(**found)
