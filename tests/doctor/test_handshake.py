"""Whether a family of clients trusts our CA, found out by its own runtime through a real proxy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kimi_mitm.doctor import handshake
from kimi_mitm.doctor.finding import Finding, State
from kimi_mitm.doctor.handshake import FAMILIES, Family
from kimi_mitm.launch import bundles, variables

if TYPE_CHECKING:
    from rig.proxy import Proxy

type Running = Callable[..., Awaitable[Proxy]]

_TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


@pytest.fixture
def bare() -> dict[str, str]:
    """An environment in which nothing is trusted but what everybody trusts."""
    return {k: v for k, v in os.environ.items() if k not in (*_TRUST, "AWS_CA_BUNDLE")}


@pytest.fixture
def told(
    bare: dict[str, str], confdir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, str]:
    """What `kimi-mitm env` makes of it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return bare | variables.plan("http://127.0.0.1:1", bundles.make(confdir, bare), bare)


async def look(proxy: Proxy, family: Family, environment: Mapping[str, str]) -> Finding:
    found = await asyncio.to_thread(
        lambda: list(handshake.check(("127.0.0.1", proxy.port), environment, [family]))
    )
    if not found:
        pytest.skip(f"no {family.program} here")
    return found[0]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
async def test_a_ca_that_is_not_trusted_is_a_fault_with_its_variable(
    proxy: Running, bare: dict[str, str], family: Family
) -> None:
    found = await look(await proxy(), family, bare)

    assert (found.state, found.subject) == (State.FAULT, f"trust: {family.name}"), found.text
    assert "not trusted" in found.text
    assert family.by[0] in (found.mend or "")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
async def test_what_env_sets_makes_it_trusted(proxy: Running, told: dict[str, str], family: Family) -> None:
    found = await look(await proxy(), family, told)

    assert found.state is State.OK, found.text


async def test_looking_again_and_again_lets_no_host_pass(proxy: Running, bare: dict[str, str]) -> None:
    one = await proxy()
    python = next(f for f in FAMILIES if f.program is None)

    for _ in range(3):
        assert (await look(one, python, bare)).state is State.FAULT

    assert one.addon.gate.passed == set()


async def test_a_proxy_that_is_not_there_leaves_it_unknown(bare: dict[str, str]) -> None:
    python = next(f for f in FAMILIES if f.program is None)

    found = await asyncio.to_thread(lambda: list(handshake.check(("127.0.0.1", 1), bare, [python])))

    assert [f.state for f in found] == [State.UNKNOWN]


def test_a_runtime_that_is_not_installed_is_not_looked_at() -> None:
    absent = Family("none", "nobody", "no-such-program-anywhere", ("X",), lambda place, env: True)

    assert list(handshake.check(("127.0.0.1", 1), {"PATH": ""}, [absent])) == []
