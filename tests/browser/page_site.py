"""The endpoint as browser tests and screenshots start it, and the browser they look at it with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

from fake_service import FakeService
from scene import Scene

from kimi_mitm.control.app import create_app
from kimi_mitm.control.guard import ControlSettings
from kimi_mitm.control.listener import Listener, serve

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """Where Debian's Chromium is, or another one on the PATH; None where there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Site:
    """The endpoint with its fake engine, which can go down and come back on the same port."""

    service: FakeService
    scene: Scene
    settings: ControlSettings = field(default_factory=lambda: ControlSettings(version="0.1.0"))
    listener: Listener | None = None
    port: int = 0

    async def up(self) -> None:
        self.listener = await serve(create_app(self.service, self.settings), "127.0.0.1", self.port)
        self.port = self.listener.port

    async def down(self) -> None:
        if self.listener is not None:
            await self.listener.stop()
            self.listener = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"
