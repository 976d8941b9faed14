"""Where recorded traffic and logs for tests live, when they are there at all.

The suite runs without them, in fewer cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path | None:
    path = _ROOT / name
    return path if path.is_dir() else None


CORPUS = _folder("corpus")
LOGS = _folder("logs")
CLIENT_LOGS = _folder("client-logs")


def corpus() -> Iterator[dict[str, Any]]:
    """Every recorded exchange, in file order; nothing where there is no corpus."""
    for path in sorted(CORPUS.glob("*.jsonl")) if CORPUS else ():
        with path.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                if line.strip():
                    yield json.loads(line)
