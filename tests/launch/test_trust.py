"""What makes a system trust our CA."""

from __future__ import annotations

import pytest

from kimi_mitm.launch.trust import System, steps


def system(platform: str = "linux", *programs: str, root: bool = True, suse: bool = False) -> System:
    return System(platform, root, lambda name: name in programs, lambda name: suse)


DEBIAN = system("linux", "update-ca-certificates")


@pytest.mark.parametrize(
    ("where", "undo", "found"),
    [
        (
            DEBIAN,
            False,
            [
                ["install", "-D", "-m", "644", "/ca.pem", "/usr/local/share/ca-certificates/kimi-mitm.crt"],
                ["update-ca-certificates"],
            ],
        ),
        (
            DEBIAN,
            True,
            [
                ["rm", "-f", "/usr/local/share/ca-certificates/kimi-mitm.crt"],
                ["update-ca-certificates", "--fresh"],
            ],
        ),
        (
            system("linux", "update-ca-certificates", suse=True),
            False,
            [
                ["install", "-D", "-m", "644", "/ca.pem", "/etc/pki/trust/anchors/kimi-mitm.crt"],
                ["update-ca-certificates"],
            ],
        ),
        (system("linux", "trust", root=False), False, [["sudo", "trust", "anchor", "--store", "/ca.pem"]]),
        (system("linux", "trust"), True, [["trust", "anchor", "--remove", "/ca.pem"]]),
        (system("darwin"), False, [["security", "add-trusted-cert", "-r", "trustRoot", "/ca.pem"]]),
        (system("darwin"), True, [["security", "remove-trusted-cert", "/ca.pem"]]),
        (system("win32"), False, [["certutil", "-user", "-addstore", "Root", "/ca.pem"]]),
        (system("win32"), True, [["certutil", "-user", "-delstore", "Root", "mitmproxy"]]),
        (system("linux"), False, None),
    ],
)
def test_each_system_has_its_own_commands(where: System, undo: bool, found: object) -> None:
    assert steps(where, "/ca.pem", undo=undo) == found
