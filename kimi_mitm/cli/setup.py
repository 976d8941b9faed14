"""`kimi-mitm setup`: the proxy settings of an IDE, shown before they are written, and taken back."""

from __future__ import annotations

import difflib
import enum
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from kimi_mitm.cli.common import fail, say, user_name
from kimi_mitm.cli.env import DEFAULT
from kimi_mitm.launch import bundles, ide, proxies, variables
from kimi_mitm.launch.backups import Edited, Tangled
from kimi_mitm.launch.ide import Proxy, SettingsError
from kimi_mitm.logs.places import roots
from kimi_mitm.logs.source import Place

_VSCODE_CA = (
    "its extensions trust our CA once the system does (`kimi-mitm ca trust`), or when it is started by "
    "`kimi-mitm run -- code`"
)
_JETBRAINS_CA = (
    "let it trust our CA: Settings | Tools | Server Certificates takes the file that `kimi-mitm ca path` "
    "names. Close the IDE before this, for it writes its settings when it ends"
)
_PRODUCT = re.compile(r"[A-Za-z-]+20\d\d\.\d+")


class Ide(enum.StrEnum):
    """What can be set up."""

    VSCODE = "vscode"
    JETBRAINS = "jetbrains"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How one IDE is set up. `empty`: what a file that isn't there yet counts as, None where there must be
    one."""

    files: Callable[[], Iterator[Path]]
    edit: Callable[[str, Proxy], str]
    empty: str | None
    hint: str


def setup(
    what: Annotated[Ide, typer.Argument(help="Which IDE.", metavar="vscode|jetbrains|continue")],
    file: Annotated[
        list[Path] | None,
        typer.Option(help="A settings file; may be repeated.", show_default="all that are found"),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take it back; later edits of yours stay.")] = False,
) -> None:
    """Write the proxy into an IDE's settings.

    The difference is shown first, and you are asked.
    """
    kind = KINDS[what]
    found = [Edited(path) for path in dict.fromkeys(file or kind.files())]
    if undo:
        found = [edited for edited in found if edited.known]
    if not found:
        fail(
            "nothing of ours to take back" if undo else f"no settings of {what.value} found; --file names one"
        )
    proxy = None if undo else _proxy()
    results = [_one(edited, kind, proxy, yes) for edited in found]
    if not undo and any(results):
        say(kind.hint)
    if not all(results):
        raise typer.Exit(1)


def _one(edited: Edited, kind: Kind, proxy: Proxy | None, yes: bool) -> bool:
    """Does one file; False when it was left as it is for a reason."""
    empty = kind.empty or ""
    try:
        current = edited.text()
        before = edited.without_ours(current, empty)
        if proxy is None:
            return _take_back(edited, current or "", before, yes)
        if before is None and kind.empty is None:
            raise SettingsError("there is no such file")
        after = kind.edit(before if before and before.strip() else empty, proxy)
        if after == current:
            say(f"{edited.path}: nothing to change")
            return True
        if not _agreed(edited.path, current or "", after, yes):
            return False
        edited.write(before, after, empty)
    except (SettingsError, Tangled, UnicodeError, OSError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else e
        say(f"{edited.path}: {why}; it is left as it is")
        if edited.known:
            say(f"what it was before our edit is in {edited.folder}")
        return False
    return True


def _take_back(edited: Edited, current: str, before: str | None, yes: bool) -> bool:
    if not _agreed(edited.path, current, before or "", yes):
        return False
    edited.restore(current, before)
    return True


def _agreed(path: Path, current: str, after: str, yes: bool) -> bool:
    old, new = (text.splitlines() for text in (current, after))
    for line in difflib.unified_diff(old, new, str(path), str(path), lineterm=""):
        typer.echo(line)
    return yes or typer.confirm("Write this?", err=True)


def _proxy() -> Proxy:
    running = proxies.find() or DEFAULT
    if running is DEFAULT:
        say("no proxy is running here; this is for one on 127.0.0.1:8080")
    if running.proxy is None:
        fail("the running proxy has no mode that a client is pointed at by a proxy setting")
    try:
        files = bundles.make(running.confdir, {})
    except (bundles.NoCertificate, OSError) as e:
        fail(f"{e}: start the proxy once, it makes its CA")
    host, port = running.proxy
    url = variables.proxy_url(host, port, user_name())
    return Proxy(url=url, host=host, port=port, bundle=files.bundle)


def _vscode_files() -> Iterator[Path]:
    place = Place(root="{vscode}", pattern="settings.json")
    for folder in roots(place, Path.home(), os.environ, sys.platform):
        if folder.is_dir():
            yield folder / "settings.json"


def _jetbrains_files() -> Iterator[Path]:
    for vendor in ("JetBrains", "Google"):
        place = Place(root="{appdata}/" + vendor, pattern="")
        for folder in roots(place, Path.home(), os.environ, sys.platform):
            for product in sorted(folder.glob("*")) if folder.is_dir() else ():
                if _PRODUCT.fullmatch(product.name) and product.is_dir():
                    yield product / "options" / "proxy.settings.xml"


def _continue_files() -> Iterator[Path]:
    place = Place(root="{home}/.continue", pattern="", env="CONTINUE_GLOBAL_DIR")
    for folder in roots(place, Path.home(), os.environ, sys.platform):
        if (folder / "config.yaml").is_file():
            yield folder / "config.yaml"


KINDS = {
    Ide.VSCODE: Kind(files=_vscode_files, edit=ide.vscode, empty="{\n}\n", hint=_VSCODE_CA),
    Ide.JETBRAINS: Kind(
        files=_jetbrains_files,
        edit=ide.jetbrains,
        empty="<application>\n</application>\n",
        hint=_JETBRAINS_CA,
    ),
    Ide.CONTINUE: Kind(
        files=_continue_files, edit=ide.continue_, empty=None, hint="Continue reads it again by itself"
    ),
}
