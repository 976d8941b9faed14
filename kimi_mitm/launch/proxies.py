"""The proxy that a client is pointed at: one that runs already, or one of the command's own.  [I/O]"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kimi_mitm import running_file
from kimi_mitm.launch import bundles
from kimi_mitm.running_file import RunningProxy

START_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0
"""The recorder itself takes at most ten for its end."""
_ANSWER_S = 2.0
_LOOK_S = 0.05
_NO_REASON = "Error logged during startup"
_MITMDUMP = "import sys; from mitmproxy.tools.main import mitmdump as run; sys.argv[0] = 'mitmdump'; run()"


class ProxyError(Exception):
    """The proxy can't be started; the message says why in one line."""


def find(environment: Mapping[str, str] | None = None) -> RunningProxy | None:
    """The running proxy, None when there is none that answers."""
    found = running_file.read(running_file.place(environment))
    return found if found is not None and answers(found) else None


def control_of(proxy: RunningProxy, environment: Mapping[str, str], limit_s: float) -> tuple[str, int] | None:
    """The control endpoint of a running proxy, which comes up somewhat after the proxy itself; None when
    it is off."""
    end = time.monotonic() + limit_s
    while True:
        found = running_file.read(running_file.place(environment))
        if found is None or found.process != proxy.process:
            found = proxy
        if found.control is not None and listening(*found.control):
            return found.control
        if found.settled or time.monotonic() > end:
            return None
        time.sleep(_LOOK_S)


def answers(proxy: RunningProxy) -> bool:
    """Whether a proxy is there: by its control endpoint where it has one, and by its port."""
    if proxy.control is not None and health(proxy.control) is None:
        return False
    return proxy.proxy is None or listening(*proxy.proxy)


def health(control: tuple[str, int], limit_s: float = _ANSWER_S) -> dict[str, Any] | None:
    """What `/health` says, whatever its status; None when nobody of ours answers there."""
    found = get(control, "/health", limit_s=limit_s)
    return found if isinstance(found, dict) and "uptime_s" in found else None


def get(control: tuple[str, int], path: str, *, token: str = "", limit_s: float = _ANSWER_S) -> Any:
    """A route's JSON; None when it can't be had."""
    connection = http.client.HTTPConnection(*control, timeout=limit_s)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        return json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException, RecursionError):
        return None
    finally:
        connection.close()


def listening(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=_ANSWER_S):
        return True
    return False


class OwnProxy:
    """A proxy for as long as one command runs, on a free port of loopback, known to nobody else.

    `arguments` go to mitmdump; `upstream` is the proxy that the user's own settings name.
    """

    def __init__(
        self, given: Mapping[str, str], arguments: Sequence[str] = (), upstream: str | None = None
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kimi-mitm-run-"))
        self._place = self._folder / "running.json"
        self._log = self._folder / "proxy.log"
        self._given = given
        self._arguments = tuple(arguments)
        self._upstream = upstream
        self._process: subprocess.Popen[bytes] | None = None
        self._said: list[str] = []

    @property
    def variables(self) -> dict[str, str]:
        """What lets commands below this one find the proxy."""
        return {running_file.VARIABLE: str(self._place)}

    def start(self, limit_s: float = START_LIMIT_S) -> RunningProxy:
        """Starts it and waits until it listens. Raises `ProxyError`."""
        mode, credentials = upstream_mode(self._upstream)
        command = [sys.executable, "-P", "-c", _MITMDUMP, "-s", str(Path(__file__).with_name("guest.py"))]
        command += ["--listen-host", "127.0.0.1", "--listen-port", "0", "--mode", mode]
        environment = {"KIMI_LEAN": "true", **self._given, **self.variables, "PYTHONSAFEPATH": "1"}
        if credentials:
            environment["KIMI_UPSTREAM_AUTH"] = credentials
        try:
            command += [*self._defaults(), *self._arguments]
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, **_apart()
                )
        except OSError as e:
            raise ProxyError(str(e)) from e
        try:
            return self._wait(self._process, limit_s)
        except ProxyError:
            self._process.kill()
            raise

    def _defaults(self) -> list[str]:
        """Options, as far as the arguments don't set them: mitmproxy takes each once."""
        values = {
            "tcp_timeout": "3600",
            "termlog_verbosity": "warn",
            "flow_detail": "0",
            "ssl_verify_upstream_trusted_ca": bundles.upstream_roots(self._given),
        }
        asked = " ".join(self._arguments)
        return [word for k, v in values.items() if f"{k}=" not in asked for word in ("--set", f"{k}={v}")]

    def stop(self) -> None:
        """Ends it, and waits until what it saw is stored."""
        process = self._process
        if process is not None:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
            for end in (process.terminate, process.kill):
                try:
                    process.wait(STOP_LIMIT_S)
                    break
                except subprocess.TimeoutExpired:
                    end()
            process.wait()
        self._said = self.complaints()
        shutil.rmtree(self._folder, ignore_errors=True)

    def complaints(self) -> list[str]:
        """Lines of its log, without their times; each once. Those of its end are there after `stop`."""
        if not self._folder.exists():
            return self._said
        with contextlib.suppress(OSError):
            text = self._log.read_text(encoding="utf-8", errors="replace")
            lines = (re.sub(r"^\[[\d:.]+\]\s*", "", line).strip() for line in text.splitlines())
            return list(dict.fromkeys(line for line in lines if line))
        return []

    def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> RunningProxy:
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            found = running_file.read(self._place)
            # mitmproxy makes its CA at the first start of all, when it listens already
            if found is not None and found.proxy is not None and bundles.has_ca(found.confdir):
                return found
            if process.poll() is not None:
                raise ProxyError(self._why(f"it ended with {process.returncode}"))
            time.sleep(_LOOK_S)
        raise ProxyError(self._why(f"it was not there after {limit_s:g} s"))

    def _why(self, what: str) -> str:
        lines = [line for line in self.complaints() if not line.startswith(("File ", "Traceback", "^"))]
        telling = [line for line in lines if re.search(r"error|kimi|can't|cannot|must", line, re.IGNORECASE)]
        said = next(
            (line for line in telling if not line.startswith(_NO_REASON)), (telling or lines or [""])[0]
        )
        return f"{what} ({said[:300]})" if said else what


def upstream_mode(url: str | None) -> tuple[str, str]:
    """mitmproxy's mode for a user's own proxy, and the credentials for that. Raises `ProxyError`."""
    if not url:
        return "regular", ""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        raise ProxyError("your own proxy setting is no HTTP proxy, and only those can be gone on to")
    shown = f"[{host}]" if ":" in host else host
    known = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else ""
    return f"upstream:{parts.scheme}://{shown}:{port or (443 if parts.scheme == 'https' else 80)}", known


def _apart() -> dict[str, Any]:
    """Away from the terminal's Ctrl+C, which is the client's."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
