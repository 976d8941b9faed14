"""The flag (auto-session): whether a change of provider makes a new session.

The flag is the last of its changes: each change holds the whole state after it and a number that is
one more than the one before, so two processes that change it at once can be told apart.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


class FlagForced(Exception):
    """An admin holds the flag; nobody else may change it."""


class FlagAction(enum.StrEnum):
    """What a change of the flag was. `SET`: the value for all; `PROVIDER`: one provider's own value, or
    its removal; `FORCE`, `RELEASE`: an admin took hold of it, or let it go."""

    SET = "set"
    PROVIDER = "provider"
    FORCE = "force"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagChange:
    """One change, and the flag after it. `value`: what was set, None for a removal or release."""

    version: int
    at: datetime
    by: str | None
    action: FlagAction
    provider: str | None = None
    value: bool | None = None
    enabled: bool
    forced: bool | None = None
    providers: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flag:
    """The flag now. `first` is the option's value, which holds until anybody changes the flag."""

    first: bool
    last: FlagChange | None = None

    @property
    def version(self) -> int:
        """The number of the last change; 0 before the first."""
        return self.last.version if self.last else 0

    @property
    def forced(self) -> bool:
        """True while an admin holds it."""
        return self.last is not None and self.last.forced is not None

    @property
    def enabled(self) -> bool:
        """Its value for providers that have none of their own."""
        if self.last is None:
            return self.first
        return self.last.enabled if self.last.forced is None else self.last.forced

    @property
    def providers(self) -> Mapping[str, bool]:
        """Providers with a value of their own."""
        return self.last.providers if self.last else {}

    def holds_for(self, provider: str) -> bool:
        """Whether a conversation that moves to this provider gets a new session."""
        if self.forced:
            return self.enabled
        return self.providers.get(provider, self.enabled)

    def with_value(self, enabled: bool, by: str | None, at: datetime) -> Flag:
        """The flag set for all; itself when that was its value already and somebody had set it.
        Raises `FlagForced`."""
        self._check()
        if self.last is not None and self.last.enabled is enabled:
            return self
        return self._after(FlagAction.SET, by, at, value=enabled, enabled=enabled)

    def with_provider(self, provider: str, enabled: bool | None, by: str | None, at: datetime) -> Flag:
        """The flag with one provider's own value, or without it (None). Raises `FlagForced`."""
        self._check()
        if self.providers.get(provider) is enabled:
            return self
        rest = {name: value for name, value in self.providers.items() if name != provider}
        if enabled is not None:
            rest[provider] = enabled
        return self._after(
            FlagAction.PROVIDER,
            by,
            at,
            value=enabled,
            enabled=self.enabled,
            provider=provider,
            providers=rest,
        )

    def with_force(self, enabled: bool | None, by: str | None, at: datetime) -> Flag:
        """The flag held at a value, or let go (None): then its own value is as before."""
        forced = self.last.forced if self.last else None
        if forced is enabled:
            return self
        own = self.last.enabled if self.last else self.first
        action = FlagAction.RELEASE if enabled is None else FlagAction.FORCE
        return self._after(action, by, at, value=enabled, enabled=own, forced=enabled)

    def _check(self) -> None:
        if self.forced:
            raise FlagForced("An admin holds the flag.")

    def _after(
        self,
        action: FlagAction,
        by: str | None,
        at: datetime,
        *,
        value: bool | None,
        enabled: bool,
        forced: bool | None = None,
        provider: str | None = None,
        providers: Mapping[str, bool] | None = None,
    ) -> Flag:
        change = FlagChange(
            version=self.version + 1,
            at=at,
            by=by,
            action=action,
            provider=provider,
            value=value,
            enabled=enabled,
            forced=forced,
            providers=dict(self.providers if providers is None else providers),
        )
        return Flag(self.first, change)
