"""Files of certificates."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from kimi_mitm.launch import bundles
from kimi_mitm.launch.bundles import NoCertificate


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as mitmproxy's, with a CA certificate; ours is the data folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "mitmproxy"
    folder.mkdir()
    trustme.CA().cert_pem.write_to_path(str(folder / "mitmproxy-ca-cert.pem"))
    return folder


def held(path: str) -> set[bytes]:
    return set(bundles.certificates(Path(path).read_bytes()))


def theirs(folder: Path) -> tuple[str, set[bytes]]:
    path = folder / "corp.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path), held(str(path))


def test_a_bundle_holds_the_systems_roots_and_our_ca(ours: Path) -> None:
    files = bundles.make(ours, {})

    assert held(files.bundle) == set(bundles.system_roots()) | held(files.ca)
    assert len(held(files.bundle)) > 50
    assert files.merged == {}
    context = ssl.create_default_context(cafile=files.bundle)
    assert len(context.get_ca_certs()) > 50


def test_what_a_user_has_set_stays_trusted_and_nothing_else_is(ours: Path, tmp_path: Path) -> None:
    path, corp = theirs(tmp_path)

    files = bundles.make(ours, {"SSL_CERT_FILE": path, "NODE_EXTRA_CA_CERTS": path, "PATH": "/bin"})

    assert set(files.merged) == {"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"}
    assert held(files.merged["SSL_CERT_FILE"]) == corp | held(files.ca)
    assert held(files.merged["NODE_EXTRA_CA_CERTS"]) == corp | held(files.ca)


def test_a_users_file_that_cannot_be_read_leaves_the_systems_roots(ours: Path) -> None:
    files = bundles.make(ours, {"SSL_CERT_FILE": "/nowhere/at/all.pem", "NODE_EXTRA_CA_CERTS": "/nowhere"})

    assert held(files.merged["SSL_CERT_FILE"]) == held(files.bundle)
    assert "NODE_EXTRA_CA_CERTS" not in files.merged


def test_what_an_earlier_start_of_ours_has_set_is_not_added_to(ours: Path) -> None:
    first = bundles.make(ours, {})

    again = bundles.make(ours, {"SSL_CERT_FILE": first.bundle, "NODE_EXTRA_CA_CERTS": first.ca})

    assert again == first


def test_the_proxy_itself_trusts_what_the_user_trusts(ours: Path, tmp_path: Path) -> None:
    path, corp = theirs(tmp_path)

    found = held(bundles.upstream_roots({"REQUESTS_CA_BUNDLE": path}))

    assert found == corp | set(bundles.system_roots())
    assert not found & held(str(ours / "mitmproxy-ca-cert.pem"))


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_without_a_ca_there_are_no_files(ours: Path, content: bytes | None) -> None:
    path = ours / "mitmproxy-ca-cert.pem"
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(NoCertificate, match=r"mitmproxy-ca-cert\.pem"):
        bundles.make(ours, {})
    assert not bundles.has_ca(ours)


def test_a_data_folder_that_cannot_be_written_is_made_do_without(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    files = bundles.make(ours, {})

    assert Path(files.bundle).is_relative_to(tmp_path)
    assert held(files.ca) <= held(files.bundle)


def test_only_certificates_are_taken_each_once() -> None:
    pem = trustme.CA().cert_pem.bytes()
    messy = (
        b"# comment\n" + pem.replace(b"\n", b"\r\n") + b"\ntext\n" + pem + b"-----BEGIN PRIVATE KEY-----\nx\n"
    )

    [found] = bundles.certificates(messy)

    assert found == pem.strip()
