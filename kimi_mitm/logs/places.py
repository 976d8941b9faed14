"""Where clients keep their logs, per operating system: from rows of the table to folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from kimi_mitm.logs.source import Place

_EDITORS: Final = (
    "Code",
    "Code - Insiders",
    "VSCodium",
    "VSCodium - Insiders",
    "Cursor",
    "Windsurf",
    "Kiro",
    "Trae",
    "Positron",
)
_SERVERS: Final = (
    ".vscode-server",
    ".vscode-server-insiders",
    ".vscodium-server",
    ".cursor-server",
    ".windsurf-server",
    ".vscode-remote",
)


def roots(place: Place, home: Path, env: Mapping[str, str], platform: str) -> Iterator[Path]:
    """The folders (or the file, with an empty pattern) that `place` stands for, there or not.

    `platform` as `sys.platform`. `env` should be empty when `home` isn't the home of whoever set it.
    """
    if place.env and (named := env.get(place.env)):
        for part in named.split(","):
            if part.strip():
                yield Path(part.strip()).expanduser()
        return
    word, _, rest = place.root.partition("}")
    for base in _bases(word.removeprefix("{"), home, env, platform):
        yield base / rest.lstrip("/") if rest.lstrip("/") else base


def _bases(word: str, home: Path, env: Mapping[str, str], platform: str) -> Iterator[Path]:
    match word:
        case "home":
            yield home
        case "data":
            yield Path(env.get("XDG_DATA_HOME") or home / ".local" / "share")
        case "config":
            yield Path(env.get("XDG_CONFIG_HOME") or home / ".config")
        case "appdata":
            yield _appdata(home, env, platform)
        case "vscode":
            yield from (_appdata(home, env, platform) / editor / "User" for editor in _EDITORS)
            yield from (home / server / "data" / "User" for server in _SERVERS)
        case _:
            raise ValueError(f"no such base: {word}")


def _appdata(home: Path, env: Mapping[str, str], platform: str) -> Path:
    if platform == "win32":
        return Path(env.get("APPDATA") or home / "AppData" / "Roaming")
    if platform == "darwin":
        return home / "Library" / "Application Support"
    return Path(env.get("XDG_CONFIG_HOME") or home / ".config")
