"""Whether each family of clients trusts our CA: a real TLS handshake with the proxy, by its own runtime.

The proxy is asked for a tunnel to a socket of ours on loopback, and greeted with a name below an LLM
host's that nobody else uses: so it decrypts, nothing leaves this machine, no request is sent, and a
refusal counts against that one name only.  [I/O]
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from kimi_mitm.doctor.finding import Finding, fault, ok, unknown
from kimi_mitm.launch import bundles

_LIMIT_S = 15.0
_HANDSHAKE_FAILURE = bytes.fromhex("15 0303 0002 0228")
"""A fatal TLS alert (RFC 8446, 6.2)."""
_DOMAIN = "openai.azure.com"
_REFUSALS = ("CERT", "SELF_SIGNED", "ISSUER", "VERIFY")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a handshake goes: the proxy, the tunnel's end, and the name to greet with."""

    proxy: tuple[str, int]
    target: str
    name: str


class Broken(Exception):
    """The handshake could not be tried; the message says why."""


type Try = Callable[[Place, Mapping[str, str]], bool]
"""Whether the proxy's certificate is trusted in this environment. Raises `Broken`."""


@dataclass(frozen=True, slots=True)
class Family:
    """Clients with the same TLS. `program`: what must be installed; None: it is looked at from here.
    `by`: the variables that it honours."""

    name: str
    clients: str
    program: str | None
    by: tuple[str, ...]
    attempt: Try


def check(
    proxy: tuple[str, int], environment: Mapping[str, str], families: Sequence[Family] | None = None
) -> Iterator[Finding]:
    """One finding a family whose runtime is installed here."""
    with _sink() as port:
        for family in FAMILIES if families is None else families:
            if family.program and shutil.which(family.program, path=environment.get("PATH")) is None:
                continue
            place = Place(proxy, f"127.0.0.1:{port}", f"kimi-mitm-{secrets.token_hex(6)}.{_DOMAIN}")
            yield _look(family, place, environment)


def _look(family: Family, place: Place, environment: Mapping[str, str]) -> Finding:
    subject = f"trust: {family.name}"
    try:
        trusted = family.attempt(place, environment)
    except Broken as e:
        return unknown(subject, f"could not be tried: {e}")
    if trusted:
        return ok(subject, f"takes our certificate ({family.clients})")
    mend = f'eval "$(kimi-mitm env)" sets {" or ".join(family.by)}; kimi-mitm run does too'
    return fault(subject, f"the CA is not trusted ({family.clients})", mend)


def _here(make: Callable[[Mapping[str, str]], ssl.SSLContext]) -> Try:
    """A handshake from this process, with the trust that `make` gives."""

    def attempt(place: Place, environment: Mapping[str, str]) -> bool:
        try:
            context = make(environment)
        except (OSError, ssl.SSLError) as e:
            raise Broken(f"its certificates can't be loaded: {e}") from e
        try:
            with _tunnel(place) as plain, context.wrap_socket(plain, server_hostname=place.name):
                return True
        except ssl.SSLCertVerificationError:
            return False
        except OSError as e:
            raise Broken(f"the handshake broke off: {e}") from e

    return attempt


def _tunnel(place: Place) -> socket.socket:
    found = socket.create_connection(place.proxy, timeout=_LIMIT_S)
    found.sendall(f"CONNECT {place.target} HTTP/1.1\r\nHost: {place.target}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = found.recv(4096)
        if not piece:
            break
        answer += piece
    status = answer.split(b" ", 2)[1:2]
    if status != [b"200"]:
        found.close()
        raise Broken(
            f"the proxy gives no tunnel ({b''.join(status).decode('ascii', 'replace') or 'no answer'})"
        )
    return found


def _httpx(environment: Mapping[str, str]) -> ssl.SSLContext:
    """As httpx, aiohttp, openai, anthropic: SSL_CERT_FILE, else certifi."""
    named = environment.get("SSL_CERT_FILE")
    return ssl.create_default_context(cafile=named or bundles.certifi_file())


def _requests(environment: Mapping[str, str]) -> ssl.SSLContext:
    """As requests: its own variables, else certifi."""
    named = environment.get("REQUESTS_CA_BUNDLE") or environment.get("CURL_CA_BUNDLE")
    return ssl.create_default_context(cafile=named or bundles.certifi_file())


def _botocore(environment: Mapping[str, str]) -> ssl.SSLContext:
    """As botocore: its own variable, then that of requests, else certifi."""
    named = environment.get("AWS_CA_BUNDLE") or environment.get("REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=named or bundles.certifi_file())


def _node(place: Place, environment: Mapping[str, str]) -> bool:
    script = (resources.files(__package__) / "handshake.js").read_text(encoding="utf-8")
    host, port = place.proxy
    words = ["node", "-e", script, host, str(port), place.target, place.name]
    said = _run(words, environment).stdout.decode("utf-8", "replace").strip()
    if said == "trusted":
        return True
    if said.startswith("refused ") and any(word in said for word in _REFUSALS):
        return False
    raise Broken(said.partition(" ")[2] or "node said nothing")


def _openssl(place: Place, environment: Mapping[str, str]) -> bool:
    proxy = _joined(place.proxy)
    words = ["openssl", "s_client", "-proxy", proxy, "-connect", place.target, "-servername", place.name]
    done = _run([*words, "-verify_return_error", "-verify_hostname", place.name], environment)
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    if "Verify return code: 0" in text or "Verification: OK" in text:
        return True
    if "verify error" in text.lower() or "certificate verify failed" in text.lower():
        return False
    raise Broken((text.strip().splitlines() or ["it said nothing"])[-1][:200])


def _curl(place: Place, environment: Mapping[str, str]) -> bool:
    words = ["curl", "--silent", "--show-error", "--head", "--http1.1", "--noproxy", "", "--max-time", "15"]
    words += ["--proxy", f"http://{_joined(place.proxy)}", "--connect-to", f"{place.name}:443:{place.target}"]
    done = _run([*words, f"https://{place.name}/"], environment)
    if done.returncode in (60, 77, 83):  # the peer's certificate, the file of roots, the issuer
        return False
    if done.returncode in (0, 52, 56) and b"CONNECT tunnel failed" not in done.stderr:
        return True
    raise Broken(done.stderr.decode("utf-8", "replace").strip()[:200] or f"curl ended with {done.returncode}")


def _run(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    path = shutil.which(words[0], path=environment.get("PATH")) or words[0]
    try:
        return subprocess.run(
            [path, *words[1:]],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Broken(str(e)) from e


def _joined(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.contextmanager
def _sink() -> Iterator[int]:
    """A port on loopback where nobody gets a handshake: the proxy goes on with its client then."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one = listening.accept()[0]
                    threading.Thread(target=_refuse, args=(one,), name="kimi-sink", daemon=True).start()

        threading.Thread(target=serve, name="kimi-sink", daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


def _refuse(connection: socket.socket) -> None:
    connection.settimeout(_LIMIT_S)
    with connection, contextlib.suppress(OSError):
        connection.recv(65536)
        connection.sendall(_HANDSHAKE_FAILURE)
        while connection.recv(65536):
            pass


FAMILIES = (
    Family("Node", "Gemini, Qwen, Continue, Kimi Code, pi; Bun too", "node", ("NODE_EXTRA_CA_CERTS",), _node),
    Family(
        "Python httpx", "OpenAI, Anthropic, llm, Aider, Kimi CLI", None, ("SSL_CERT_FILE",), _here(_httpx)
    ),
    Family("Python requests", "older SDKs", None, ("REQUESTS_CA_BUNDLE",), _here(_requests)),
    Family("AWS", "boto3, aws", "aws", ("AWS_CA_BUNDLE",), _here(_botocore)),
    Family("OpenSSL", "Codex, Go programs, Ruby", "openssl", ("SSL_CERT_FILE",), _openssl),
    Family("curl", "scripts", "curl", ("SSL_CERT_FILE", "CURL_CA_BUNDLE"), _curl),
)
