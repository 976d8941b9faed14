"""Every command and every option is in docs/cli.md, under its command's heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from kimi_mitm.cli import COMMANDS, app

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (kimi-mitm \S+)\n(.*?)(?=^## |\Z)", DOCS, re.MULTILINE | re.DOTALL))
ROOT: Any = get_command(app)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    if hasattr(command, "list_commands"):
        context = command.make_context(path, [], resilient_parsing=True)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), f"{path} {name}")


ALL = dict(commands(ROOT, "kimi-mitm"))


@pytest.mark.parametrize("path", ALL)
def test_a_command_is_documented(path: str) -> None:
    assert path in DOCS


@pytest.mark.parametrize("path", ALL)
def test_its_options_are_documented_with_it(path: str) -> None:
    words = path.split()
    text = SECTIONS[" ".join(words[:2])] if len(words) > 1 else DOCS

    for option in ALL[path].params:
        for name in option.opts if option.param_type_name == "option" else ():
            assert f"`{name}" in text or name in text.split() or f"{name}`" in text, name


@pytest.mark.parametrize("path", ALL)
def test_every_option_says_what_it_is(path: str) -> None:
    for option in ALL[path].params:
        assert option.help, option.name


def test_nothing_is_documented_that_there_is_not() -> None:
    assert set(SECTIONS) == {f"kimi-mitm {name}" for name in COMMANDS}


def test_help_lists_every_command_in_one_whole_sentence() -> None:
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).stdout

    listed = shown.partition("Commands:")[2]
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert "..." not in listed


def test_completion_knows_commands_and_options() -> None:
    environment = {
        "_KIMI_MITM_COMPLETE": "complete_bash",
        "COMP_WORDS": "kimi-mitm sta",
        "COMP_CWORD": "1",
    }
    assert CliRunner().invoke(app, [], env=environment, prog_name="kimi-mitm").stdout.split() == ["stats"]

    environment |= {"COMP_WORDS": "kimi-mitm stats --pro", "COMP_CWORD": "2"}
    shown = CliRunner().invoke(app, [], env=environment, prog_name="kimi-mitm").stdout
    assert shown.split() == ["--provider"]
