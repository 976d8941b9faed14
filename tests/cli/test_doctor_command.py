"""`kimi-mitm doctor`: one line a finding, and an exit code for scripts."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kimi_mitm.cli import app


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("KIMI_RUNNING_FILE", str(tmp_path / "none.json"))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "KIMI_CONTROL", "KIMI_DB"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_faults_are_named_one_a_line_with_what_mends_them(home: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--port", str(free()), "--control", ""])

    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert lines[0].startswith("✗ proxy: is down")
    assert "→ ./scripts/proxy" in lines[0]
    assert any(line.startswith("✗ CA: no CA certificate") for line in lines)
    assert lines[-1] == "2 faults found"


def test_json_says_the_same(home: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--port", str(free()), "--control", "", "--json"])

    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"subject", "state", "text", "mend"} == set(found[0])
    assert [f["subject"] for f in found if f["state"] == "fault"] == ["proxy", "CA"]


def test_a_wrong_address_is_refused(home: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--control", "here"])

    assert done.exit_code == 1
    assert "--control" in done.stderr
