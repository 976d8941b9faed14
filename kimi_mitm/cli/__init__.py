"""`kimi-mitm`: the command line. One module per command, listed here and loaded when it is asked for:
a client that is started by `run` should not wait for what `export` needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from kimi_mitm import __version__

COMMANDS: Mapping[str, str] = {
    "run": "run:run",
    "env": "env:env",
    "setup": "setup:setup",
    "ca": "ca:app",
    "doctor": "doctor:doctor",
    "top": "top:top",
    "stats": "stats:stats",
    "sessions": "sessions:app",
    "export": "export:export",
    "import-logs": "logs:import_logs",
    "logs": "logs:app",
    "config": "config:config",
}
"""Name → module below this package, and what in it is the command: a function, or an app of several."""
_RUNS_ANOTHER: Final = frozenset({"run"})
"""Commands whose arguments are a command line: what follows its first word is not ours to read."""


class Commands(TyperGroup):
    """The commands of the table. click asks by name, for help and completion too."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = _load(cmd_name)
        return self.commands[cmd_name]


def _load(name: str) -> Any:
    module, _, attribute = COMMANDS[name].partition(":")
    found: typer.Typer | Callable[..., Any] = getattr(
        importlib.import_module(f"{__name__}.{module}"), attribute
    )
    if isinstance(found, typer.Typer):
        group = get_group(found)
        group.name = name
        return group
    one = typer.Typer(rich_markup_mode=None, add_completion=False)
    one.command(name, context_settings={"allow_interspersed_args": name not in _RUNS_ANOTHER})(found)
    return get_command(one)


app = typer.Typer(
    cls=Commands,
    name="kimi-mitm",
    help="What your IDE and agents send to LLM providers, as the proxy records it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"kimi-mitm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """What your IDE and agents send to LLM providers, as the proxy records it."""


def main() -> None:
    """The console script."""
    app()
