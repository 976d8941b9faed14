"""The CA, the clock and the database, each with its faults."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kimi_mitm.doctor import authority, clock, storage
from kimi_mitm.doctor.finding import State
from kimi_mitm.store.database import connect

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def write_ca(folder: Path, begins: datetime, ends: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mitmproxy")])
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends).sign(
        key, hashes.SHA256()
    )
    (folder / "mitmproxy-ca-cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def test_no_ca_is_named_with_what_makes_one(tmp_path: Path) -> None:
    [found] = authority.check(str(tmp_path), NOW)

    assert found.state is State.FAULT
    assert "no CA certificate" in found.text
    assert "./scripts/proxy" in (found.mend or "")


@pytest.mark.parametrize(
    ("begins", "ends", "state"),
    [
        (-10, 1000, State.OK),
        (-10, 10, State.WARNING),
        (-10, -1, State.FAULT),
        (1, 1000, State.FAULT),
    ],
)
def test_the_ca_holds_today_or_is_named(tmp_path: Path, begins: int, ends: int, state: State) -> None:
    write_ca(tmp_path, NOW + timedelta(days=begins), NOW + timedelta(days=ends))

    [found] = authority.check(str(tmp_path), NOW)

    assert found.state is state


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
    (tmp_path / "mitmproxy-ca-cert.pem").write_text(pem)

    [found] = authority.check(str(tmp_path), NOW)

    assert found.state is State.FAULT


@pytest.mark.parametrize(
    ("now", "newest", "state"),
    [
        (NOW, None, State.OK),
        (NOW, NOW - timedelta(days=3), State.OK),
        (NOW, NOW + timedelta(hours=1), State.FAULT),
        (datetime(1970, 1, 1, tzinfo=UTC), None, State.FAULT),
    ],
)
def test_a_clock_that_cannot_be_right_is_named(now: datetime, newest: datetime | None, state: State) -> None:
    [found] = clock.check(now, newest)

    assert found.state is state


def made(path: Path) -> Path:
    async def make() -> None:
        await (await connect(str(path))).dispose()

    asyncio.run(make())
    return path


def test_a_database_that_is_well_says_what_is_in_it(tmp_path: Path) -> None:
    [found] = storage.check(str(made(tmp_path / "kimi.db")), None)

    assert found.state is State.OK
    assert "0 exchanges" in found.text


def test_none_yet_is_no_fault(tmp_path: Path) -> None:
    [found] = storage.check(str(tmp_path / "below" / "kimi.db"), None)

    assert found.state is State.WARNING
    assert not (tmp_path / "below").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    [found] = storage.check(str(tmp_path / "file" / "kimi.db"), None)

    assert found.state is State.FAULT
    assert "can't be written" in found.text
    assert "kimi_db" in (found.mend or "")


def test_a_database_that_somebody_holds_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path / "kimi.db")
    real = sqlite3.connect
    monkeypatch.setattr(storage.sqlite3, "connect", lambda *a, **k: real(*a, **{**k, "timeout": 0.01}))
    holder = real(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        [found] = storage.check(str(path), None)
    finally:
        holder.close()

    assert found.state is State.FAULT
    assert "locked" in found.text


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be one" * 40, b""])
def test_another_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "kimi.db").write_bytes(content)

    [found] = storage.check(str(tmp_path / "kimi.db"), None)

    assert found.state is State.FAULT


def test_a_newer_schema_is_named(tmp_path: Path) -> None:
    path = made(tmp_path / "kimi.db")
    db = sqlite3.connect(path)
    db.execute("update alembic_version set version_num = '9999'")
    db.commit()
    db.close()

    [found] = storage.check(str(path), None)

    assert found.state is State.FAULT
    assert "9999" in found.text


def test_what_the_proxy_says_of_its_store_comes_first(tmp_path: Path) -> None:
    health = {"warnings": ["The store: the disk is full."]}

    [found] = storage.check(str(tmp_path / "kimi.db"), health)

    assert (found.state, found.text) == (State.FAULT, "the disk is full")
