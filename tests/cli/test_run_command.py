"""`kimi-mitm run`, from its command line to what is stored."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rig.bodies import chat_answer

if TYPE_CHECKING:
    from rig.authority import Authority
    from rig.upstream import Call, Upstream

HERE = Path(__file__).parent
DEADLINE_S = 180.0


@dataclass(frozen=True)
class Done:
    """A process's end."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Place:
    """A home of a test's own: its environment, and the arguments that lead a proxy to the upstream."""

    home: Path
    environment: Mapping[str, str]
    leading: tuple[str, ...]

    @property
    def db(self) -> Path:
        return self.home / "kimi.db"

    async def start(self, *words: str, **more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "kimi_mitm", "run", *words),
            env={**self.environment, **more},
            cwd=self.home,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str, said: bytes = b"", **more: str) -> Done:
        process = await self.start(*words, **more)
        async with asyncio.timeout(DEADLINE_S):
            out, err = await process.communicate(said)
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())


@pytest.fixture
def place(tmp_path: Path, upstream: Upstream, authority: Authority) -> Place:
    async def answer(call: Call) -> None:
        await call.answer(chat_answer(prompt=11, output=3), {"content-type": "application/json"})

    upstream.handler = answer
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(HERE.parents[1]),
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "KIMI_DB": str(tmp_path / "kimi.db"),
        "KIMI_CONTROL": "",
        "KIMI_LOGS": "off",
        "KIMI_TEST_UPSTREAM": str(upstream.port),
    }
    trusted = f"ssl_verify_upstream_trusted_ca={authority.pem}"
    leading = ("-s", str(HERE / "redirect_script.py"), "--set", trusted)
    return Place(tmp_path, environment, tuple(f"--proxy-arg={word}" for word in leading))


CLIENT = (sys.executable, str(HERE / "fake_client.py"))


async def test_a_client_is_watched_with_nothing_else_set(place: Place) -> None:
    done = await place.run("--user", "alice", *place.leading, "--", *CLIENT, "3", said=b"asked")

    assert (done.code, done.out) == (3, "hello asked\n"), done.err
    summary = done.err.splitlines()[-2:]
    assert summary[0].startswith("kimi-mitm: 1 exchange · prompt ≈")
    assert "11 reported · answer 3 · <$0.0001" in summary[0]
    with sqlite3.connect(place.db) as db:
        rows = db.execute("select user, model, input_tokens, session_id, notes from exchanges").fetchall()
    db.close()
    [(user, model, tokens, session, notes)] = rows
    assert (user, model, tokens) == ("alice", "gpt-4o-mini", 11)
    assert session in summary[1]
    assert '"run":' in notes


async def test_a_proxy_that_cannot_start_does_not_stop_the_client(place: Place) -> None:
    words = ("-c", "import os, sys; print(os.environ.get('HTTPS_PROXY')); sys.exit(3)")

    done = await place.run("--proxy-arg=--no-such-option", "--", sys.executable, *words)

    assert (done.code, done.out) == (3, "None\n")
    assert len(done.err.splitlines()) == 1
    assert "runs without it" in done.err


async def test_quiet_says_nothing(place: Place) -> None:
    done = await place.run("-q", *place.leading, *CLIENT)

    assert (done.code, done.err) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_a_signal_that_ends_the_client_ends_us(place: Place) -> None:
    done = await place.run("sh", "-c", "kill -TERM $$")

    assert done.code == -signal.SIGTERM


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_what_is_sent_to_us_reaches_the_client(place: Place) -> None:
    pid = place.home / "pid"
    process = await place.start(*CLIENT, "--pid", str(pid))
    async with asyncio.timeout(DEADLINE_S):
        while not pid.exists() or not pid.read_text():  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        await process.communicate()

    assert process.returncode == 7


async def test_a_command_that_is_not_there_is_told_as_a_shell_would(place: Place) -> None:
    done = await place.run("no-such-command-anywhere")

    assert done.code == 127
    assert "no-such-command-anywhere: command not found" in done.err
