"""`kimi-mitm env` and `kimi-mitm ca`."""

from __future__ import annotations

import os
import ssl
import subprocess
from pathlib import Path

import pytest
import trustme
from typer.testing import CliRunner, Result

from kimi_mitm import owner, running_file
from kimi_mitm.cli import app, ca
from kimi_mitm.running_file import RunningProxy


@pytest.fixture
def confdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("KIMI_RUNNING_FILE", str(tmp_path / "running.json"))
    monkeypatch.setenv("SHELL", "/bin/bash")
    for name in [n for n in os.environ if n.endswith(("_PROXY", "_proxy", "CERTS", "_BUNDLE", "CERT_FILE"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / ".mitmproxy"
    folder.mkdir()
    trustme.CA().cert_pem.write_to_path(str(folder / "mitmproxy-ca-cert.pem"))
    return folder


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_shell_takes_the_variables_over(confdir: Path) -> None:
    done = call("env", "--shell", "sh", "--user", "al ice")
    shown = subprocess.run(
        ["sh", "-c", done.stdout + 'printf "%s %s" "$HTTPS_PROXY" "$NODE_EXTRA_CA_CERTS"'],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout

    assert shown == f"http://al%20ice:x@127.0.0.1:8080 {confdir}/mitmproxy-ca-cert.pem"
    assert "no proxy is running" in done.stderr


def test_one_client_gets_what_it_needs(confdir: Path) -> None:
    shown = call("env", "codex", "--shell", "fish").stdout

    assert "set -gx CODEX_CA_CERTIFICATE '" in shown
    assert "NODE_EXTRA_CA_CERTS" not in shown


def test_the_running_proxy_is_named(confdir: Path, tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        running_file.write(
            tmp_path / "running.json",
            RunningProxy(process=owner.this_process(), proxy=("127.0.0.1", port), confdir=str(confdir)),
        )
        done = call("env", "claude", "--user", "alice")

    assert f"export HTTPS_PROXY=http://alice:x@127.0.0.1:{port}\n" in done.stdout
    assert done.stderr == ""


def test_a_client_that_is_not_known_is_refused_with_those_that_are(confdir: Path) -> None:
    done = call("env", "clippy")

    assert done.exit_code == 1
    assert "claude-code" in done.stderr


def test_without_a_ca_there_is_a_way_to_one(confdir: Path) -> None:
    (confdir / "mitmproxy-ca-cert.pem").unlink()

    for words in (["env"], ["ca", "path"], ["ca", "trust"]):
        done = call(*words)
        assert done.exit_code == 1
        assert "start the proxy once" in done.stderr
        assert done.stdout == ""


def test_the_ca_is_shown_and_copied(confdir: Path, tmp_path: Path) -> None:
    path = confdir / "mitmproxy-ca-cert.pem"
    assert call("ca", "path").stdout == f"{path}\n"
    assert call("ca", "print").stdout == path.read_text()

    assert call("ca", "export", str(tmp_path / "a.pem")).exit_code == 0
    assert call("ca", "export", str(tmp_path / "a.cer")).exit_code == 0

    der = ssl.PEM_cert_to_DER_cert(path.read_text())
    assert (tmp_path / "a.cer").read_bytes() == der
    assert ssl.PEM_cert_to_DER_cert((tmp_path / "a.pem").read_text()) == der


def test_a_file_is_not_written_over_unasked(confdir: Path, tmp_path: Path) -> None:
    there = tmp_path / "a.pem"
    there.write_text("mine")

    done = call("ca", "export", str(there))
    assert done.exit_code == 1
    assert there.read_text() == "mine"

    assert call("ca", "export", str(there), "--force").exit_code == 0
    assert call("ca", "export", str(tmp_path / "no" / "folder.pem")).exit_code == 1


def test_the_system_is_not_touched_without_consent(confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(ca.trust, "steps", lambda system, path, undo: [["trust-me", path], ["then", "this"]])

    def run(step: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        ran.append(step)
        return subprocess.CompletedProcess(step, 0)

    monkeypatch.setattr(ca.subprocess, "run", run)

    shown = call("ca", "trust")
    assert shown.stdout.splitlines() == [f"trust-me {confdir}/mitmproxy-ca-cert.pem", "then this"]
    assert "nothing was run" in shown.stderr
    assert ran == []

    call("ca", "trust", "--yes")
    assert len(ran) == 2


def test_a_step_that_fails_is_the_last(confdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(ca.trust, "steps", lambda system, path, undo: [["one"], ["two"]])
    monkeypatch.setattr(
        ca.subprocess,
        "run",
        lambda step, check: ran.append(step) or subprocess.CompletedProcess(step, 3),
    )

    done = call("ca", "trust", "--yes")

    assert done.exit_code == 1
    assert ran == [["one"]]
