"""Whether a proxy runs, whether its ports are its own, and whether this shell leads to it.  [I/O]"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kimi_mitm.doctor.finding import Finding, fault, ok, unknown, warning
from kimi_mitm.launch import proxies, variables
from kimi_mitm.running_file import RunningProxy

_ANSWER_S = 3.0
_WATCHED = ("api.anthropic.com", "api.openai.com", "generativelanguage.googleapis.com")


@dataclass(frozen=True, slots=True)
class Found:
    """The proxy that is there, None when there is none, and what its `/health` says."""

    proxy: RunningProxy | None = None
    health: Mapping[str, Any] | None = None


def find(port: int, environment: Mapping[str, str]) -> Found:
    """The running proxy: by its file, else whoever answers for `kimi.mitm` on the port."""
    running = proxies.find(environment)
    if running is not None:
        health = proxies.health(running.control) if running.control else None
        return Found(running, health or _through(running))
    guess = RunningProxy(process="", proxy=("127.0.0.1", port), confdir="~/.mitmproxy")
    found = _through(guess)
    return Found(guess, found) if found is not None else Found()


def check(found: Found, port: int, control: tuple[str, int] | None) -> Iterator[Finding]:
    """The proxy and its two ports. `port` and `control`: where they are looked for when no proxy runs."""
    proxy = found.proxy
    if proxy is None:
        yield from _absent(port, control)
        return
    at = "{}:{}".format(*proxy.proxy) if proxy.proxy else "no address that clients are pointed at"
    pid = f" (process {proxy.process.partition('@')[0]})" if proxy.process else ""
    yield ok("proxy", f"runs on {at}{pid}")
    if proxy.control is not None:
        yield ok("control endpoint", "answers on {}:{}".format(*proxy.control))
    elif control is not None and proxies.listening(*control) and proxies.health(control) is None:
        yield fault(
            "control endpoint",
            "is off: {}:{} is taken by another program".format(*control),
            f"./scripts/proxy --set kimi_control={control[0]}:{control[1] + 1}",
        )
    elif found.health is None:
        yield warning("control endpoint", "is off, or not up yet: `top` and the page have nothing to show")
    if found.health is not None:
        yield from _of_health(found.health)


def check_shell(found: Found, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether what is started in this shell goes through the proxy."""
    own = variables.own_proxy(environment)
    if found.proxy is None or found.proxy.proxy is None:
        if own and _nobody_at(own):
            yield fault(
                "this shell",
                f"HTTPS_PROXY names {_shown(own)}, where nobody listens",
                "unset HTTPS_PROXY https_proxy",
            )
        return
    if own is None:
        yield unknown(
            "this shell", 'is not pointed at the proxy: use `kimi-mitm run`, or eval "$(kimi-mitm env)"'
        )
    elif not variables.same_address(own, *found.proxy.proxy):
        yield fault(
            "this shell", f"HTTPS_PROXY names {_shown(own)}, not the proxy", 'eval "$(kimi-mitm env)"'
        )
    else:
        passed = [host for host in _WATCHED if _goes_by(host, environment)]
        if passed:
            yield fault("this shell", f"NO_PROXY lets {', '.join(passed)} go by", "unset NO_PROXY no_proxy")
        else:
            yield ok("this shell", "is pointed at the proxy")


def points_here(found: Found, environment: Mapping[str, str]) -> bool:
    """Whether this shell's clients go to the proxy."""
    own = variables.own_proxy(environment)
    return bool(own and found.proxy and found.proxy.proxy and variables.same_address(own, *found.proxy.proxy))


def _absent(port: int, control: tuple[str, int] | None) -> Iterator[Finding]:
    start = "./scripts/proxy, or kimi-mitm run -- YOUR COMMAND"
    if proxies.listening("127.0.0.1", port):
        other = f"./scripts/proxy --listen-port {port + 1}"
        yield fault("proxy", f"port {port} is taken by another program, no proxy of ours runs", other)
    else:
        yield fault("proxy", "is down: none runs here", start)
    if control is not None and proxies.listening(*control) and proxies.health(control) is None:
        yield fault(
            "control endpoint",
            "port {1} of {0} is taken by another program".format(*control),
            f"./scripts/proxy --set kimi_control={control[0]}:{control[1] + 1}",
        )


def _of_health(health: Mapping[str, Any]) -> Iterator[Finding]:
    """What the proxy itself complains of; the store and the logs are looked at elsewhere."""
    for text in health.get("warnings") or ():
        if not isinstance(text, str) or text.startswith(("The store", "The log ")):
            continue
        if "refuse our certificate" in text:
            mend = 'kimi-mitm run -- YOUR COMMAND (or eval "$(kimi-mitm env)"), then restart the proxy'
            yield fault("passed through", text.rstrip("."), mend)
        else:
            yield warning("proxy", text.rstrip("."))


def _through(proxy: RunningProxy) -> dict[str, Any] | None:
    """`/health` by way of the proxy itself, at its own name."""
    if proxy.proxy is None:
        return None
    connection = http.client.HTTPConnection(*proxy.proxy, timeout=_ANSWER_S)
    try:
        connection.request("GET", "http://kimi.mitm/health")
        found = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException, RecursionError):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) and "uptime_s" in found else None


def _nobody_at(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return True
    return host in variables.LOOPBACK and port is not None and not proxies.listening(host, port)


def _shown(url: str) -> str:
    """A proxy's address without its credentials."""
    return url.rpartition("@")[2].removeprefix("http://")


def _goes_by(host: str, environment: Mapping[str, str]) -> bool:
    named = f"{environment.get('NO_PROXY', '')},{environment.get('no_proxy', '')}".replace(" ", ",").split(
        ","
    )
    suffixes = (entry.lstrip("*").lstrip(".").lower() for entry in named if entry and entry != "*")
    return "*" in named or any(host == s or host.endswith(f".{s}") for s in suffixes if s)
