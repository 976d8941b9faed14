"""Commands' tests use the control endpoint's fake engine, and its lively afternoon."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

_TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(_TESTS / name) for name in ("control", "browser") if str(_TESTS / name) not in sys.path]

if TYPE_CHECKING:
    from page_site import Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """An endpoint on a port of its own, with sessions and exchanges of every kind."""
    from fake_service import FakeService
    from page_site import Site
    from scene import Scene

    service = FakeService(live_clock=True)
    made = Site(service, Scene(service))
    await made.scene.furnish()
    await made.up()
    yield made
    await made.down()
