"""The endpoint in-process: a fake engine, the application on it, a client without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from control_client import connect
from fake_service import FakeService
from fastapi import FastAPI

from kimi_mitm.control.app import create_app
from kimi_mitm.control.guard import ControlSettings


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def app(service: FakeService) -> FastAPI:
    return create_app(service, ControlSettings(version="1.2.3"))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(app) as one:
        yield one
