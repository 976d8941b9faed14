"""A client of the endpoint without a socket."""

from __future__ import annotations

import httpx
from fastapi import FastAPI

BASE = "http://127.0.0.1:8082"


def connect(app: FastAPI) -> httpx.AsyncClient:
    """A client whose requests go straight into the application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE)
