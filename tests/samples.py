"""The bundled sample flows, as mitmproxy reads them."""

from __future__ import annotations

from pathlib import Path

from mitmproxy import http, io

DEMO = Path(__file__).resolve().parents[1] / "samples" / "demo.flow"


def flows(path: Path = DEMO) -> list[http.HTTPFlow]:
    """All flows of a file, in order."""
    with path.open("rb") as file:
        return [flow for flow in io.FlowReader(file).stream() if isinstance(flow, http.HTTPFlow)]
