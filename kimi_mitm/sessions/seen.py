"""What the session rules are given: the options that matter to them, and what was seen of an exchange."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from datetime import timedelta

from kimi_mitm.sessions.names import scope_of, tidy

ANY_CLIENT = None
"""The client of the line that a session without a client is activated for."""


class SessionBy(enum.StrEnum):
    """What tells sessions apart (`kimi_session_by`)."""

    AUTO = "auto"
    PROVIDER = "provider"
    CLIENT = "client"
    EXCHANGE = "exchange"


class Policy(enum.StrEnum):
    """What the flag does (`kimi_auto_session_policy`): `SMART` leaves side traffic out, `ALWAYS` counts
    every exchange, `RESUME` goes back to a live session of that provider instead of a new one."""

    SMART = "smart"
    ALWAYS = "always"
    RESUME = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The options that matter here. `realm` keeps exchanges read from a file apart from live ones of
    the same user and client; empty for live traffic."""

    by: SessionBy = SessionBy.AUTO
    policy: Policy = Policy.SMART
    timeout: timedelta = timedelta(seconds=300)
    check_interval: timedelta = timedelta(seconds=30)
    archive_on_disconnect: bool = False
    realm: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of an exchange when its request was read.

    `provider` is None or `unknown` when the model's name doesn't tell. `prompt` names the user's prompt
    that the exchange works on (a digest, a number), the same for every request of one agent's loop;
    None when it can't be told. `issued_ids` are ids that the provider issued earlier. `connection`
    names the client's connection. Host, wire format and context window make the provider's route.
    """

    exchange_id: str
    user: str
    client: str = "unknown"
    provider: str | None = None
    model: str | None = None
    side: bool = False
    client_session_id: str | None = None
    x_session_id: str | None = None
    issued_ids: tuple[str, ...] = ()
    prompt: str | None = None
    folder: str | None = None
    connection: str | None = None
    host: str | None = None
    wire_format: str | None = None
    context_window: int | None = None


def known_provider(provider: str | None) -> str | None:
    """The provider, or None when it isn't known."""
    return None if provider in (None, "", "unknown") else provider


def line_scope(rules: Rules, user: str, client: str | None) -> str:
    """The scope of a user and client whose client brings no id."""
    return scope_of("line", rules.realm, user, client)


def tidied(seen: Seen) -> Seen:
    """The same with every name tidy."""
    return replace(
        seen,
        user=tidy(seen.user),
        client=tidy(seen.client),
        provider=tidy(seen.provider),
        model=tidy(seen.model),
        client_session_id=tidy(seen.client_session_id),
        x_session_id=tidy(seen.x_session_id),
        prompt=tidy(seen.prompt),
        folder=tidy(seen.folder),
    )
