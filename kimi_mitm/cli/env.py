"""`kimi-mitm env`: the variables that point a client at the running proxy, for a shell to take over."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from kimi_mitm.cli.common import fail, say, user_name
from kimi_mitm.launch import bundles, proxies, shells, variables
from kimi_mitm.launch.shells import Shell
from kimi_mitm.launch.table import Client, table
from kimi_mitm.running_file import RunningProxy

DEFAULT = RunningProxy(process="", proxy=("127.0.0.1", 8080), confdir=str(Path("~/.mitmproxy")))
"""The proxy that mitmproxy starts when nothing else is said."""


def env(
    client: Annotated[
        str | None,
        typer.Argument(
            help="Only what this client needs: claude, codex, gemini, …", show_default="everything"
        ),
    ] = None,
    shell: Annotated[
        Shell | None, typer.Option(help="Which shell's words.", show_default="by $SHELL")
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="Whose traffic it is.", show_default="you, as the system names you")
    ] = None,
) -> None:
    """Print variables that lead to the proxy.

    Your shell takes them over: eval "$(kimi-mitm env)".
    """
    wanted = _client(client) if client else None
    proxy = proxies.find() or DEFAULT
    if proxy is DEFAULT:
        say("no proxy is running here; this is for one on 127.0.0.1:8080")
    if proxy.proxy is None:
        fail("the running proxy has no mode that a client is pointed at by a proxy setting")
    try:
        files = bundles.make(proxy.confdir, os.environ)
    except (bundles.NoCertificate, OSError) as e:
        fail(f"{e}: start the proxy once, it makes its CA")
    windows = sys.platform == "win32"
    url = variables.proxy_url(*proxy.proxy, user or user_name())
    found = variables.plan(url, files, os.environ, windows=windows, client=wanted)
    chosen = shell or shells.guess(os.environ.get("SHELL"), windows)
    typer.echo(shells.render(found, chosen), nl=False)
    if sys.stdout.isatty():
        words = ["kimi-mitm env", *([client] if client else [])]
        say("to use them: " + shells.how(chosen, " ".join(words)))


def _client(name: str) -> Client:
    found = table().client(name)
    if found is None:
        fail(f"{name} is not known; known are {', '.join(c.name for c in table().clients)}")
    return found
