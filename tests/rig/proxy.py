"""A real mitmproxy in this process, with every provider's name leading to the test's upstreams."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from mitmproxy import http, options
from mitmproxy.proxy import server_hooks
from mitmproxy.tools.dump import DumpMaster

from kimi_mitm.addon import KimiMitm

DEADLINE_S = 10.0


class Redirect:
    """Leads connections to where a test's upstreams listen, by port; names in SNI and Host stay."""

    name = "redirect"

    def __init__(self, ports: dict[int, int]) -> None:
        self._ports = ports

    def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        address = data.server.address
        if address is not None and address[1] in self._ports:
            data.server.address = ("127.0.0.1", self._ports[address[1]])


class Spy:
    """Comes after the addon and notes each hook of HTTP, with its flow."""

    name = "spy"

    def __init__(self) -> None:
        self.hooks: list[tuple[str, http.HTTPFlow]] = []
        for hook in ("requestheaders", "request", "responseheaders", "response", "error", "websocket_end"):
            setattr(self, hook, functools.partial(self._note, hook))

    def last(self) -> http.HTTPFlow:
        """The flow of the last hook."""
        return self.hooks[-1][1]

    def of(self, hook: str) -> list[http.HTTPFlow]:
        """The flows for which this hook was called."""
        return [flow for name, flow in self.hooks if name == hook]

    def _note(self, hook: str, flow: http.HTTPFlow) -> None:
        self.hooks.append((hook, flow))


class Proxy:
    """A running proxy."""

    def __init__(self, master: DumpMaster, addon: KimiMitm, spy: Spy, confdir: Path) -> None:
        self.master = master
        self.addon = addon
        self.spy = spy
        self._ca = confdir / "mitmproxy-ca-cert.pem"
        self.port: int = master.addons.get("proxyserver").listen_addrs()[0][1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def trusting(self) -> ssl.SSLContext:
        """For a client that trusts the proxy's CA."""
        return ssl.create_default_context(cafile=str(self._ca))

    def client(self, user: str | None = None, **more: Any) -> httpx.AsyncClient:
        """A client of this proxy, without environment or limits of its own."""
        return client_of(self.port, self._ca.parent, user, **more)

    async def tunnel(self, host: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TLS connection to a host through the proxy, on which a test sends its own bytes."""
        reader, writer = await self.connect(host, 443)
        await writer.start_tls(self.trusting(), server_hostname=host)
        return reader, writer

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A tunnel without TLS of ours."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        if b" 200 " not in head:
            body = await asyncio.wait_for(reader.read(1000), DEADLINE_S)
            writer.close()
            raise ConnectionRefusedError((head + body).decode())
        return reader, writer


def client_of(port: int, confdir: Path, user: str | None = None, **more: Any) -> httpx.AsyncClient:
    """A client of the proxy on that port; `user` may be a name, or name and password."""
    name = "" if user is None else f"{user if ':' in user else f'{user}:secret'}@"
    more.setdefault("verify", ssl.create_default_context(cafile=str(confdir / "mitmproxy-ca-cert.pem")))
    proxy = f"http://{name}127.0.0.1:{port}"
    return httpx.AsyncClient(proxy=proxy, trust_env=False, timeout=DEADLINE_S, **more)


@contextlib.asynccontextmanager
async def running(
    confdir: Path, ports: dict[int, int], *before: object, addon: KimiMitm | None = None, **settings: Any
) -> AsyncIterator[Proxy]:
    """A proxy with `before` (other addons) and the addon, in that order, ended with the block."""
    opts = options.Options(listen_host="127.0.0.1", listen_port=0, confdir=str(confdir))
    master = DumpMaster(opts, with_termlog=False, with_dumper=False)
    addon = addon or KimiMitm()
    spy = Spy()
    master.addons.add(Redirect(ports), *before, addon, spy)
    master.options.update(**{"kimi_control": "", "kimi_logs": "off", **settings})
    task = asyncio.create_task(master.run())
    server = master.addons.get("proxyserver")
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not (server.is_running and server.listen_addrs()):
                if task.done():
                    task.result()
                await asyncio.sleep(0.005)
        yield Proxy(master, addon, spy, confdir)
    finally:
        await server.servers.update([])
        master.shutdown()
        await asyncio.wait_for(task, DEADLINE_S)


async def reading(path: Path, confdir: Path, *before: object, **settings: Any) -> KimiMitm:
    """Reads a flow or HAR file as `mitmdump -nr` does, and gives the addon once all is read."""
    master = DumpMaster(options.Options(confdir=str(confdir)), with_termlog=False, with_dumper=False)
    addon = KimiMitm()
    master.addons.add(*before, addon)
    chain = master.addons.chain  # scripts come before mitmproxy's own reader of files
    chain[:] = [*chain[-len(before) - 1 :], *chain[: -len(before) - 1]]
    given = {"kimi_control": "", "kimi_logs": "off", **settings}
    master.options.update(rfile=str(path), server=False, **given)
    await asyncio.wait_for(master.run(), 60)
    return addon
