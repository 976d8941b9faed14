"""The proxy that a client is pointed at."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kimi_mitm import owner, running_file
from kimi_mitm.launch import proxies
from kimi_mitm.launch.proxies import OwnProxy, ProxyError, upstream_mode
from kimi_mitm.running_file import RunningProxy


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    """An environment of a test's own."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "KIMI_CONTROL": "",
        "KIMI_LOGS": "off",
    }


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        (None, ("regular", "")),
        ("http://corp:3128", ("upstream:http://corp:3128", "")),
        ("corp:3128", ("upstream:http://corp:3128", "")),
        ("http://me:p%40ss@corp:3128/", ("upstream:http://corp:3128", "me:p@ss")),
        ("https://corp", ("upstream:https://corp:443", "")),
        ("http://[::1]:8080", ("upstream:http://[::1]:8080", "")),
    ],
)
def test_a_proxy_of_the_users_own_is_gone_on_to(url: str | None, mode: tuple[str, str]) -> None:
    assert upstream_mode(url) == mode


@pytest.mark.parametrize("url", ["socks5://corp:1080", "http://corp:99999", "http://", "ftp://x"])
def test_one_that_cannot_be_gone_on_to_is_no_reason_to_lose_traffic(url: str) -> None:
    with pytest.raises(ProxyError):
        upstream_mode(url)


def test_a_proxy_that_does_not_answer_is_not_found(tmp_path: Path) -> None:
    place = tmp_path / "running.json"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        here = RunningProxy(process=owner.this_process(), proxy=("127.0.0.1", port))
        running_file.write(place, here)
        assert proxies.find({"KIMI_RUNNING_FILE": str(place)}) == here

    assert proxies.find({"KIMI_RUNNING_FILE": str(place)}) is None


def test_a_proxy_of_ones_own_listens_is_known_to_nobody_else_and_goes(given: dict[str, str]) -> None:
    own = OwnProxy(given)
    try:
        found = own.start(120.0)
        assert found.proxy is not None
        assert proxies.listening(*found.proxy)
        assert not (Path(given["XDG_DATA_HOME"]) / "kimi-mitm" / "running.json").exists()
        assert proxies.find(given | own.variables) == found
    finally:
        own.stop()

    assert not proxies.listening(*found.proxy)


def test_why_it_cannot_start_is_told_in_one_line(given: dict[str, str]) -> None:
    own = OwnProxy(given | {"KIMI_SESSION_TIMEOUT": "soon"})
    try:
        with pytest.raises(ProxyError) as refused:
            own.start(120.0)
    finally:
        own.stop()

    assert "kimi_session_timeout: must be a positive number of seconds" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_it_ends_with_the_process_that_started_it_however_that_ends(given: dict[str, str]) -> None:
    script = (
        "import os, sys, time; from kimi_mitm.launch.proxies import OwnProxy;"
        "found = OwnProxy(dict(os.environ)).start(120.0); print(*found.proxy, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], env=given, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    host, port = starter.stdout.readline().split()
    assert proxies.listening(host, int(port))

    starter.kill()
    starter.wait()
    starter.stdout.close()

    end = time.monotonic() + 60
    while proxies.listening(host, int(port)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not proxies.listening(host, int(port))


@contextlib.contextmanager
def speaking(answer: bytes) -> object:
    """A server that says one thing to one visitor."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                one = server.accept()[0]
                with one:
                    one.recv(4096)
                    one.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield ("127.0.0.1", server.getsockname()[1])
        finally:
            server.close()
            thread.join(5)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n\xff\xff",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + b"[" * 50_000,
    ],
)
def test_somebody_elses_answer_is_no_health_of_ours(answer: bytes) -> None:
    with speaking(answer) as address:
        assert proxies.health(address) is None
