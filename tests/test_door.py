"""The control endpoint's door: taken at once, opened by the first knock, always let go."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from kimi_mitm.control.service import Service
from kimi_mitm.engine.door import Door
from kimi_mitm.settings import Settings
from tests.waiting import until


def door(address: tuple[str, int] | None, made: list[int] | None = None) -> Door:
    def service() -> Service:
        if made is not None:
            made.append(1)
        return Nothing()

    return Door(Settings(db="", control=address), service)


class Nothing:
    """A service that nobody gets to."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


async def knock(address: tuple[str, int]) -> asyncio.StreamWriter:
    return (await asyncio.open_connection(*address))[1]


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def test_off_takes_no_address() -> None:
    off = door(None)
    await off.open()

    assert off.address is None
    await off.close()


async def test_the_address_that_was_really_taken_is_known() -> None:
    free = door(("127.0.0.1", 0))
    await free.open()
    assert free.address is not None
    assert free.address[1] > 0
    await free.close()


async def test_a_busy_address_is_an_error_and_leaves_nothing_open() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(OSError, match="in use"):
            await door(busy.getsockname()).open()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "300.1.2.3"])
async def test_an_address_that_there_is_not_is_an_error(host: str) -> None:
    with pytest.raises(OSError):
        await door((host, 0)).open()


async def test_nothing_is_made_before_somebody_knocks_and_once_for_many() -> None:
    made: list[int] = []
    one = door(("127.0.0.1", 0), made)
    await one.open()
    assert one.address is not None
    assert made == []

    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        url = f"http://127.0.0.1:{one.address[1]}/openapi.json"
        answers = await asyncio.gather(*(client.get(url) for _ in range(20)))
    assert {a.status_code for a in answers} == {200}
    assert made == [1]
    await one.close()
    with pytest.raises(OSError):
        await asyncio.open_connection(*one.address)


async def test_closing_while_it_opens_waits_and_lets_go() -> None:
    one = door(("127.0.0.1", 0))
    await one.open()
    assert one.address is not None
    writer = await knock(one.address)
    await until(lambda: one._opening)
    await one.close()
    await leave(writer)

    with pytest.raises(OSError):
        await asyncio.open_connection(*one.address)


async def test_a_service_that_cannot_be_made_is_told_of_and_the_address_let_go() -> None:
    told: asyncio.Queue[Exception] = asyncio.Queue()

    def broken() -> Service:
        raise TypeError("ours")

    one = Door(Settings(db="", control=("127.0.0.1", 0)), broken, told.put_nowait)
    await one.open()
    assert one.address is not None
    address = one.address
    writer = await knock(address)
    assert isinstance(await asyncio.wait_for(told.get(), 60), TypeError)
    await leave(writer)
    assert one.address is None
    with pytest.raises(OSError):
        await asyncio.open_connection(*address)
    await one.close()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_six_is_a_loopback_too(tmp_path: Path) -> None:
    one = door(("::1", 0))
    try:
        await one.open()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    assert one.address is not None
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(f"http://[::1]:{one.address[1]}/openapi.json")
    assert answer.status_code == 200
    await one.close()
