"""Whether the clock can be right: certificates and records are judged by it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from kimi_mitm.doctor.finding import Finding, fault, ok

_BUILT = datetime(2026, 1, 1, tzinfo=UTC)
_SLACK = timedelta(minutes=5)


def check(now: datetime, newest: datetime | None) -> Iterator[Finding]:
    """`newest`: the latest time that was recorded, None without any."""
    mend = "set the system's clock (timedatectl set-ntp true)"
    if now < _BUILT:
        yield fault("clock", f"says {now:%Y-%m-%d}, which is before this program was made", mend)
    elif newest is not None and newest > now + _SLACK:
        yield fault("clock", f"says {now:%Y-%m-%d %H:%M} UTC, but {newest:%Y-%m-%d %H:%M} is recorded", mend)
    else:
        yield ok("clock", f"{now:%Y-%m-%d %H:%M} UTC")
