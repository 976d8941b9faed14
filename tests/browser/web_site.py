"""mitmweb as browser tests and screenshots start it: a process of its own that has read the samples."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120.0
PASSWORD = "samples"


@dataclass(frozen=True, slots=True)
class Web:
    """A running mitmweb."""

    address: str

    @property
    def url(self) -> str:
        """Opens it, password included."""
        return f"{self.address}?token={PASSWORD}"


@asynccontextmanager
async def mitmweb(folder: Path, *arguments: str) -> AsyncIterator[Web]:
    """mitmweb with the addon, ready once it listens; what it stores is below `folder`."""
    port = _free_port()
    options = {
        "confdir": str(folder / "mitmproxy"),
        "web_port": str(port),
        "web_open_browser": "false",
        "web_password": PASSWORD,
        "kimi_db": str(folder / "kimi.db"),
        "kimi_archive_dir": str(folder / "users"),
        "kimi_control": "",
        "kimi_logs": "off",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from mitmproxy.tools.main import mitmweb; mitmweb()"),
        *(word for name, value in options.items() for word in ("--set", f"{name}={value}")),
        *("--listen-host", "127.0.0.1", "-p", "0", "-s", str(ROOT / "addons" / "kimi.py")),
        *arguments,
        env={k: v for k, v in os.environ.items() if not k.startswith("KIMI_")} | {"PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            await _listening(process)
        reading = asyncio.create_task(_swallow(process))
        yield Web(f"http://127.0.0.1:{port}/")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            await process.wait()
            await reading


async def _listening(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    said = []
    async for line in process.stdout:
        said.append(line.decode(errors="replace"))
        if "Web server listening" in said[-1]:
            return
    raise AssertionError("mitmweb ended:\n" + "".join(said))


async def _swallow(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    while await process.stdout.read(65536):
        pass


def _free_port() -> int:
    """mitmweb can't tell which port it was given."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
