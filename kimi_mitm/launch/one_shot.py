"""A run with a session of its own: the id is put into the command line, a refusal of it is recognised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kimi_mitm.launch.table import Client, table

_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Attempt:
    """A command line and the session id in it; None when the client takes none, or has one chosen by other
    options. `given` is True when the user named the id."""

    argv: tuple[str, ...]
    session_id: str | None = None
    given: bool = False


def first(argv: Sequence[str], client: Client | None, session_id: str) -> Attempt:
    """The command line with the new id, or as it was where it names one already."""
    if client is None or client.session is None:
        return Attempt(tuple(argv))
    own = named(argv, client.session)
    if own is not None:
        return Attempt(tuple(argv), own, given=True)
    if any(word.split("=", 1)[0] in client.taken for word in argv[1:]):
        return Attempt(tuple(argv))
    place = _after_program(argv, client)
    return Attempt((*argv[:place], client.session, session_id, *argv[place:]), session_id)


def again(attempt: Attempt, client: Client, session_id: str) -> Attempt:
    """The same with another id."""
    assert client.session is not None
    words: list[str] = []
    skip = False
    for word in attempt.argv:
        if skip:
            words.append(session_id)
            skip = False
        elif word.startswith(f"{client.session}="):
            words.append(f"{client.session}={session_id}")
        else:
            words.append(word)
            skip = word == client.session
    return Attempt(tuple(words), session_id)


def named(argv: Sequence[str], option: str) -> str | None:
    """The value of an option in a command line, None without it."""
    for index, word in enumerate(argv):
        if word == "--":
            return None
        if word == option:
            return argv[index + 1] if index + 1 < len(argv) else None
        if word.startswith(f"{option}="):
            return word.split("=", 1)[1]
    return None


class Watcher:
    """Looks through what a client writes, in pieces as they come, for the refusal of its session id."""

    def __init__(self, refusal: re.Pattern[str]) -> None:
        self._refusal = refusal
        self._tail = ""
        self.refused = False

    def feed(self, piece: bytes) -> None:
        """Takes the next piece."""
        if self.refused:
            return
        text = self._tail + piece.decode("utf-8", "replace")
        self.refused = self._refusal.search(_without_colours(text)) is not None
        self._tail = text[-_KEPT:]


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def _after_program(argv: Sequence[str], client: Client) -> int:
    """Where the client's own options begin: behind its name, wherever a launcher has put that."""
    for index in range(1, len(argv) + 1):
        if client is table().started_by(argv[:index]):
            return index
    return 1
