"""Files of certificates: the system's roots, what the user has set, and our CA.  [I/O]

The files are named by what they hold and kept in the data folder, so that any number of clients may
use them at once; where nothing can be written there, they are made in a temporary folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from kimi_mitm.launch.table import table
from kimi_mitm.launch.variables import Files, merged_variables
from kimi_mitm.settings import data_folder

CA_NAME = "mitmproxy-ca-cert.pem"
_SYSTEM_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
)
"""Where Debian and Arch, Fedora (two), openSUSE, Alpine and macOS, and FreeBSD keep the roots in one file."""
_MAC_KEYCHAINS = (
    "/System/Library/Keychains/SystemRootCertificates.keychain",
    "/Library/Keychains/System.keychain",
)
_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----\s.*?-----END (?:TRUSTED )?CERTIFICATE-----", re.DOTALL
)


class NoCertificate(Exception):
    """Our CA is not there or can't be read; the message says where it should be."""


def ca_file(confdir: str | Path) -> Path:
    """mitmproxy's CA certificate in its configuration folder; there or not."""
    return Path(confdir).expanduser() / CA_NAME


def has_ca(confdir: str | Path) -> bool:
    """Whether our CA is there and can be read."""
    return bool(certificates(read(ca_file(confdir))))


def make(confdir: str | Path, given: Mapping[str, str]) -> Files:
    """The files for a client whose environment is `given`. Raises `NoCertificate`, or OSError when they
    can be written nowhere."""
    path = ca_file(confdir)
    ours = certificates(read(path))
    if not ours:
        raise NoCertificate(f"there is no CA certificate at {path}")
    roots = system_roots()
    replaces = {v.name for v in table().variables if v.holds == "bundle"}
    merged = {}
    for name, value in _own(given).items():
        theirs = certificates(read(Path(value)))
        if name not in replaces and set(theirs) <= set(ours):
            continue
        rest = theirs or (roots if name in replaces else [])
        merged[name] = _store("own", [*rest, *ours])
    return Files(ca=str(path), bundle=_store("bundle", [*roots, *ours]), merged=merged)


def upstream_roots(given: Mapping[str, str]) -> str:
    """A file of everything that the user trusts: for the proxy's own connections to providers."""
    theirs = [c for value in _own(given).values() for c in certificates(read(Path(value)))]
    return _store("roots", [*system_roots(), *theirs])


def read(path: Path) -> bytes:
    """A file's bytes, none when it can't be read."""
    try:
        return path.read_bytes()
    except (OSError, ValueError):
        return b""


def _own(given: Mapping[str, str]) -> dict[str, str]:
    """What the user has set, without what an earlier start of ours has set."""
    ours = {_folder(), _temporary()}
    return {n: v for n, v in merged_variables(given).items() if Path(v).parent not in ours}


def certificates(pem: bytes) -> list[bytes]:
    """The certificates in PEM text, each once, in order."""
    found = (b"\n".join(line.strip() for line in c.splitlines()) for c in _CERTIFICATE.findall(pem))
    return list(dict.fromkeys(found))


def system_roots() -> list[bytes]:
    """The roots that the system trusts, and certifi's, so that no client loses one that it had."""
    pem = [read(Path(certifi_file() or ""))]
    if sys.platform == "win32":
        pem += [ssl.DER_cert_to_PEM_cert(der).encode() for der in _windows_roots()]
    elif sys.platform == "darwin":
        pem.append(_mac_roots())
    paths = (ssl.get_default_verify_paths().openssl_cafile, *_SYSTEM_FILES)
    pem.append(next(filter(None, (read(Path(p)) for p in paths)), b""))
    return list(dict.fromkeys(c for text in reversed(pem) for c in certificates(text)))


def certifi_file() -> str | None:
    """The roots that Python's HTTP libraries bring along; None where certifi is not installed."""
    try:
        import certifi
    except ImportError:
        return None
    return certifi.where()


def _windows_roots() -> list[bytes]:
    if sys.platform != "win32":
        return []
    stores = (ssl.enum_certificates(store) for store in ("ROOT", "CA"))
    return [der for found in stores for der, encoding, _ in found if encoding == "x509_asn"]


def _mac_roots() -> bytes:
    command = ["/usr/bin/security", "find-certificate", "-a", "-p", *_MAC_KEYCHAINS]
    try:
        return subprocess.run(command, capture_output=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return b""


def _store(kind: str, found: Iterable[bytes]) -> str:
    content = b"\n".join(dict.fromkeys(found)) + b"\n"
    name = f"{kind}-{hashlib.sha256(content).hexdigest()[:16]}.pem"
    for folder in (_folder(), _temporary()):
        path = folder / name
        with contextlib.suppress(OSError):
            if read(path) != content:
                _write(path, content)
            return str(path)
    raise OSError("no folder to write certificates to")


def _folder() -> Path:
    return data_folder() / "certificates"


def _temporary() -> Path:
    """A folder of the user's own; its name tells users apart, its mode keeps others out."""
    user = os.environ.get("USERNAME", "")
    if sys.platform != "win32":
        user = str(os.getuid())
    return Path(tempfile.gettempdir()) / f"kimi-mitm-{user}"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32" and path.parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{path.parent} is another user's")
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
