"""`kimi-mitm doctor`: what keeps traffic from being seen, and the command that mends it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from kimi_mitm.cli.common import Database, fail
from kimi_mitm.doctor import authority, clock, handshake, proxy, storage, traffic
from kimi_mitm.doctor.finding import Finding, State
from kimi_mitm.doctor.proxy import Found
from kimi_mitm.launch import bundles, variables
from kimi_mitm.settings import data_folder
from kimi_mitm.store.database import StoreError, connect

_SIGNS = {State.OK: "✓", State.FAULT: "✗", State.WARNING: "!", State.UNKNOWN: "?"}
_STYLES = {State.OK: "green", State.FAULT: "bold red", State.WARNING: "yellow", State.UNKNOWN: "dim"}


def doctor(
    db: Database = None,
    port: Annotated[int, typer.Option(help="Where a proxy is looked for that isn't found otherwise.")] = 8080,
    control: Annotated[
        str, typer.Option(envvar="KIMI_CONTROL", help="Where its control endpoint would be.")
    ] = "127.0.0.1:8082",
    home: Annotated[
        Path | None, typer.Option("--home", envvar="KIMI_LOGS_HOME", help="Where the clients' folders are.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Find what keeps traffic from being seen.

    One line each, with what mends it; exit code 1 when something is wrong.
    """
    examined = Examination(db, port, _address(control), home or Path.home())
    faults = 0
    console = Console(highlight=False, soft_wrap=True)
    for finding in examined.findings():
        faults += finding.state is State.FAULT
        if json:
            typer.echo(msgspec.json.encode(finding).decode())
        else:
            _show(console, finding)
    if not json:
        typer.echo(f"{faults or 'no'} {'fault' if faults == 1 else 'faults'} found")
    raise typer.Exit(1 if faults else 0)


class Examination:
    """One look at everything, in the order in which faults follow from each other."""

    def __init__(self, db: str | None, port: int, control: tuple[str, int] | None, home: Path) -> None:
        self._port = port
        self._control = control
        self._home = home
        self._environment = dict(os.environ)
        self._now = datetime.now(UTC)
        self._found = proxy.find(port, self._environment)
        running = self._found.proxy
        self._db = db or (running.db if running and running.db else str(data_folder() / "kimi.db"))

    def findings(self) -> Iterator[Finding]:
        """Everything, as it is found out."""
        yield from proxy.check(self._found, self._port, self._control)
        confdir = self._found.proxy.confdir if self._found.proxy else "~/.mitmproxy"
        yield from authority.check(confdir, self._now)
        yield from proxy.check_shell(self._found, self._environment)
        yield from self._trust(confdir)
        stored = storage.check(self._db, self._found.health)
        yield from stored
        usable = all(f.state in (State.OK, State.WARNING) for f in stored) and Path(self._db).exists()
        newest = asyncio.run(self._newest()) if usable else None
        yield from clock.check(self._now, newest)
        logs = traffic.find(self._home, self._environment)
        yield from traffic.check_logs(logs, self._found.health)
        if usable and self._found.health is not None:
            yield from asyncio.run(self._clients(logs, self._found))

    def _trust(self, confdir: str) -> Iterator[Finding]:
        """As this shell's clients would, if they are pointed at the proxy; else as `run` starts them."""
        running = self._found.proxy
        if running is None or running.proxy is None or not bundles.has_ca(confdir):
            return
        environment = self._environment
        if not proxy.points_here(self._found, environment):
            try:
                files = bundles.make(confdir, environment)
            except (bundles.NoCertificate, OSError):
                return
            url = variables.proxy_url(*running.proxy)
            environment = environment | variables.plan(
                url, files, environment, windows=sys.platform == "win32"
            )
        if running.upstream is None:
            yield from handshake.check(running.proxy, environment)

    async def _newest(self) -> datetime | None:
        try:
            engine = await connect(self._db, create=False)
        except StoreError:
            return None
        try:
            return await storage.newest(engine)
        finally:
            await engine.dispose()

    async def _clients(self, logs: Sequence[traffic.Log], found: Found) -> Sequence[Finding]:
        uptime = (found.health or {}).get("uptime_s")
        if not isinstance(uptime, int | float):
            return []
        try:
            engine = await connect(self._db, create=False)
        except StoreError:
            return []
        try:
            return await traffic.check_clients(logs, engine, self._now - timedelta(seconds=uptime))
        finally:
            await engine.dispose()


def _show(console: Console, finding: Finding) -> None:
    style = _STYLES[finding.state]
    console.print(f"[{style}]{_SIGNS[finding.state]}[/] ", end="")
    console.print(f"{finding.subject}: {finding.text}", markup=False, end="")
    if finding.mend:
        console.print(f"  → {finding.mend}", markup=False, style="bold", end="")
    console.print()


def _address(text: str) -> tuple[str, int] | None:
    if not text.strip():
        return None
    host, _, port = text.strip().rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        fail(f"--control: not an address: {text!r}")
    return host.strip("[]") or "127.0.0.1", int(port)
