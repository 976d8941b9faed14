"""`kimi-mitm top`: sessions, last exchanges, context fill and cost, live in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.live import Live

from kimi_mitm.cli.common import fail
from kimi_mitm.cli.keys import keys
from kimi_mitm.cli.tables import console
from kimi_mitm.cli.top_board import Board, Connection, Need, Session, Totals, read
from kimi_mitm.cli.top_drawing import draw
from kimi_mitm.launch import proxies
from kimi_mitm.render import instant

_SILENCE_S = 75.0
"""No heartbeat for so long (two and a half of the endpoint's): the connection is dead."""
_AGAIN_S = 1.0
_FIGURES_S = 0.5
_FRAME_S = 0.25
_TICK_S = 1.0
_SHOWN = 100


def top(
    control: Annotated[
        str | None,
        typer.Option(
            envvar="KIMI_CONTROL", help="The control endpoint.", show_default="the running proxy's own"
        ),
    ] = None,
    token: Annotated[
        str,
        typer.Option(envvar="KIMI_CONTROL_TOKEN", help="Its token, where it has one.", show_default=False),
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
) -> None:
    """Watch sessions and exchanges live.

    With context fill and cost; q ends it. Where the output is no terminal, it is printed once.
    """
    board = Board(_where(control))
    screen = Screen(board, token)
    if once or not sys.stdout.isatty():
        if not asyncio.run(screen.once()):
            fail(f"nobody answers at {board.where}: {board.problem}")
        console().print(draw(board, datetime.now(UTC), None))
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(screen.run())


def _where(control: str | None) -> str:
    if control:
        return control.removeprefix("http://").rstrip("/")
    running = proxies.find()
    host, port = running.control if running and running.control else ("127.0.0.1", 8082)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Screen:
    """The board, its connection, and the terminal that it is drawn on."""

    def __init__(
        self, board: Board, token: str, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._board = board
        self._transport = transport
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._changed = asyncio.Event()
        self._stale = asyncio.Event()

    async def once(self) -> bool:
        """Reads everything once; False when that fails."""
        async with self._client() as client:
            try:
                await self._read_all(client)
            except (httpx.HTTPError, ValueError) as e:
                self._board.problem = _words(e)
                return False
        self._board.connection = Connection.LIVE
        return True

    async def run(self, out: Console | None = None) -> None:
        """Draws until somebody presses q or Ctrl+C."""
        shown = out or Console()
        with keys() as pressed, Live(console=shown, screen=True, auto_refresh=False) as live:
            async with self._client() as client, asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self.follow(client)),
                    tasks.create_task(self._keep_figures(client)),
                    tasks.create_task(self._redraw(live, shown)),
                ]
                with contextlib.suppress(asyncio.CancelledError):
                    while (await pressed()).lower() != "q":
                        pass
                for task in work:
                    task.cancel()

    async def follow(self, client: httpx.AsyncClient) -> None:
        """Takes events for as long as it runs; a lost connection is made again."""
        while True:
            try:
                async for event in self._events(client):
                    need = self._board.event(event)
                    if need is Need.EVERYTHING:
                        await self._read_all(client)
                    elif need is Need.FIGURES:
                        self._stale.set()
                    self._changed.set()
                self._board.problem = "the endpoint ended the stream"
            except (httpx.HTTPError, ValueError) as e:
                self._board.problem = _words(e)
            self._board.connection = Connection.LOST
            self._changed.set()
            await asyncio.sleep(_AGAIN_S)

    async def _events(self, client: httpx.AsyncClient) -> AsyncIterator[dict[str, Any]]:
        last = self._board.last_event_id
        headers = {"Last-Event-ID": last} if last else {}
        timeout = httpx.Timeout(10.0, read=_SILENCE_S)
        async with client.stream("GET", "/events", headers=headers, timeout=timeout) as answer:
            answer.raise_for_status()
            await self._read_all(client)
            self._board.connection = Connection.LIVE
            self._changed.set()
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    found = json.loads(line.removeprefix("data:"))
                    if isinstance(found, dict):
                        yield found

    async def _read_all(self, client: httpx.AsyncClient) -> None:
        page = await self._get(client, "/api/exchanges", order="desc", limit=_SHOWN)
        self._board.forget()
        self._board.keep(page.get("exchanges") or ())
        flag = await self._get(client, "/api/auto-session")
        self._board.auto_session = read(flag.get("enabled"), bool, True)
        await self._read_figures(client)

    async def _read_figures(self, client: httpx.AsyncClient) -> None:
        sessions = await self._get(client, "/api/sessions", limit=_SHOWN)
        self._board.sessions = read(sessions.get("sessions"), list[Session], [])
        today = datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
        self._board.totals = read(
            await self._get(client, "/api/stats", since=instant(today)), Totals, Totals()
        )
        health = await self._get(client, "/health", fine=(200, 503))
        self._board.warnings = read(health.get("warnings"), list[str], [])

    async def _keep_figures(self, client: httpx.AsyncClient) -> None:
        """Reads sessions and sums again after events, however many, at most every half second."""
        while True:
            await self._stale.wait()
            self._stale.clear()
            with contextlib.suppress(httpx.HTTPError, ValueError):
                await self._read_figures(client)
                self._changed.set()
            await asyncio.sleep(_FIGURES_S)

    async def _redraw(self, live: Live, out: Console) -> None:
        while True:
            hint = "q quits" if self._board.connection is not Connection.CONNECTING else ""
            live.update(draw(self._board, datetime.now(UTC), out.height, hint=hint), refresh=True)
            await asyncio.sleep(_FRAME_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._changed.wait()
            self._changed.clear()

    async def _get(
        self, client: httpx.AsyncClient, path: str, *, fine: tuple[int, ...] = (200,), **query: Any
    ) -> dict[str, Any]:
        answer = await client.get(path, params=query)
        if answer.status_code not in fine:
            answer.raise_for_status()
        found = answer.json()
        if not isinstance(found, dict):
            raise ValueError("the endpoint's answer is none of ours")
        return found

    def _client(self) -> httpx.AsyncClient:
        """Past any proxy: the endpoint is on this machine, and the proxy refuses to lead there."""
        return httpx.AsyncClient(
            base_url=f"http://{self._board.where}",
            headers=self._headers,
            timeout=10.0,
            trust_env=False,
            transport=self._transport,
        )


def _words(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 401:
        return "it wants a token (--token)"
    return (str(error).splitlines() or [type(error).__name__])[0][:120] or type(error).__name__
