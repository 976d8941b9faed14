"""Whether a proxy runs, whose its ports are, and where a shell leads."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kimi_mitm import owner, running_file
from kimi_mitm.doctor import proxy
from kimi_mitm.doctor.finding import Finding, State
from kimi_mitm.doctor.proxy import Found
from kimi_mitm.running_file import RunningProxy

HEALTH: dict[str, Any] = {"status": "ok", "uptime_s": 60.0, "store": "ok", "warnings": []}


@contextlib.contextmanager
def taken() -> Iterator[int]:
    """A port where somebody listens who isn't us."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextlib.contextmanager
def answering(body: object) -> Iterator[int]:
    """A server that answers every GET with this JSON."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def one(found: list[Finding], subject: str) -> Finding:
    [finding] = [f for f in found if f.subject == subject]
    return finding


def running(port: int, control: int | None = None, **more: Any) -> RunningProxy:
    return RunningProxy(
        process=owner.this_process(),
        proxy=("127.0.0.1", port),
        control=("127.0.0.1", control) if control else None,
        **more,
    )


def test_a_proxy_that_is_down_is_named() -> None:
    port = free()
    found = one(list(proxy.check(Found(), port, None)), "proxy")

    assert (found.state, found.text) == (State.FAULT, "is down: none runs here")
    assert "./scripts/proxy" in (found.mend or "")


def test_a_port_that_is_taken_is_named() -> None:
    with taken() as port:
        found = one(list(proxy.check(Found(), port, None)), "proxy")

    assert found.state is State.FAULT
    assert f"port {port} is taken by another program" in found.text
    assert f"--listen-port {port + 1}" in (found.mend or "")


def test_a_control_port_that_is_taken_is_named_with_and_without_a_proxy() -> None:
    with taken() as port:
        down = one(list(proxy.check(Found(), free(), ("127.0.0.1", port))), "control endpoint")
        up = one(list(proxy.check(Found(running(1)), 1, ("127.0.0.1", port))), "control endpoint")

    for found in (down, up):
        assert found.state is State.FAULT
        assert "taken by another program" in found.text
        assert f"kimi_control=127.0.0.1:{port + 1}" in (found.mend or "")


def test_a_proxy_that_runs_is_found_by_its_file(tmp_path: Path) -> None:
    place = tmp_path / "running.json"
    with answering(HEALTH) as control:
        running_file.write(place, running(control, control))
        found = proxy.find(free(), {"KIMI_RUNNING_FILE": str(place)})
        told = list(proxy.check(found, 8080, None))

    assert found.health == HEALTH
    assert [f.state for f in told] == [State.OK, State.OK]
    assert f"127.0.0.1:{control}" in told[0].text


def test_a_proxy_without_a_file_is_found_by_its_own_name_on_the_port(tmp_path: Path) -> None:
    with answering(HEALTH) as port:
        found = proxy.find(port, {"KIMI_RUNNING_FILE": str(tmp_path / "none.json")})

    assert found.proxy is not None
    assert found.proxy.proxy == ("127.0.0.1", port)


def test_somebody_else_on_the_port_is_no_proxy_of_ours(tmp_path: Path) -> None:
    with answering({"hello": 1}) as port:
        found = proxy.find(port, {"KIMI_RUNNING_FILE": str(tmp_path / "none.json")})

    assert found.proxy is None


def test_a_host_that_is_passed_through_is_a_fault() -> None:
    text = "Clients refuse our certificate for api.openai.com; it is passed through unread."
    health = {**HEALTH, "warnings": [text, "The store: full.", "The engine was started again 2 times."]}

    found = list(proxy.check(Found(running(1), health), 1, None))

    passed = one(found, "passed through")
    assert passed.state is State.FAULT
    assert "api.openai.com" in passed.text
    assert [f.state for f in found if "started again" in f.text] == [State.WARNING]
    assert not any("store" in f.text.lower() for f in found)


def shell(found: Found, **environment: str) -> Finding:
    [finding] = proxy.check_shell(found, environment)
    return finding


def test_a_shell_that_leads_to_the_proxy_is_well() -> None:
    found = Found(running(8080))

    assert shell(found, HTTPS_PROXY="http://alice:x@localhost:8080").state is State.OK
    assert proxy.points_here(found, {"https_proxy": "http://127.0.0.1:8080"})


def test_a_shell_that_leads_nowhere_near_is_unknown() -> None:
    assert shell(Found(running(8080))).state is State.UNKNOWN
    assert not proxy.points_here(Found(running(8080)), {})


def test_a_shell_that_leads_to_another_proxy_is_a_fault_that_tells_no_password() -> None:
    found = shell(Found(running(8080)), HTTPS_PROXY="http://me:secret@corp:3128")

    assert found.state is State.FAULT
    assert "corp:3128" in found.text
    assert "secret" not in found.text


def test_a_shell_that_leads_where_nobody_listens_is_a_fault() -> None:
    found = shell(Found(), HTTPS_PROXY=f"http://127.0.0.1:{free()}")

    assert found.state is State.FAULT
    assert "nobody listens" in found.text


@pytest.mark.parametrize("named", ["*", "api.openai.com", ".openai.com", "*.openai.com", "a, openai.com"])
def test_a_no_proxy_that_lets_llm_hosts_go_by_is_a_fault(named: str) -> None:
    found = shell(Found(running(8080)), HTTPS_PROXY="http://127.0.0.1:8080", NO_PROXY=named)

    assert found.state is State.FAULT
    assert "api.openai.com" in found.text


def test_a_no_proxy_for_other_hosts_is_none_of_our_business() -> None:
    found = shell(
        Found(running(8080)), HTTPS_PROXY="http://127.0.0.1:8080", no_proxy="localhost,.corp,myopenai.com"
    )

    assert found.state is State.OK
