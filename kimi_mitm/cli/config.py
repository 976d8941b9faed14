"""`kimi-mitm config`: the user's own table of models and providers."""

from __future__ import annotations

import typer

from kimi_mitm import user_config
from kimi_mitm.cli.common import fail


def config() -> None:
    """Show your own table of models.

    Where the file is, and which provider it names for which model.
    """
    try:
        table = user_config.providers()
    except user_config.ConfigError as e:
        fail(str(e))
    typer.echo(f"# {user_config.path()}" + ("" if table else " (none yet)"))
    typer.echo("[providers]")
    for model, provider in table.items():
        typer.echo(f'"{model}" = "{provider}"')
