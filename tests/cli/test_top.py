"""`kimi-mitm top`: the board that events keep, its drawing, and a terminal that it runs in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from kimi_mitm.cli.top import Screen
from kimi_mitm.cli.top_board import KEPT, Board, Connection, Need, Session, read
from kimi_mitm.cli.top_drawing import ago, bar, draw
from kimi_mitm.records import EstimateKind, Exchange, Problem
from kimi_mitm.render import exchange_json

if TYPE_CHECKING:
    from page_site import Site

DEADLINE_S = 60.0
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def exchange(name: str = "x1", **more: Any) -> Exchange:
    known = {"client": "codex", "provider": "openai", "model": "gpt-5", "estimated_input_tokens": 12_400}
    return Exchange(id=name, started_at=AT, **{**known, **more})


def event(kind: str, data: object, number: int = 1) -> dict[str, Any]:
    return {"id": f"run-{number}", "type": kind, "at": "2026-03-01T12:00:00Z", "data": data}


def text(board: Board, now: datetime = AT, height: int | None = 40, width: int = 100) -> str:
    out = Console(width=width, height=height or 40, color_system=None, file=None, record=True)
    with out.capture() as captured:
        out.print(draw(board, now, height))
    return captured.get()


def test_an_exchange_is_shown_from_its_start_to_its_settled_figures() -> None:
    board = Board("here")

    assert board.event(event("exchange:started", exchange_json(exchange()))) is Need.FIGURES
    assert "≈12.4k" in text(board)
    assert "running" in text(board)

    settled = exchange(
        ended_at=AT + timedelta(seconds=3),
        duration_ms=3000.0,
        input_tokens=12_900,
        output_tokens=540,
        is_estimated=False,
    )
    board.event(event("exchange:completed", exchange_json(settled), 2))

    assert len(board.exchanges) == 1
    assert "12.4k→12.9k+540" in text(board)
    assert "reported" in text(board)
    assert board.last_event_id == "run-2"


def test_an_error_is_named() -> None:
    board = Board("here")
    failed = exchange(error=Problem("overloaded", "try later"), ended_at=AT)
    board.event(event("exchange:completed", exchange_json(failed)))

    assert "error: overloaded" in text(board)


def test_a_lost_place_asks_for_everything() -> None:
    assert Board("here").event(event("reset", {})) is Need.EVERYTHING


@pytest.mark.parametrize(
    ("kind", "need"),
    [
        ("session:started", Need.FIGURES),
        ("session:ended", Need.FIGURES),
        ("fusion:updated", Need.FIGURES),
        ("heartbeat", Need.NOTHING),
        ("alert", Need.NOTHING),
        ("something:new", Need.NOTHING),
    ],
)
def test_what_an_event_makes_stale(kind: str, need: Need) -> None:
    assert Board("here").event(event(kind, {})) is need


def test_the_flag_follows() -> None:
    board = Board("here")
    board.event(event("auto_session:toggled", {"enabled": False}))

    assert "auto-session off" in text(board)


@pytest.mark.parametrize(
    "strange", [{}, {"type": 5}, {"type": "exchange:started", "data": "x"}, {"type": "exchange:started"}]
)
def test_what_is_no_event_changes_nothing(strange: dict[str, Any]) -> None:
    board = Board("here")
    board.event(strange)
    board.keep([None, 5, {"id": "x"}, []])

    assert board.exchanges == []


def test_only_so_many_exchanges_are_remembered() -> None:
    board = Board("here")
    board.keep(exchange_json(exchange(f"x{n}", estimated_input_tokens=n)) for n in range(KEPT + 50))

    assert len(board.exchanges) == KEPT


def test_sessions_show_how_full_their_context_is() -> None:
    board = Board("here", connection=Connection.LIVE)
    board.sessions = read(
        [
            {
                "session_id": "s_8f0451aa",
                "user_id": "alice",
                "session_status": "active",
                "client": "codex",
                "current": True,
                "statistics": {"requests": 3, "cost_usd": "1.25", "context_percent": 81.0, "unknown": 1},
            },
            {"session_id": "s_gone", "session_status": "ended"},
        ],
        list[Session],
        [],
    )

    shown = text(board)

    assert "● s_8f0451" in shown
    assert "████████░░  81%" in shown
    assert "$1.25" in shown
    assert "s_gone" not in shown


@pytest.mark.parametrize(
    ("percent", "shown"),
    [
        (None, "–"),
        (0.0, "░░░░░░░░░░   0%"),
        (100.0, "██████████ 100%"),
        (140.0, "██████████ 140%"),
        (-1.0, "░░░░░░░░░░  -1%"),
    ],
)
def test_a_bar_never_runs_over(percent: float | None, shown: str) -> None:
    assert bar(percent).plain == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-3, "0s"), (5, "5s"), (61, "1m"), (7300, "2h"), (200_000, "2d")]
)
def test_time_since(seconds: float, shown: str) -> None:
    assert ago(seconds) == shown


@pytest.mark.parametrize("height", [5, 24, 50])
@pytest.mark.parametrize("width", [80, 200])
def test_it_fits_the_terminal(height: int, width: int) -> None:
    board = Board("here", warnings=["Something is wrong."])
    board.keep(exchange_json(exchange(f"x{n}")) for n in range(60))
    board.sessions = [Session(session_id=f"s_{n:08d}", session_status="active") for n in range(30)]

    lines = text(board, height=height, width=width).splitlines()

    assert len(lines) <= max(height, 16)
    assert max(map(len, lines)) <= width


@contextlib.asynccontextmanager
async def following(board: Board) -> AsyncIterator[Callable[[Callable[[], object]], Any]]:
    """A screen that follows; gives what waits until something holds."""
    screen = Screen(board, "")

    async def until(look: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not look():
                await screen._changed.wait()
                screen._changed.clear()

    async with screen._client() as client, asyncio.TaskGroup() as tasks:
        work = [tasks.create_task(screen.follow(client)), tasks.create_task(screen._keep_figures(client))]
        try:
            yield until
        finally:
            for task in work:
                task.cancel()


async def test_it_follows_an_endpoint_that_goes_and_comes_back(site: Site) -> None:
    board = Board(site.url.removeprefix("http://").rstrip("/"))
    async with following(board) as until:
        await until(lambda: board.connection is Connection.LIVE)
        before = len(board.exchanges)
        started = site.scene.begin("s_0002", "kimi-k2.5", 46_000)
        await until(lambda: len(board.exchanges) > before)
        assert any(e.id == started.id and e.ended_at is None for e in board.exchanges)

        await site.down()
        await until(lambda: board.connection is Connection.LOST)
        await site.up()
        await until(lambda: board.connection is Connection.LIVE)

    assert board.sessions


async def test_once_reads_and_ends(site: Site) -> None:
    board = Board(site.url.removeprefix("http://").rstrip("/"))

    assert await Screen(board, "").once()
    assert "claude-code" in text(board, datetime.now(UTC), None)


async def test_nobody_there_is_said() -> None:
    board = Board("127.0.0.1:1")

    assert not await Screen(board, "").once()
    assert board.problem


@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
async def test_q_ends_it_and_the_terminal_is_as_before(site: Site, tmp_path: Path) -> None:
    import pty
    import termios

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    where = site.url.removeprefix("http://").rstrip("/")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "kimi_mitm", "top", "--control", where),
        env={
            **os.environ,
            "TERM": "xterm",
            "COLUMNS": "100",
            "LINES": "30",
            "HTTP_PROXY": "http://127.0.0.1:1",
        },
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    seen = asyncio.get_running_loop().create_future()
    shown = bytearray()

    def look() -> None:
        with contextlib.suppress(OSError):
            shown.extend(os.read(master, 65536))
        if ("payments" in _plain(shown) or "claude-code" in _plain(shown)) and not seen.done():
            seen.set_result(None)

    asyncio.get_running_loop().add_reader(master, look)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await seen
            os.write(master, b"q")
            assert await process.wait() == 0
    finally:
        asyncio.get_running_loop().remove_reader(master)
        if process.returncode is None:
            process.kill()
            await process.wait()
        after = termios.tcgetattr(slave)
        os.close(master)
        os.close(slave)
    assert after == before


def _plain(shown: bytearray) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode("utf-8", "replace"))


def test_an_estimates_kind_is_said() -> None:
    board = Board("here")
    board.keep([exchange_json(exchange(estimate_kind=EstimateKind.CALIBRATED, ended_at=AT))])

    assert "calibrated estimate" in text(board)
