"""`kimi-mitm`: the command line. One module per command, listed here."""

from __future__ import annotations

from typing import Annotated

import typer

from kimi_mitm import __version__
from kimi_mitm.cli import logs
from kimi_mitm.cli.config import config
from kimi_mitm.cli.export import export

app = typer.Typer(
    name="kimi-mitm",
    help="What your IDE and agents send to LLM providers, as the proxy recorded it.",
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
    """What your IDE and agents send to LLM providers, as the proxy recorded it."""


app.command()(export)
app.command()(config)
app.command("import-logs")(logs.import_logs)
app.add_typer(logs.app, name="logs")


def main() -> None:
    """The console script."""
    app()
