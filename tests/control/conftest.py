"""The endpoint in-process: a fake engine, the application on it, a client without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from fake_service import FakeService
from fastapi import FastAPI

from kimi_mitm.control.app import create_app
from kimi_mitm.control.guard import ControlSettings

type Connect = Callable[[FastAPI], httpx.AsyncClient]

BASE = "http://127.0.0.1:8082"


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def app(service: FakeService) -> FastAPI:
    return create_app(service, ControlSettings(version="1.2.3"))


def connect(app: FastAPI) -> httpx.AsyncClient:
    """A client whose requests go straight into the application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(app) as one:
        yield one
