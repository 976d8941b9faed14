"""Takes the screenshots for `docs/`: the control page and `kimi-mitm top` on a fake engine, mitmweb on the
sample flows.
Needs Chromium, and a font with emoji for mitmweb's markers.

python scripts/screenshots.py [folder]
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "browser"), str(ROOT / "tests" / "control")]

from fake_service import FakeService
from page_site import ARGUMENTS, Site, chromium
from playwright.async_api import Browser, async_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from scene import Scene
from web_site import mitmweb

from kimi_mitm.cli.top import Screen
from kimi_mitm.cli.top_board import Board
from kimi_mitm.cli.top_drawing import draw

TERMINAL = (
    '<body style="margin:0"><pre id="terminal" style="display:inline-block; margin:0; padding:14px 18px; '
    "background:{background}; color:{foreground}; font:14px/1.35 'DejaVu Sans Mono',monospace\">"
    '<code style="font-family:inherit">{code}</code></pre></body>'
)


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its name, its size, and how the page is shown."""

    name: str
    width: int
    height: int
    scheme: str = "light"
    path: str = ""
    opened: bool = False


SHOTS = (
    Shot("page-light", 1440, 900, opened=True),
    Shot("page-dark", 1440, 900, "dark"),
    Shot("page-narrow", 420, 1800, "light"),
    Shot("page-api", 1280, 900, "light", "docs"),
)


async def take(browser: Browser, site: Site, shot: Shot, folder: Path) -> None:
    """Opens the page, waits until it is live, and writes the picture."""
    context = await browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme="dark" if shot.scheme == "dark" else "light",
        reduced_motion="reduce",
        device_scale_factor=1,
    )
    page = await context.new_page()
    await page.goto(site.url + shot.path)
    await page.wait_for_selector("[data-ready]" if shot.path else "#connection[data-state=live]")
    if not shot.path:
        await page.wait_for_selector("#rows tr")
        await page.wait_for_selector("#sessions-live li")
    if shot.opened:
        await page.locator("#rows tr:not([data-state=running]) .open").nth(3).click()
    await page.screenshot(path=folder / f"{shot.name}.png")
    await context.close()


async def take_mitmweb(browser: Browser, folder: Path) -> None:
    """Reads the samples into a mitmweb and takes a request and an answer in the view LLM."""
    with tempfile.TemporaryDirectory() as place:
        async with mitmweb(Path(place), "-r", str(ROOT / "samples" / "demo.flow")) as web:
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
            await page.goto(web.url)
            await page.locator("td.col-comment", has_text="text-embedding-3-small").wait_for(timeout=60_000)
            await page.locator("td.col-path", has_text="anthropic.com").first.click()
            for name, tab, seen in (
                ("mitmweb-request", "Request", "tools: 3"),
                ("mitmweb", "Response", "assistant calls Read"),
            ):
                await page.get_by_text(tab, exact=True).click()
                await page.locator(".contentview", has_text=seen).wait_for()
                await page.screenshot(path=folder / f"{name}.png")
                print(folder / f"{name}.png")


async def take_top(browser: Browser, site: Site, folder: Path) -> None:
    """Draws `kimi-mitm top` as a terminal of 110 by 32 would, and writes the picture."""
    console = Console(width=110, height=32, record=True, file=io.StringIO(), color_system="truecolor")
    shown = Board(site.url.removeprefix("http://").rstrip("/"))
    if not await Screen(shown, "").once():
        raise SystemExit(f"top: {shown.problem}")
    shown.where = "127.0.0.1:8082"
    console.print(draw(shown, datetime.now(UTC), 32, hint="q quits"))
    terminal = console.export_html(theme=MONOKAI, inline_styles=True, code_format=TERMINAL)
    page = await browser.new_page(viewport={"width": 1200, "height": 800}, device_scale_factor=1)
    await page.set_content(terminal)
    await page.locator("#terminal").screenshot(path=folder / "top.png")
    print(folder / "top.png")
    await page.close()


async def main(folder: Path) -> None:
    """Serves the scene and takes every picture."""
    service = FakeService(live_clock=True)
    site = Site(service, Scene(service))
    await site.scene.furnish()
    await site.up()
    path = chromium()
    if path is None:
        raise SystemExit("no Chromium here: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        site.scene.begin("s_0002", "kimi-k2.5", 46_000)
        site.scene.begin("s_0004", "claude-sonnet-4-5", 184_500, user="carol", client="kilo-code")
        for shot in SHOTS:
            await take(browser, site, shot, folder)
            print(folder / f"{shot.name}.png")
        await take_top(browser, site, folder)
        await take_mitmweb(browser, folder)
        await browser.close()
    await site.down()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
