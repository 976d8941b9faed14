"""Records go to standard output, whatever the progress bar does on standard error."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.engine_rig import engine


def test_records_reach_a_file_while_progress_is_shown_on_a_terminal(tmp_path: Path) -> None:
    async def record() -> None:
        async with engine(tmp_path) as rig:
            await rig.chat()

    asyncio.run(record())
    ours, theirs = pty.openpty()
    out = tmp_path / "out.jsonl"
    try:
        with out.open("wb") as file:
            subprocess.run(
                [sys.executable, "-m", "kimi_mitm", "export", "--db", str(tmp_path / "kimi.db")],
                stdout=file,
                stderr=theirs,
                check=True,
                timeout=120,
            )
    finally:
        os.close(theirs)
        os.close(ours)

    assert len(out.read_bytes().splitlines()) == 1
