"""`kimi-mitm run`, from its command line to what is stored."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    with contextlib.closing(sqlite3.connect(place.db)) as db:
        rows = db.execute("select user, model, input_tokens, session_id, notes from exchanges").fetchall()
    [(user, model, tokens, session, notes)] = rows
    assert (user, model, tokens) == ("alice", "gpt-4o-mini", 11)
    assert session in summary[1]
    assert '"run":' in notes


async def test_a_proxy_that_cannot_start_does_not_stop_the_client(place: Place) -> None:
    words = ("-c", "import os, sys; print(os.environ.get('HTTPS_PROXY')); sys.exit(3)")

    done = await place.run("--proxy-arg=--no-such-option", "--", sys.executable, *words)

    assert (done.code, done.out) == (3, "None\n")
    assert len(done.err.splitlines()) == 1
    assert "runs without it: it ended with 1 (mitmdump: error: unrecognized arguments" in done.err


async def test_what_the_proxy_complained_of_is_said_however_short_the_run(place: Place) -> None:
    nowhere = place.home / "kimi.db"
    nowhere.write_text("Dear diary,\n" * 500)

    done = await place.run(*place.leading, "--", sys.executable, "-c", "")

    assert done.code == 0
    first = done.err.splitlines()[0]
    assert first.startswith("kimi-mitm: ")
    assert "the database can't be opened" in first


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
    assert done.err.splitlines() == ["kimi-mitm: no-such-command-anywhere: command not found"]


async def test_a_run_within_a_run_joins_its_proxy(place: Place) -> None:
    inner = ("-m", "kimi_mitm", "run", "--user", "bob", "--", *CLIENT, "4")

    done = await place.run(
        *("--user", "alice", *place.leading, "--", sys.executable, *inner), KIMI_CONTROL="127.0.0.1:0"
    )

    assert (done.code, done.out) == (4, "hello \n"), done.err
    said = [line for line in done.err.splitlines() if "exchange" in line]
    assert said[0].startswith("kimi-mitm: 1 exchange · ")  # the inner run's
    assert "no LLM exchange was seen" in said[1]  # the outer one's own
    with contextlib.closing(sqlite3.connect(place.db)) as db:
        assert db.execute("select user from exchanges").fetchall() == [("bob",)]


async def test_a_proxy_of_the_users_own_is_gone_on_to(place: Place, authority: Authority) -> None:
    seen: list[str] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        seen.append(head)
        far = await asyncio.open_connection("127.0.0.1", int(place.environment["KIMI_TEST_UPSTREAM"]))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_copy(reader, far[1]), _copy(far[0], writer))

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    trusted = ("--proxy-arg=--set", f"--proxy-arg=ssl_verify_upstream_trusted_ca={authority.pem}")

    done = await place.run(*trusted, "--", *CLIENT, HTTPS_PROXY=f"http://me:secret@127.0.0.1:{port}")
    server.close()

    assert (done.code, done.out) == (0, "hello \n"), done.err
    assert "CONNECT api.openai.com:443" in seen[0]
    assert base64.b64encode(b"me:secret").decode() in seen[0]
    assert "1 exchange" in done.err


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


FAKE_CLAUDE = """#!{python}
import os, sys
with open("calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
session = sys.argv[sys.argv.index("--session-id") + 1] if "--session-id" in sys.argv else None
if session and len(open("calls").readlines()) <= int(os.environ.get("REFUSALS", "0")):
    sys.exit(f"Error: Session ID {{session}} is already in use.")
print("pong", sys.stdin.read())
"""


@pytest.fixture
def claude(place: Place) -> Place:
    """A `claude` on the PATH that writes down how it was called, and refuses its first sessions."""
    program = place.home / "bin" / "claude"
    program.parent.mkdir()
    program.write_text(FAKE_CLAUDE.format(python=sys.executable))
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{place.environment['PATH']}"
    return replace(place, environment={**place.environment, "PATH": path})


def calls(place: Place) -> list[list[str]]:
    return [line.split() for line in (place.home / "calls").read_text().splitlines()]


ONCE = ("--one-shot", "--proxy-arg=--no-such-option", "claude", "-p")


async def test_one_shot_gives_a_session_of_its_own_and_says_which(claude: Place) -> None:
    done = await claude.run(*ONCE, said=b"asked")

    [[option, session, prompt]] = calls(claude)
    assert (option, prompt) == ("--session-id", "-p")
    assert (done.code, done.out) == (0, "pong asked\n")
    assert done.err.splitlines()[-1] == f"kimi-mitm: session id {session}"


async def test_a_session_id_that_is_in_use_is_tried_again_with_another(claude: Place) -> None:
    done = await claude.run(*ONCE, said=b"asked", REFUSALS="1")

    first, second = (call[1] for call in calls(claude))
    assert first != second
    assert (done.code, done.out) == (0, "pong asked\n")
    assert f"Error: Session ID {first} is already in use." in done.err
    assert f"session id {first} is in use, trying again with {second}" in done.err
    assert done.err.splitlines()[-1] == f"kimi-mitm: session id {second}"


async def test_it_is_tried_again_once_only(claude: Place) -> None:
    done = await claude.run(*ONCE, REFUSALS="9")

    assert done.code == 1
    assert len(calls(claude)) == 2


async def test_without_one_shot_nothing_is_added(claude: Place) -> None:
    await claude.run(*ONCE[1:])

    assert calls(claude) == [["-p"]]


@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
async def test_the_client_has_the_terminal(place: Place) -> None:
    import pty

    master, slave = pty.openpty()
    words = ("-c", "import os; print([os.isatty(n) for n in range(3)], os.getpgrp() == os.tcgetpgrp(0))")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(
            "-c",
            "import os; os.setsid(); import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
            "import runpy, sys; runpy.run_module('kimi_mitm', run_name='__main__')",
        ),
        *("run", "-q", "--proxy-arg=--no-such-option", "--", sys.executable, *words),
        env=dict(place.environment),
        cwd=place.home,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == 0
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "[True, True, True] True" in shown


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
async def test_ctrl_c_is_the_clients(place: Place) -> None:
    """Both get it from the terminal; the client says what becomes of it."""
    pid = place.home / "pid"
    script = (
        "import os, signal, sys, pathlib\n"
        "signal.signal(signal.SIGINT, lambda n, f: sys.exit(5))\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n"
        "while True: signal.pause()"
    )
    process = await place.start("-q", "--proxy-arg=--no-such-option", "--", sys.executable, "-c", script)
    async with asyncio.timeout(DEADLINE_S):
        while not pid.exists() or not pid.read_text():  # noqa: ASYNC110 (another process writes it)
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        os.kill(int(pid.read_text()), signal.SIGINT)
        await process.communicate()

    assert process.returncode == 5
