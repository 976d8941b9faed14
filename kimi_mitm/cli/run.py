"""`kimi-mitm run`: any command, with its LLM traffic watched for as long as it runs."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

import typer

from kimi_mitm.cli.common import say, user_name
from kimi_mitm.launch import bundles, one_shot, proxies, recorded, summary, terminal, variables
from kimi_mitm.launch.one_shot import Attempt, Watcher
from kimi_mitm.launch.proxies import OwnProxy, ProxyError
from kimi_mitm.launch.summary import Seen
from kimi_mitm.launch.table import Client, table
from kimi_mitm.running_file import RunningProxy
from kimi_mitm.settings import data_folder

_WARNINGS_SHOWN = 3


def run(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments.", show_default=False)],
    one_shot: Annotated[
        bool, typer.Option("--one-shot", help="Give the client a new session id, where it takes one.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No summary at the end.")] = False,
    user: Annotated[
        str | None, typer.Option(help="Whose traffic it is.", show_default="you, as the system names you")
    ] = None,
    proxy_arg: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy-arg",
            help="An argument for mitmdump, where a proxy is started; may be repeated.",
            show_default=False,
        ),
    ] = None,
    own: Annotated[bool, typer.Option("--own-proxy", help="Start a proxy even if one is running.")] = False,
) -> None:
    """Run a command with its LLM traffic watched.

    Everything else about it stays as it is: its terminal, its signals, its exit code.
    """
    this = Run(command, user or user_name(), one_shot=one_shot, quiet=quiet)
    try:
        terminal.path_of(command[0], os.environ)
        code = this.run(proxy_arg or [], own=own or bool(proxy_arg))
    except terminal.NoCommand as e:
        say(str(e))
        code = e.code
    raise typer.Exit(terminal.end_like(code))


@dataclass
class Run:
    """One run. `id` names it to the proxy, which keeps it with each exchange."""

    argv: Sequence[str]
    user: str
    one_shot: bool = False
    quiet: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    started_at: datetime = field(default_factory=recorded.now)
    attempt: Attempt | None = None

    def run(self, proxy_arguments: Sequence[str], *, own: bool) -> int:
        """Runs the command; gives its exit code, or minus the signal that ended it.

        Raises `terminal.NoCommand`.
        """
        client = table().started_by(self.argv)
        given = dict(os.environ)
        environment = given
        started: OwnProxy | None = None
        proxy: RunningProxy | None = None
        try:
            try:
                proxy = None if own else self._joined(given)
                if proxy is None:
                    started = OwnProxy(given, proxy_arguments, variables.own_proxy(given))
                    proxy = started.start()
                environment = given | self._variables(proxy, client, given)
                environment |= started.variables if started else {}
            except (ProxyError, bundles.NoCertificate, OSError) as e:
                say(f"the proxy can't be used, the command runs without it: {e}")
                proxy = None
                if started is not None:
                    started.stop()
            code = self._client(client, environment)
        finally:
            if started is not None:
                started.stop()
        complaints = [line for line in started.complaints() if "kimi" in line] if started else []
        self._summarise(proxy, started, [line.removeprefix("kimi: ") for line in complaints])
        return code

    def _joined(self, given: dict[str, str]) -> RunningProxy | None:
        found = proxies.find(given)
        if found is None or found.proxy is None or found.asks:
            return None
        own = variables.own_proxy(given)
        if own and not variables.same_address(own, *found.proxy) and not _goes_on_to(found, own):
            return None
        return found if bundles.has_ca(found.confdir) else None

    def _variables(self, proxy: RunningProxy, client: Client | None, given: dict[str, str]) -> dict[str, str]:
        assert proxy.proxy is not None
        if variables.passes_everything(given):
            say("NO_PROXY named every host; for this command it names loopback only")
        url = variables.proxy_url(*proxy.proxy, self.user, variables.run_password(self.id, client))
        files = bundles.make(proxy.confdir, given)
        return variables.plan(url, files, given, windows=sys.platform == "win32")

    def _client(self, client: Client | None, environment: dict[str, str]) -> int:
        if not self.one_shot or client is None:
            return terminal.Client(self.argv, environment).run()
        return self._once(client, environment)

    def _once(self, client: Client, environment: dict[str, str]) -> int:
        attempt = self.attempt = one_shot.first(self.argv, client, str(uuid.uuid4()))
        refusal = client.refusal(attempt.session_id) if attempt.session_id else None
        watcher = Watcher(refusal) if refusal else None
        code = terminal.Client(attempt.argv, environment, watcher).run()
        if watcher is not None and watcher.refused and code:
            self.attempt = one_shot.again(attempt, client, str(uuid.uuid4()))
            say(f"session id {attempt.session_id} is in use, trying again with {self.attempt.session_id}")
            code = terminal.Client(self.attempt.argv, environment).run()
        return code

    def _summarise(
        self, proxy: RunningProxy | None, started: OwnProxy | None, complaints: Sequence[str]
    ) -> None:
        seen = self._seen(proxy, started is not None) if proxy is not None else []
        if not self.quiet and proxy is not None:
            for line in complaints[:_WARNINGS_SHOWN]:
                say(line)
            for line in ["what was recorded can't be read"] if seen is None else summary.lines(seen):
                say(line)
        real = summary.client_session(seen or []) or (self.attempt.session_id if self.attempt else None)
        if self.one_shot and real:
            say(f"session id {real}")

    def _seen(self, proxy: RunningProxy, own: bool) -> list[Seen] | None:
        """What was recorded of this run; None when that can't be read. `own`: the proxy has ended."""
        control = None if own else proxies.control_of(proxy, os.environ, recorded.SETTLE_S)
        if control is not None:
            token = os.environ.get("KIMI_CONTROL_TOKEN", "")
            found = recorded.of_control(control, token, self.id, self.started_at)
            if found is not None:
                return found
        where = proxy.db or os.environ.get("KIMI_DB") or str(data_folder() / "kimi.db")
        try:
            if "://" not in where:
                return recorded.of_file(where, self.id, self.started_at)
            return recorded.of_database(where, self.id, self.started_at)
        except Exception:  # of whichever database's driver
            return None


def _goes_on_to(proxy: RunningProxy, own: str) -> bool:
    """Whether the running proxy goes on to the user's own; to another one's, traffic would go astray."""
    host, _, port = (proxy.upstream or "").rpartition(":")
    return bool(host) and variables.same_address(own, host, int(port))
