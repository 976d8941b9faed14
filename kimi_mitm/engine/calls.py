"""What mitmproxy's commands ask of the engine, and the state that they answer from at once."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import heapq
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

import msgspec

from kimi_mitm import link
from kimi_mitm.faults import place_of
from kimi_mitm.notes import dollars, short
from kimi_mitm.records import Exchange
from kimi_mitm.render import CSV_COLUMNS, csv_row, exchange_json
from kimi_mitm.sessions.book import Placement, SessionBook
from kimi_mitm.sessions.flag import FlagForced
from kimi_mitm.sessions.record import EndReason, Session
from kimi_mitm.store import StoreError
from kimi_mitm.store import exchanges as exchange_rows
from kimi_mitm.store.exchanges import Wanted
from kimi_mitm.store.totals import Tally, Totals

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from kimi_mitm.engine.archivist import Archivist
    from kimi_mitm.engine.session_keeper import SessionKeeper
    from kimi_mitm.outbox import Outbox
    from kimi_mitm.store import Store

STATE_S = 1.0
"""At least so long between two states; what came in between is told at the next look."""
_SHOWN = 50
_BY = "mitmproxy"
_NOBODY = "unknown"
_WRITTEN_AT_ONCE = 500


class CallError(Exception):
    """A command that can't be done; the message is for the person who gave it."""


class Calls:
    """Answers commands, each in a task of its own: an export must not hold up the recording."""

    def __init__(self, keeper: SessionKeeper, store: Store, archivist: Archivist, outbox: Outbox) -> None:
        self._keeper = keeper
        self._store = store
        self._archivist = archivist
        self._outbox = outbox
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: link.State | None = None
        self._told_at = 0.0
        self._names: Mapping[str, Callable[[Mapping[str, Any]], Awaitable[str]]] = {
            "toggle": self._toggle,
            "session.new": self._new_session,
            "session.end": self._end_session,
            "stats": self._stats,
            "export": self._export,
        }

    def take(self, call: link.Call) -> None:
        """Answers one call, later."""
        task = asyncio.create_task(self._answer(call), name=f"kimi {call.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Waits for the answers that are under way."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)

    def refresh(self, *, now: bool = False) -> None:
        """Tells the recorder the state, if it changed and the last time is a while ago (or `now`)."""
        if not now and time.monotonic() - self._told_at < STATE_S:
            return
        self._told_at = time.monotonic()
        state = self._state()
        if state != self._told:
            self._told = state
            self._outbox.put(state)

    def _state(self) -> link.State:
        book = self._keeper.book
        live = list(book.live())
        latest = heapq.nlargest(_SHOWN, live, key=lambda s: s.last_activity_at)
        return link.State(
            auto_session=book.flag.enabled,
            sessions=[_shown(s, book.is_current(s)) for s in latest],
            live=len(live),
        )

    async def _answer(self, call: link.Call) -> None:
        try:
            answer = self._names.get(call.name)
            if answer is None:
                raise CallError("no such command")
            reply = link.Reply(n=call.n, value=await answer(call.args))
        except CallError as e:
            reply = link.Reply(n=call.n, error=str(e))
        except OSError as e:
            reply = link.Reply(n=call.n, error=e.strerror or type(e).__name__)
        except Exception as e:
            reply = link.Reply(n=call.n, error=f"it failed ({place_of(e)})")
        self.refresh(now=True)
        self._outbox.put(reply)

    @property
    def _db(self) -> AsyncEngine:
        if self._store.engine is None:
            raise CallError("there is no database to read from")
        return self._store.engine

    async def _toggle(self, args: Mapping[str, Any]) -> str:
        now = datetime.now(UTC)
        try:
            await self._keeper.change(lambda book: book.toggle_flag(_BY, now))
        except FlagForced:
            raise CallError("an admin holds the flag") from None
        return f"automatic sessions are {'on' if self._keeper.book.flag.enabled else 'off'}"

    async def _new_session(self, args: Mapping[str, Any]) -> str:
        latest = self._latest()
        user = args.get("user") or (latest.user if latest else _NOBODY)
        config_id, now = f"{_BY} {secrets.token_hex(4)}", datetime.now(UTC)

        def work(book: SessionBook) -> Placement:
            made = book.get_or_create(user, config_id, now, name=args.get("name") or None)
            book.activate(made.session_id, now)
            return made

        try:
            made = await self._keeper.change(work)
        except StoreError as e:
            raise CallError(str(e)) from e
        return f"session {made.session_id} of {user} is the current one"

    async def _end_session(self, args: Mapping[str, Any]) -> str:
        session, now = self._named(args.get("session") or ""), datetime.now(UTC)
        await self._keeper.change(lambda book: book.end(session.session_id, EndReason.REQUEST, now))
        await self._archivist.archive_ended()
        return f"session {session.session_id} of {session.user} has ended"

    def _latest(self) -> Session | None:
        return max(self._keeper.book.live(), key=lambda s: s.last_activity_at, default=None)

    def _named(self, start: str) -> Session:
        if not start:
            latest = self._latest()
            if latest is None:
                raise CallError("there is no live session")
            return latest
        found = [s for s in self._keeper.book.live() if s.session_id.startswith(start)]
        if len(found) != 1:
            raise CallError(
                f"{'no live session' if not found else 'more than one session'} begins with {start}"
            )
        return found[0]

    async def _stats(self, args: Mapping[str, Any]) -> str:
        await self._store.flush()
        session = args.get("session") or None
        if session is not None and (live := [s for s in self._ids() if s.startswith(session)]):
            session = live[0]
        tally = Tally()
        async for rows in exchange_rows.figures(self._db, Wanted(session=session)):
            tally.add(rows)
        lines = [_totals("all" if session is None else session, tally.all)]
        lines += [_totals(model or provider, t) for (provider, model), t in tally.by_model()]
        return "\n".join(lines[:_SHOWN])

    def _ids(self) -> Iterator[str]:
        return (s.session_id for s in self._keeper.book.live())

    async def _export(self, args: Mapping[str, Any]) -> str:
        path = str(args.get("path", ""))
        await self._store.flush()
        part = f"{path}.{secrets.token_hex(4)}.part"
        write = _write_csv if path.lower().endswith(".csv") else _write_json
        count = 0
        out = await asyncio.to_thread(_create, part)
        try:
            with out:
                write(out, [], head=True)
                async for batch in _batches(exchange_rows.stream(self._db, Wanted())):
                    await asyncio.to_thread(write, out, batch)
                    count += len(batch)
            os.replace(part, path)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part)
        return f"{count:,} exchange{'s' * (count != 1)} written to {path}"


async def _batches(stream: AsyncIterator[Exchange]) -> AsyncIterator[list[Exchange]]:
    batch: list[Exchange] = []
    async for exchange in stream:
        batch.append(exchange)
        if len(batch) >= _WRITTEN_AT_ONCE:
            yield batch
            batch = []
    yield batch


def _create(path: str) -> TextIO:
    return open(path, "x", encoding="utf-8", newline="")


def _write_json(out: TextIO, batch: Sequence[Exchange], *, head: bool = False) -> None:
    for exchange in batch:
        out.write(msgspec.json.encode(exchange_json(exchange)).decode() + "\n")


def _write_csv(out: TextIO, batch: Sequence[Exchange], *, head: bool = False) -> None:
    writer = csv.writer(out, lineterminator="\n")
    if head:
        writer.writerow(CSV_COLUMNS)
    writer.writerows(csv_row(exchange) for exchange in batch)


def _shown(session: Session, current: bool) -> link.LiveSession:
    stats = session.stats
    return link.LiveSession(
        id=session.session_id,
        user=session.user,
        client=session.client,
        name=session.name,
        provider=session.provider,
        model=session.model,
        requests=stats.requests,
        tokens=stats.total_prompt_tokens,
        percent=stats.context_percent,
        cost=dollars(stats.cost_usd) if stats.cost_usd is not None else None,
        current=current,
    )


def _totals(name: str, totals: Totals) -> str:
    said = [f"{totals.requests:,} exchange{'s' * (totals.requests != 1)}"]
    if totals.failed:
        said.append(f"{totals.failed:,} failed")
    if totals.total_prompt_tokens is not None:
        cached = totals.total_cached_tokens
        said.append(f"{short(totals.total_prompt_tokens)} in{f' ({short(cached)} cached)' if cached else ''}")
    if totals.total_completion_tokens is not None:
        said.append(f"{short(totals.total_completion_tokens)} out")
    if totals.cost_usd is not None:
        unpriced = f", {totals.unpriced_requests} without a price" if totals.unpriced_requests else ""
        said.append(f"{dollars(totals.cost_usd)}{unpriced}")
    if totals.median_error is not None:
        said.append(f"estimates off by {totals.median_error:.1%} at the median")
    return f"{name}: {' · '.join(said)}"
