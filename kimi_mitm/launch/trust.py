"""What to run so that a whole system trusts our CA, and to undo it: told first, run by whoever agrees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

_DEBIAN = "/usr/local/share/ca-certificates"
_SUSE = "/etc/pki/trust/anchors"
_NAME = "kimi-mitm.crt"


@dataclass(frozen=True, slots=True)
class System:
    """What there is to work with: the platform as `sys.platform`, whether we are root, which programs and
    folders are there."""

    platform: str
    root: bool
    has: Callable[[str], bool]
    folder: Callable[[str], bool]


def steps(system: System, certificate: str, *, undo: bool = False) -> Sequence[Sequence[str]] | None:
    """The commands, in order; None where we know none."""
    match system.platform:
        case "darwin":
            if undo:
                return [["security", "remove-trusted-cert", certificate]]
            return [["security", "add-trusted-cert", "-r", "trustRoot", certificate]]
        case "win32":
            if undo:
                return [["certutil", "-user", "-delstore", "Root", "mitmproxy"]]
            return [["certutil", "-user", "-addstore", "Root", certificate]]
        case _:
            found = _unix(system, certificate, undo)
            if found is None or system.root:
                return found
            return [["sudo", *step] for step in found]


def _unix(system: System, certificate: str, undo: bool) -> Sequence[Sequence[str]] | None:
    if system.has("update-ca-certificates"):
        if system.folder(_SUSE):
            kept, refresh = f"{_SUSE}/{_NAME}", ["update-ca-certificates"]
        else:
            kept = f"{_DEBIAN}/{_NAME}"
            refresh = ["update-ca-certificates", *(["--fresh"] if undo else [])]
        first = ["rm", "-f", kept] if undo else ["install", "-D", "-m", "644", certificate, kept]
        return [first, refresh]
    if system.has("trust"):
        return [["trust", "anchor", "--remove" if undo else "--store", certificate]]
    return None
