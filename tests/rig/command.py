"""mitmdump as users run it: a process of its own, with a real engine, in a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "addons" / "kimi.py"
DEADLINE_S = 120.0


class Mitmdump:
    """A running mitmdump. `lines` is what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def until[T](self, look: Callable[[], T]) -> T:
        """Waits until `look` gives something for what was said so far, and gives it."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self._more.clear()
                if found := look():
                    return found
                if self._reading.done():
                    raise AssertionError(f"mitmdump ended too early:\n{self.text}")
                await self._more.wait()

    async def says(self, *words: str) -> str:
        """The first line with all these words, waited for."""
        return await self.until(
            lambda: next((line for line in self.lines if all(word in line for word in words)), "")
        )

    async def port(self) -> int:
        """Where it listens."""
        return int((await self.says("proxy listening at")).rstrip(".").rpartition(":")[2])

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        async with asyncio.timeout(DEADLINE_S):
            code = await self.process.wait()
            await self._reading
        return code

    async def stop(self) -> int:
        """Ends it as Ctrl+C does."""
        self.process.send_signal(signal.SIGINT)
        return await self.ended()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())
            self._more.set()
        self._more.set()


def leading(folder: Path, authority: Path, ports: dict[int, int]) -> list[str]:
    """Arguments that lead connections to a test's upstreams, by port; names in SNI and Host stay."""
    script = folder / "redirect.py"
    script.write_text(
        f"PORTS = {ports!r}\n"
        "def server_connect(data):\n"
        "    if data.server.address and data.server.address[1] in PORTS:\n"
        "        data.server.address = ('127.0.0.1', PORTS[data.server.address[1]])\n"
    )
    return ["-s", str(script), "--set", f"ssl_verify_upstream_trusted_ca={authority}"]


@contextlib.asynccontextmanager
async def mitmdump(
    folder: Path, confdir: Path, *arguments: str, entry: Path | str = ENTRY, **variables: str
) -> AsyncIterator[Mitmdump]:
    """mitmdump with the addon; what it stores is below `folder`, which is its working directory too."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KIMI_")} | {
        "KIMI_DB": str(folder / "kimi.db"),
        "KIMI_ARCHIVE_DIR": str(folder / "users"),
        "KIMI_CONTROL": "",
        "KIMI_LOGS": "off",
        "PYTHONUNBUFFERED": "1",
        **variables,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from mitmproxy.tools.main import mitmdump; mitmdump()"),
        *("--set", f"confdir={confdir}", "--listen-host", "127.0.0.1", "-p", "0", "-s", str(entry)),
        *arguments,
        env=environment,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    one = Mitmdump(process)
    try:
        yield one
    finally:
        if process.returncode is None:
            process.kill()
        await one.ended()
