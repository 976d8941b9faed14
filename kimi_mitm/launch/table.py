"""The table of `clients.toml`: which variables there are, what each client needs, who is being started."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import PurePosixPath, PureWindowsPath

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A variable of the environment; fields as the file explains them."""

    name: str
    holds: str
    about: str
    value: str = ""
    twin: str | None = None
    only_if_set: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client that can be started; fields as the file explains them."""

    name: str
    commands: tuple[str, ...]
    runtime: str
    needs: tuple[str, ...]
    packages: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    silent: bool = False
    session: str | None = None
    taken: tuple[str, ...] = ()
    in_use: str | None = None

    def refusal(self, session_id: str) -> re.Pattern[str] | None:
        """What the client says when this session id is in use; None for one that takes no id."""
        if self.in_use is None:
            return None
        before, _, after = self.in_use.partition("{id}")
        return re.compile(re.escape(before) + re.escape(session_id) + re.escape(after), re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """All rows."""

    variables: tuple[Variable, ...]
    clients: tuple[Client, ...]
    launchers: frozenset[str]

    def client(self, name: str) -> Client | None:
        """The client of that name or command, None when there is none."""
        return next((c for c in self.clients if name == c.name or name in c.commands), None)

    def started_by(self, argv: Sequence[str]) -> Client | None:
        """The client that a command line starts, through `npx` and the like too; None for any other."""
        for word in _programs(argv, self.launchers):
            for client in self.clients:
                if _base(word) in client.commands or _package(word) in client.packages:
                    return client
        return None

    def variables_of(self, client: Client | None) -> tuple[Variable, ...]:
        """What this client needs; all for None."""
        if client is None:
            return self.variables
        wanted = {*client.needs, *client.also}
        flags = client.runtime == "node"
        return tuple(
            v
            for v in self.variables
            if v.holds in ("proxy", "no_proxy") or v.name in wanted or (v.holds == "flag" and flags)
        )


@cache
def table() -> Table:
    """The table, read once."""
    found = tomllib.loads((resources.files(__package__) / "clients.toml").read_text(encoding="utf-8"))
    return Table(
        msgspec.convert(found["variables"], tuple[Variable, ...]),
        msgspec.convert(found["clients"], tuple[Client, ...]),
        frozenset(found["launchers"]["commands"]),
    )


def _programs(argv: Sequence[str], launchers: frozenset[str]) -> Iterator[str]:
    """The words of a command line that may name a program: the first, and while it is a launcher, the
    plain words after it."""
    launched = True
    for word in argv:
        if not launched:
            return
        yield word
        plain = not word.startswith("-") and word.lower() != "/c" and "=" not in word
        launched = not plain or _base(word) in launchers or word in _WORDS or _number(word)


_WORDS = frozenset({"run", "exec", "x", "dlx", "tool", "m"})


def _number(word: str) -> bool:
    return re.fullmatch(r"\d+(?:\.\d+)?[smhd]?", word) is not None


def _base(word: str) -> str:
    """A program's name without folder and extension."""
    name = PureWindowsPath(word).name if "\\" in word else PurePosixPath(word).name
    name = name.lower()
    return re.sub(r"\.(?:exe|cmd|bat|ps1|js|mjs|cjs)$", "", name)


def _package(word: str) -> str:
    """A package's name without its version."""
    return re.sub(r"(?<=.)(?:@|==).*$", "", word)
