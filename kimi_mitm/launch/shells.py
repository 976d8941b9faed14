"""Variables as a shell reads them, for `eval` and its like."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping


class Shell(enum.StrEnum):
    """The shells that we write for."""

    SH = "sh"
    FISH = "fish"
    POWERSHELL = "powershell"
    CMD = "cmd"


def render(variables: Mapping[str, str], shell: Shell) -> str:
    """One line a variable."""
    return "".join(f"{_LINES[shell](name, value)}\n" for name, value in variables.items())


def how(shell: Shell, command: str) -> str:
    """How the output of `command` is taken over by the shell."""
    return {
        Shell.SH: f'eval "$({command})"',
        Shell.FISH: f"{command} | source",
        Shell.POWERSHELL: f"{command} | Out-String | Invoke-Expression",
        Shell.CMD: f"for /f \"delims=\" %v in ('{command}') do @%v",
    }[shell]


def guess(shell_variable: str | None, windows: bool) -> Shell:
    """The shell that somebody uses, by `$SHELL`; on Windows PowerShell without one."""
    if shell_variable and re.search(r"(?:^|[/\\])fish(?:\.exe)?$", shell_variable):
        return Shell.FISH
    return Shell.POWERSHELL if windows and not shell_variable else Shell.SH


def _sh(name: str, value: str) -> str:
    plain = re.fullmatch(r"[\w@%+=:,./-]+", value, re.ASCII)
    quoted = value if plain else "'" + value.replace("'", "'\"'\"'") + "'"
    return f"export {name}={quoted}"


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _powershell(name: str, value: str) -> str:
    return f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'"


def _cmd(name: str, value: str) -> str:
    """`%` stays as it is: on cmd's command line, which is where `for /f` runs this, it can't be doubled."""
    return f'set "{name}={value}"'


_LINES: Mapping[Shell, Callable[[str, str], str]] = {
    Shell.SH: _sh,
    Shell.FISH: _fish,
    Shell.POWERSHELL: _powershell,
    Shell.CMD: _cmd,
}
