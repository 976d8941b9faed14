"""Where a running proxy can be found: a small file that the recorder keeps in the data folder.

`kimi-mitm run` joins the proxy that it names, `env`, `doctor` and `top` look there first. The variable
`KIMI_RUNNING_FILE` names another place: so a proxy that lives for one command only is known to that
command and what it starts, and to nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from kimi_mitm import __version__, owner
from kimi_mitm.settings import data_folder

if TYPE_CHECKING:
    from mitmproxy.master import Master

    from kimi_mitm.settings import Settings

log = logging.getLogger(__name__)

VARIABLE = "KIMI_RUNNING_FILE"
_EXPLICIT = ("regular", "upstream")
"""mitmproxy's modes that a client is pointed at by its proxy setting."""


class RunningProxy(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy. `process` as `owner` names it; `proxy` is an address that a client here can connect to,
    None when it has no mode of that kind. `control` is None while the control endpoint is off or not up
    yet; `settled` says whether that is known. `db` is None when naming it would tell a password; `asks` is
    True when it wants credentials; `upstream` is the proxy that it goes on to, as `host:port`."""

    process: str
    proxy: tuple[str, int] | None = None
    control: tuple[str, int] | None = None
    confdir: str = ""
    db: str | None = None
    asks: bool = False
    upstream: str | None = None
    settled: bool = False
    version: str = __version__


def place(environment: Mapping[str, str] | None = None) -> Path:
    """Where the file is, there or not."""
    named = (os.environ if environment is None else environment).get(VARIABLE)
    return Path(named) if named else data_folder() / "running.json"


def read(path: Path) -> RunningProxy | None:
    """The proxy that the file names; None when there is no file of ours, or its process has ended."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=RunningProxy)
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return None if owner.is_gone(found.process) else found


def write(path: Path, proxy: RunningProxy) -> None:
    """Writes the file over the one before, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".running-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(proxy))
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def remove(path: Path, process: str) -> None:
    """Removes the file, unless another proxy has written it since."""
    found = read(path)
    if found is not None and found.process == process:
        with contextlib.suppress(OSError):
            path.unlink()


class RunningFile:
    """The recorder's hold on the file: written when the proxy listens and again when the control endpoint
    does, removed at the end. Files are written in a thread; one that can't be is said once."""

    def __init__(self, master: Master, settings: Settings) -> None:
        self._path = place()
        self._proxy = _describe(master, settings)
        self._work: asyncio.Task[None] | None = None
        self._said = False

    def started(self) -> None:
        """The proxy listens."""
        self._write_soon()

    def opened(self, control: tuple[str, int] | None) -> None:
        """The control endpoint listens there now; None: it doesn't."""
        reachable = (reachable_host(control[0]), control[1]) if control else None
        self._proxy = msgspec.structs.replace(self._proxy, control=reachable, settled=True)
        self._write_soon()

    def _write_soon(self) -> None:
        self._work = asyncio.create_task(self._write(self._work), name="kimi running file")

    async def close(self) -> None:
        """Takes the file away."""
        if self._work is not None:
            await asyncio.wait([self._work])
            await asyncio.to_thread(remove, self._path, self._proxy.process)

    async def _write(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            await asyncio.to_thread(write, self._path, self._proxy)
        except OSError as e:
            if not self._said:
                log.warning(f"kimi: {self._path} can't be written ({e.strerror or e})")
            self._said = True


def reachable_host(host: str) -> str:
    """The host by which somebody on this machine reaches a listener that is bound to `host`."""
    try:
        address = ipaddress.ip_address(host.split("%")[0]) if host else ipaddress.IPv4Address(0)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _describe(master: Master, settings: Settings) -> RunningProxy:
    listening: Any = master.addons.get("proxyserver")
    servers = listening.servers if listening is not None else ()
    found = [(a, s.mode) for s in servers if s.mode.type_name in _EXPLICIT for a in s.listen_addrs]
    addresses = sorted((a for a, _ in found), key=lambda a: ":" in a[0])
    upstream = next((getattr(m, "address", None) for _, m in found if m.type_name == "upstream"), None)
    return RunningProxy(
        process=owner.this_process(),
        proxy=(reachable_host(addresses[0][0]), addresses[0][1]) if addresses else None,
        confdir=str(Path(master.options.confdir).expanduser()),
        db=None if "@" in settings.db.partition("://")[2] else settings.db,
        asks=bool(getattr(master.options, "proxyauth", None)),
        upstream=f"{upstream[0]}:{upstream[1]}" if upstream else None,
    )
