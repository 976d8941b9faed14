"""What several commands share: which database, times as people write them, how a refusal looks."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from kimi_mitm.settings import data_folder

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Database = Annotated[
    str | None,
    typer.Option(
        "--db", envvar="KIMI_DB", help="SQLite file or database URL.", show_default="the user's own"
    ),
]
Since = Annotated[
    str | None,
    typer.Option(help="Only what started since: ISO 8601 (UTC without a zone), or 90m, 24h, 7d."),
]


def fail(line: str) -> NoReturn:
    """Ends the command with one clear line and exit code 1."""
    typer.echo(f"kimi-mitm: {line}", err=True)
    raise typer.Exit(1)


def moment(text: str | None) -> datetime | None:
    """A time as people write it; fails the command on anything else."""
    if text is None:
        return None
    if text[:-1].isdecimal() and text[-1:] in _UNITS:
        return datetime.now(UTC) - timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--since: not a time: {text!r}")
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@asynccontextmanager
async def database(where: str | None) -> AsyncIterator[AsyncEngine]:
    """The database for reading; nothing is made. Fails the command when there is none."""
    from kimi_mitm.store.database import StoreError, connect

    try:
        engine = await connect(where or str(data_folder() / "kimi.db"), create=False)
    except StoreError as e:
        fail(str(e))
    try:
        yield engine
    finally:
        await engine.dispose()


def say(line: str) -> None:
    """One line for people, beside the output."""
    typer.echo(f"kimi-mitm: {line}", err=True)


def count(noun: str, number: int) -> str:
    """A number of things: `1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def user_name() -> str:
    """The user, as the system names them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def leave_quietly() -> NoReturn:
    """The reader of our output is gone (`| head`): that is no error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise typer.Exit(0)
