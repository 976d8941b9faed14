"""One thing that was looked at, and what came of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """How it is. Only `FAULT` makes `kimi-mitm doctor` fail."""

    OK = "ok"
    FAULT = "fault"
    WARNING = "warning"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject`: what was looked at; `text`: what came of it, one line; `mend`: the command that mends it."""

    subject: str
    state: State
    text: str
    mend: str | None = None


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(subject, State.OK, text)


def fault(subject: str, text: str, mend: str | None = None) -> Finding:
    """Something is wrong."""
    return Finding(subject, State.FAULT, text, mend)


def warning(subject: str, text: str, mend: str | None = None) -> Finding:
    """Something to know about."""
    return Finding(subject, State.WARNING, text, mend)


def unknown(subject: str, text: str) -> Finding:
    """It can't be told."""
    return Finding(subject, State.UNKNOWN, text)
