"""The page in a real browser, on a fake engine that the test holds in its hands."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parents[1] / "control"))

from fake_service import FakeService
from page_site import ARGUMENTS, Site, chromium
from playwright.async_api import Browser, Page, async_playwright
from scene import Scene


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    service = FakeService(live_clock=True)
    one = Site(service, Scene(service))
    await one.up()
    yield one
    await one.down()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page; whatever it logs as an error, or asks of another host, fails the test."""
    context = await browser.new_context()
    one = await context.new_page()
    troubles: list[str] = []
    one.on("pageerror", lambda error: troubles.append(str(error)))
    one.on("console", lambda message: message.type == "error" and troubles.append(message.text))
    one.on("request", lambda request: "127.0.0.1" in request.url or troubles.append(request.url))
    yield one
    await context.close()
    expected = ("net::ERR_", "the server responded with a status of")
    assert [text for text in troubles if not any(word in text for word in expected)] == []
