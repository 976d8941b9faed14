"""Fixtures of the test kit in `rig`: loaded only by the tests that ask for them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from rig.authority import Authority
    from rig.inline import Inline
    from rig.proxy import Proxy
    from rig.upstream import Call, Upstream

type Running = Callable[..., Awaitable[Proxy]]

# How long an example takes is the machine's affair: timings belong into benchmarks/.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _running_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A test's proxies are not to be found by anybody else, nor is anybody's proxy by a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIMI_RUNNING_FILE", str(tmp_path_factory.mktemp("running") / "running.json"))
        yield


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the upstreams' certificates."""
    from rig.authority import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def confdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mitmproxy's own CA, made once."""
    return tmp_path_factory.mktemp("mitmproxy")


@pytest.fixture
async def upstream(authority: Authority) -> AsyncIterator[Upstream]:
    """An HTTP/1.1 upstream over TLS; a test sets its `handler`."""
    from rig.upstream import Upstream

    async def nothing(call: Call) -> None:
        await call.answer(b"{}")

    one = Upstream(nothing)
    await one.up(authority.serving("http/1.1"))
    yield one
    await one.down()


@pytest.fixture
async def plain(authority: Authority) -> AsyncIterator[Upstream]:
    """The same without TLS."""
    from rig.upstream import Upstream

    async def nothing(call: Call) -> None:
        await call.answer(b"{}")

    one = Upstream(nothing)
    await one.up(None)
    yield one
    await one.down()


@pytest.fixture
async def live(
    authority: Authority,
    confdir: Path,
    upstream: Upstream,
    plain: Upstream,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., contextlib.AbstractAsyncContextManager[Proxy]]:
    """A proxy whose engine is a real process; its database is `kimi.db` in `tmp_path`."""
    from rig.live import Listening
    from rig.proxy import running

    monkeypatch.setattr("kimi_mitm.addon._stopping", None)
    monkeypatch.setattr("kimi_mitm.proxy.child.BACKOFF_S", (0.01,))

    def start(*before: object, **settings: Any) -> contextlib.AbstractAsyncContextManager[Proxy]:
        settings = {
            "ssl_verify_upstream_trusted_ca": str(authority.pem),
            "kimi_db": str(tmp_path / "kimi.db"),
            "kimi_archive_dir": str(tmp_path / "users"),
            **settings,
        }
        ports = {443: upstream.port, 80: plain.port}
        return running(confdir, ports, *before, addon=Listening(), **settings)

    return start


@pytest.fixture
async def proxy(
    authority: Authority, confdir: Path, upstream: Upstream, plain: Upstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    """Starts a proxy whose engine is `Inline` (in this process); ended with the test."""
    from rig.inline import Inline
    from rig.proxy import running

    monkeypatch.setattr("kimi_mitm.addon.Child", Inline)
    monkeypatch.setattr("kimi_mitm.addon._stopping", None)
    async with contextlib.AsyncExitStack() as stack:

        async def start(*before: object, **settings: Any) -> Proxy:
            settings.setdefault("ssl_verify_upstream_trusted_ca", str(authority.pem))
            ports = {443: upstream.port, 80: plain.port, 11434: plain.port}
            ports |= settings.pop("ports", {})
            return await stack.enter_async_context(running(confdir, ports, *before, **settings))

        yield start


@pytest.fixture
def engine() -> Callable[[], Inline]:
    """The inline engine of the proxy that was started last."""
    from rig.inline import Inline

    return lambda: Inline.last
