"""Where a running proxy can be found."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from kimi_mitm import owner, running_file
from kimi_mitm.running_file import RunningFile, RunningProxy
from kimi_mitm.settings import Settings


def proxy(**more: Any) -> RunningProxy:
    return RunningProxy(process=owner.this_process(), **more)


def master(*addresses: tuple[str, int], mode: str = "regular", proxyauth: str | None = None) -> Any:
    server = SimpleNamespace(mode=SimpleNamespace(type_name=mode), listen_addrs=addresses)
    options = SimpleNamespace(confdir="/conf", proxyauth=proxyauth)
    addons = SimpleNamespace(get=lambda name: SimpleNamespace(servers=[server]))
    return SimpleNamespace(options=options, addons=addons)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    place = tmp_path / "below" / "running.json"
    written = proxy(proxy=("127.0.0.1", 8080), control=("127.0.0.1", 8082), confdir="/c", db="/d")

    running_file.write(place, written)

    assert running_file.read(place) == written
    assert [p.name for p in place.parent.iterdir()] == ["running.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"process": 5}', b"\xff\xfe", b"null", b"[" * 9000])
def test_a_file_that_is_none_of_ours_names_no_proxy(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "running.json"
    place.write_bytes(content)

    assert running_file.read(place) is None


def test_a_proxy_whose_process_has_ended_is_not_named(tmp_path: Path) -> None:
    place = tmp_path / "running.json"
    running_file.write(place, RunningProxy(process="1@0", proxy=("127.0.0.1", 8080)))

    assert running_file.read(place) is None


def test_no_file_names_no_proxy(tmp_path: Path) -> None:
    assert running_file.read(tmp_path / "running.json") is None


def test_a_later_proxys_file_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "running.json"
    running_file.write(place, proxy())

    running_file.remove(place, "77@1")

    assert place.exists()


def test_the_variable_names_another_place(tmp_path: Path) -> None:
    assert running_file.place({"KIMI_RUNNING_FILE": str(tmp_path / "x")}) == tmp_path / "x"
    assert running_file.place({}).name == "running.json"


@pytest.mark.parametrize(
    ("bound", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "::1"), ("10.1.2.3", "10.1.2.3"), ("host", "host")],
)
def test_an_address_is_told_as_it_is_reached_from_here(bound: str, reached: str) -> None:
    assert running_file.reachable_host(bound) == reached


async def test_the_recorder_tells_of_itself_and_of_its_control_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "running.json"
    monkeypatch.setenv("KIMI_RUNNING_FILE", str(place))
    file = RunningFile(master(("::", 8080, 0, 0), ("0.0.0.0", 8080)), Settings(db="/d/kimi.db"))

    file.started()
    file.opened(("0.0.0.0", 8082))
    await file._write(file._work)

    found = running_file.read(place)
    assert found is not None
    assert (found.proxy, found.control, found.settled) == (("127.0.0.1", 8080), ("127.0.0.1", 8082), True)
    assert (found.db, found.asks) == ("/d/kimi.db", False)
    await file.close()
    assert not place.exists()


async def test_a_password_in_the_databases_url_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "running.json"
    monkeypatch.setenv("KIMI_RUNNING_FILE", str(place))
    settings = Settings(db="postgresql://me:secret@host/db")
    file = RunningFile(master(("127.0.0.1", 8080), proxyauth="any"), settings)

    file.started()
    await file._write(file._work)

    assert b"secret" not in place.read_bytes()
    assert msgspec.json.decode(place.read_bytes())["asks"] is True


async def test_a_mode_that_no_client_is_pointed_at_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "running.json"
    monkeypatch.setenv("KIMI_RUNNING_FILE", str(place))
    file = RunningFile(master(("127.0.0.1", 8080), mode="reverse"), Settings(db="d"))

    file.started()
    await file._write(file._work)

    found = running_file.read(place)
    assert found is not None
    assert found.proxy is None


async def test_a_place_that_cannot_be_written_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KIMI_RUNNING_FILE", str(tmp_path / "file" / "running.json"))
    file = RunningFile(master(("127.0.0.1", 8080)), Settings(db="d"))

    file.started()
    file.started()
    await file.close()

    assert [r.levelname for r in caplog.records] == ["WARNING"]
