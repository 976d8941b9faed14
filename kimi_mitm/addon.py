"""The recorder's place in mitmproxy: started, set, asked what passes undecrypted, and ended.

A script reload calls `done` and `running` synchronously, so both are plain functions that return a
task; the old instance's task is awaited by the new one, which then finds its port free.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

import msgspec
from mitmproxy import connection, ctx, exceptions, http, tls
from mitmproxy.addonmanager import Loader
from mitmproxy.proxy import server_hooks

from kimi_mitm import __version__, link, options
from kimi_mitm.outbox import Frame
from kimi_mitm.proxy.child import Child
from kimi_mitm.proxy.control_host import ControlHost
from kimi_mitm.proxy.gate import Gate
from kimi_mitm.proxy.hooks import Hooks
from kimi_mitm.proxy.lean import Lean
from kimi_mitm.proxy.recorder import Recorder
from kimi_mitm.proxy.voice import guarded
from kimi_mitm.running_file import RunningFile
from kimi_mitm.settings import Settings
from kimi_mitm.views.annotator import View
from kimi_mitm.views.commands import Commands

log = logging.getLogger(__name__)

EXIT_LIMIT_S = 10.0

_stopping: asyncio.Task[None] | None = None
"""The previous instance's end; it outlives a script reload, which does not import this module again."""


class KimiMitm(Hooks):
    """One recorder; state is made in `running` and given up in `done`."""

    name = "kimi"

    def __init__(self) -> None:
        super().__init__()
        self.settings: Settings | None = None
        self.gate = Gate()
        self.commands = Commands(self._ask, lambda: self.control.url)
        self.addons = [View(self.annotator, lambda: self.offline), self.commands]
        self._problems: list[str] = []
        self._started: asyncio.Task[None] | None = None
        self._lean: Lean | None = None
        self._file: RunningFile | None = None

    def load(self, loader: Loader) -> None:
        self._problems = options.declare(loader)

    def configure(self, updated: set[str]) -> None:
        if self._started is not None:
            self._refuse_change(updated)
            return
        try:
            self.settings = options.read(ctx.options)
        except exceptions.OptionsError as e:
            if not updated >= set(ctx.options.keys()):
                raise
            self._problems.append(str(e))
        if self._problems:  # as an error in the log, for raised here it would be a trace
            log.error("kimi: " + "; ".join(self._problems))
            self.settings = None
            self._problems = []

    def _refuse_change(self, updated: set[str]) -> None:
        changed = sorted(name for name in updated if name.startswith("kimi_"))
        if changed and self.settings is not None and options.read(ctx.options) != self.settings:
            raise exceptions.OptionsError(f"{', '.join(changed)}: takes effect at the next start only")

    def running(self) -> asyncio.Task[None]:
        settings = self.settings
        if settings is not None:
            self.offline = bool(ctx.options.rfile) and not ctx.options.server
            self.gate = Gate(settings.hosts, settings.intercept_all)
            self.control = ControlHost(guarded=bool(settings.control_token))
            shared = msgspec.structs.replace(settings, offline=self.offline)
            self.child = Child(shared, self._heard, self._died)
            self.recorder = Recorder(self.child, self.gate, self.voice)
        self._started = asyncio.create_task(self._start())
        return self._started

    def done(self) -> asyncio.Task[None]:
        global _stopping
        _stopping = asyncio.create_task(self._stop())
        return _stopping

    async def _start(self) -> None:
        if _stopping:
            await asyncio.wait([_stopping])
        if self.child is None or self.settings is None:
            return
        self.child.start()
        log.info(f"kimi {__version__} active")
        self._be_found(self.settings)
        self._tidy_up(self.settings)

    @guarded
    def _be_found(self, settings: Settings) -> None:
        if ctx.options.server and not self.offline:
            self._file = RunningFile(ctx.master, settings)
            self._file.started()

    @guarded
    def _tidy_up(self, settings: Settings) -> None:
        if settings.lean:
            self._lean = Lean(ctx.master)
            if not self._lean.start():
                log.info("kimi_lean: this mitmproxy is not known, its addons are left as they are")

    async def _stop(self) -> None:
        if self._started is not None:
            await asyncio.wait([self._started])
        try:
            if self._lean:
                self._lean.stop()
            if self._file:
                await self._file.close()
        except Exception as e:
            self.voice.fault(e, "done")
        if self.child is None or self.recorder is None:
            return
        self.recorder.end_all("the proxy was stopped")
        limit = None if self.offline else EXIT_LIMIT_S
        if not await self.child.close(limit):
            log.warning(f"kimi: the engine still works after {limit:g} s and finishes by itself")
        self.child = self.recorder = None

    # What passes undecrypted

    @guarded
    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        if self.recorder is None or ctx.options.allow_hosts:
            return
        if data.context.client.proxy_mode.type_name == "reverse":
            return
        if not self.gate.decrypts(data.client_hello.sni or _address_of(data.context.server)):
            data.ignore_connection = True

    @guarded
    def tls_established_client(self, data: tls.TlsData) -> None:
        host = data.conn.sni or _address_of(data.context.server)
        if host:
            self.gate.accepted(host)

    @guarded
    def tls_failed_client(self, data: tls.TlsData) -> None:
        host = data.conn.sni or _address_of(data.context.server)
        if not host or not self.gate.refused(host, data.conn.error or ""):
            return
        log.warning(
            f"kimi: clients refuse our certificate for {host}; it is passed through unread from now on. "
            f"Make the client trust mitmproxy's CA (see certs/README.md) and restart the proxy."
        )
        if self.child:
            self.child.put(link.Tls(host=host, at=time.time()))

    # Who is talking

    @guarded
    def http_connect(self, flow: http.HTTPFlow) -> None:
        self.people.take(flow)
        self.control.connect(flow)

    async def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        try:
            await self.control.guard(data)
        except Exception as e:
            self.voice.fault(e, "server_connect")

    @guarded
    def client_disconnected(self, client: connection.Client) -> None:
        self.people.forget(client.id)
        self.control.forget(client.id)
        self.end_left(client.id)
        if self.child is not None:
            self.child.put(link.Gone(conn=client.id, at=time.time()), wake=False)

    # What the engine says

    @guarded
    def _heard(self, message: link.Downward) -> None:
        match message:
            case link.Note():
                self.annotator.apply(message)
                if message.settled and self.recorder is not None:
                    self.recorder.settled(message.flow_id)
            case link.Ready():
                self.control.opened(message.control)
                if self._file:
                    self._file.opened(message.control)
            case link.Reply():
                self.commands.answered(message)
            case link.State():
                self.commands.told(message)
            case link.Word():
                self.voice.say(message.text, logging.WARNING if message.level == "warning" else logging.INFO)
            case link.Failed():
                self.voice.say(message.text)

    def _ask(self, call: link.Call) -> bool:
        return self.child is not None and self.child.put(call)

    @guarded
    def _died(self, unread_frames: Sequence[Frame]) -> None:
        if self.recorder is not None:
            self.recorder.again(unread_frames)


def _address_of(server: connection.Server) -> str | None:
    return server.address[0] if server.address else None
