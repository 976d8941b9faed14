"""The variables that point a client at the proxy and make it trust us, beside what the user has set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from kimi_mitm.launch.table import Client, Variable, table

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files of certificates. `ca`: ours alone; `bundle`: the system's roots and ours; `merged`: for each
    variable that the user has set, a file with what theirs holds and our CA."""

    ca: str
    bundle: str
    merged: Mapping[str, str]


def proxy_url(host: str, port: int, user: str | None = None, password: str = "x") -> str:
    """The proxy's address as clients take it; `user` is named by it."""
    shown = f"[{host}]" if ":" in host else host
    if not user:
        return f"http://{shown}:{port}"
    return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{shown}:{port}"


def run_password(run_id: str, client: Client | None) -> str:
    """What a run says of itself in the password's place; see `kimi_mitm.proxy.people`."""
    return f"run-{run_id}.{client.name}" if client and client.silent else f"run-{run_id}"


def plan(
    proxy: str, files: Files, given: Mapping[str, str], *, windows: bool = False, client: Client | None = None
) -> dict[str, str]:
    """The variables to set for a process whose environment is `given`. `client`: only what it needs.

    `windows`: names of variables don't tell cases apart, so that twins are left out.
    """
    known = {name.upper(): value for name, value in given.items()} if windows else given
    found: dict[str, str] = {}
    for variable in table().variables_of(client):
        if variable.only_if_set and not known.get(variable.name):
            continue
        if variable.name == "HTTP_PROXY" and _others_http_proxy(known):
            continue
        found[variable.name] = _value(variable, proxy, files, known)
        if variable.twin and not windows:
            found[variable.twin] = found[variable.name]
    return found


def merged_variables(given: Mapping[str, str]) -> dict[str, str]:
    """The certificate variables that the user has set already: name → file."""
    return {
        v.name: given[v.name] for v in table().variables if v.holds in ("ca", "bundle") and given.get(v.name)
    }


def own_proxy(given: Mapping[str, str]) -> str | None:
    """The proxy that the user has set for TLS traffic, None without one."""
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        if given.get(name):
            return given[name]
    return None


def passes_everything(given: Mapping[str, str]) -> bool:
    """Whether the user's `NO_PROXY` names every host."""
    return any("*" in _hosts(given.get(name)) for name in ("NO_PROXY", "no_proxy"))


def same_address(url: str, host: str, port: int) -> bool:
    """Whether a proxy's address, as a user writes it, is this one."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        named, at = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    return at == port and (named == host or (named in LOOPBACK and host in LOOPBACK))


def _value(variable: Variable, proxy: str, files: Files, given: Mapping[str, str]) -> str:
    match variable.holds:
        case "proxy":
            return proxy
        case "no_proxy":
            return _no_proxy(given)
        case "flag":
            return variable.value
        case "ca":
            return files.merged.get(variable.name, files.ca)
        case _:
            return files.merged.get(variable.name, files.bundle)


def _no_proxy(given: Mapping[str, str]) -> str:
    named = [*_hosts(given.get("no_proxy")), *_hosts(given.get("NO_PROXY"))]
    return ",".join(dict.fromkeys(host for host in [*named, *LOOPBACK] if host != "*"))


def _hosts(text: str | None) -> Iterable[str]:
    return [host for host in (text or "").replace(",", " ").split() if host]


def _others_http_proxy(given: Mapping[str, str]) -> bool:
    """Whether the user has a proxy for plain HTTP alone, which ours would not lead on to."""
    own = given.get("http_proxy") or given.get("HTTP_PROXY")
    return bool(own) and own != own_proxy(given)
