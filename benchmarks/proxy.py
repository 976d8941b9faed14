"""What the addon costs, beside the least that is usable (`stream`): ratios measured in one run.

    python benchmarks/proxy.py [--rounds 3] [--scenario small,streams,agent,download,memory] [--json FILE]
    python benchmarks/proxy.py --config kimi,busy --scenario streams,agent
    python benchmarks/proxy.py --config kimi,logs --scenario agent

Every sample is a fresh proxy; configurations alternate; figures are medians over the rounds, ratios
medians of each round's ratio. CPU is the whole process tree's, read once it is idle again. Upstream and
client run beside it. `busy` is `kimi` with 1,000 live sessions and 100 readers of live events; `logs` is
`kimi` that follows a client's log, which grows by 5 MB a second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import psutil
import trustme

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

from rig.client import Answer, Connection
from rig.growing_log import grow

LLM, OTHER = "api.openai.com", "downloads.example.org"
PATH = "/v1/chat/completions"
ADDON = ["-s", str(ROOT / "addons" / "kimi.py"), "--set"]
CONFIGS: dict[str, list[str]] = {
    "stream": ["-s", str(HERE / "rig" / "stream_addon.py")],
    "kimi": [*ADDON, "kimi_lean=true", "--set", "kimi_logs=off"],
    "busy": [*ADDON, "kimi_lean=true", "--set", "kimi_logs=off"],
    "logs": [*ADDON, "kimi_lean=true", "--set", "kimi_logs=claude-code"],
    "plain": [*ADDON, "kimi_lean=false", "--set", "kimi_logs=off"],
}
SESSIONS, READERS = 1000, 100
LOG_BYTES_PER_S, LOG_S = 5_000_000, 30


async def _crowd(control: int) -> list[asyncio.StreamWriter]:
    """Makes the live sessions and connects the readers of `busy`, who read all that they are sent."""
    url = f"http://127.0.0.1:{control}"
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for n in range(SESSIONS):
            answer = await client.post("/api/sessions", json={"config_id": f"bench-{n}", "user_id": "bench"})
            answer.raise_for_status()
    writers = []
    for _ in range(READERS):
        reader, writer = await asyncio.open_connection("127.0.0.1", control)
        writer.write(f"GET /events HTTP/1.1\r\nhost: 127.0.0.1:{control}\r\n\r\n".encode())
        task = asyncio.create_task(_drain(reader))
        _DRAINS.add(task)
        task.add_done_callback(_DRAINS.discard)
        writers.append(writer)
    return writers


async def _drain(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 16):
            pass


_DRAINS: set[asyncio.Task[None]] = set()


class Proxy:
    """A running mitmdump and its process tree."""

    def __init__(self, process: psutil.Popen, port: int, context: ssl.SSLContext) -> None:
        self.process, self.port, self.context = process, port, context
        self.restless = False

    def tree(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def cpu(self) -> float:
        total = 0.0
        for p in self.tree():
            with contextlib.suppress(psutil.Error):
                t = p.cpu_times()
                total += t.user + t.system
        return total

    def rss_mb(self) -> float:
        total = 0
        for p in self.tree():
            with contextlib.suppress(psutil.Error):
                total += p.memory_info().rss
        return total / 1e6

    async def idle_cpu(self) -> float:
        """CPU seconds once the tree has stood still for half a second; at once where it never does."""
        before = self.cpu()
        if self.restless:
            return before
        for _ in range(240):
            await asyncio.sleep(0.5)
            now = self.cpu()
            if now - before < 0.02:
                return now
            before = now
        return before

    async def connect(self, host: str = LLM) -> Connection:
        return await Connection.open(self.port, host, self.context)


def body(size: int = 0, pieces: int = 0, every_ms: int = 0, seed: int = 0) -> bytes:
    """A chat request: `size` bytes of conversation in messages of 2 KB, each the same on every turn."""
    head: dict[str, object] = {"pieces": pieces, "every_ms": every_ms} if pieces else {}
    messages = []
    for i in range(max(1, size // 2048)):
        words = " ".join(f"item{(seed * 7919 + i * 131 + k) % 9973} = call(value, {k});" for k in range(70))
        messages.append({"role": "assistant" if i % 2 else "user", "content": words[:2000]})
    extra = {"stream": True, "stream_options": {"include_usage": True}} if pieces else {}
    return json.dumps({**head, "model": "gpt-4o", **extra, "messages": messages}).encode()


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def small(proxy: Proxy) -> dict[str, float]:
    requests, at_once, request = 1000, 16, body()
    connections = await asyncio.gather(*(proxy.connect() for _ in range(at_once)))
    for c in connections:
        await c.ask("POST", PATH, request)
    cpu, start, latencies = await proxy.idle_cpu(), time.monotonic(), list[float]()

    async def work(c: Connection) -> None:
        for _ in range(requests // at_once):
            latencies.append((await c.ask("POST", PATH, request)).total_s)

    await asyncio.gather(*map(work, connections))
    elapsed = time.monotonic() - start
    return {
        "rps": len(latencies) / elapsed,
        "latency_p50": quantile(latencies, 0.5) * 1000,
        "latency_p99": quantile(latencies, 0.99) * 1000,
        "cpu_ms_per_request": (await proxy.idle_cpu() - cpu) * 1000 / len(latencies),
    }


async def _streams(proxy: Proxy, count: int, pieces: int) -> list[Answer]:
    async def one(i: int) -> Answer:
        connection = await proxy.connect()
        await asyncio.sleep(i * 0.02 / count)
        return await connection.ask("POST", PATH, body(pieces=pieces, every_ms=20))

    return list(await asyncio.gather(*(one(i) for i in range(count))))


async def streams(proxy: Proxy) -> dict[str, float]:
    await _streams(proxy, 5, 10)
    cpu = await proxy.idle_cpu()
    answers = await _streams(proxy, 50, 200)
    delays = [d for a in answers for d in a.delays]
    return {
        "first_p50": quantile([a.first_s for a in answers], 0.5) * 1000,
        "delay_p50": quantile(delays, 0.5) * 1000,
        "delay_p99": quantile(delays, 0.99) * 1000,
        "delay_max": max(delays) * 1000,
        "cpu_ms_per_chunk": (await proxy.idle_cpu() - cpu) * 1000 / len(delays),
    }


async def agent(proxy: Proxy) -> dict[str, float]:
    await _streams(proxy, 2, 10)
    connection = await proxy.connect()
    await connection.ask("POST", PATH, body(20_000))
    cpu = await proxy.idle_cpu()
    beside = asyncio.create_task(_streams(proxy, 10, 300))
    turns = []
    for turn in range(40):
        turns.append((await connection.ask("POST", PATH, body(20_000 + turn * 50_000))).total_s)
        await asyncio.sleep(0.1)
    delays = [d for a in await beside for d in a.delays]
    return {
        "turn_p50": quantile(turns, 0.5) * 1000,
        "turn_max": max(turns) * 1000,
        "delay_p50": quantile(delays, 0.5) * 1000,
        "delay_p99": quantile(delays, 0.99) * 1000,
        "delays_over_20ms": sum(d > 0.02 for d in delays),
        "cpu_ms_per_request": (await proxy.idle_cpu() - cpu) * 1000 / len(turns),
    }


async def download(proxy: Proxy) -> dict[str, float]:
    size, connection = 100_000_000, await proxy.connect(OTHER)
    await connection.ask("GET", "/bytes/1000000")
    cpu = await proxy.idle_cpu()
    answer = await connection.ask("GET", f"/bytes/{size}")
    return {"mb_per_s": answer.size / 1e6 / answer.total_s, "cpu_s": await proxy.idle_cpu() - cpu}


async def memory(proxy: Proxy) -> dict[str, float]:
    connections = await asyncio.gather(*(proxy.connect() for _ in range(4)))
    await asyncio.gather(*(c.ask("POST", PATH, body(2000)) for c in connections))
    await proxy.idle_cpu()
    before, peak, done = proxy.rss_mb(), proxy.rss_mb(), False

    async def watch() -> None:
        nonlocal peak
        while not done:
            peak = max(peak, proxy.rss_mb())
            await asyncio.sleep(0.05)

    async def work(n: int, c: Connection) -> None:
        for i in range(500):
            await c.ask("POST", PATH, body(200_000, seed=n * 1000 + i))

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(work(n, c) for n, c in enumerate(connections)))
    await proxy.idle_cpu()
    done = True
    await watcher
    return {"rss_mb_before": before, "rss_mb_peak": peak, "rss_mb_grown": peak - before}


SCENARIOS: dict[str, Callable[[Proxy], Awaitable[dict[str, float]]]] = {
    f.__name__: f for f in (small, streams, agent, download, memory)
}


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextlib.asynccontextmanager
async def running(config: str, folder: Path, upstream: int, ca: Path) -> AsyncIterator[Proxy]:
    port, control = _free_port(), _free_port()
    data = Path(tempfile.mkdtemp(dir=folder))
    command = [
        *(str(Path(sys.executable).parent / "mitmdump"), "-q", "--listen-host", "127.0.0.1"),
        *("--listen-port", str(port), "--set", f"confdir={folder / 'conf'}"),
        *("--set", f"ssl_verify_upstream_trusted_ca={ca}", "-s", str(HERE / "rig" / "redirect_addon.py")),
        *CONFIGS[config],
    ]
    env = {
        **os.environ,
        "BENCH_UPSTREAM": str(upstream),
        "KIMI_DB": str(data / "kimi.db"),
        "KIMI_CONTROL": f"127.0.0.1:{control}",
        "KIMI_ARCHIVE_DIR": str(data / "users"),
        "KIMI_LOGS_HOME": str(data / "home"),
    }
    process = psutil.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await _until_listening(port)
        authority = folder / "conf" / "mitmproxy-ca-cert.pem"
        context = ssl.create_default_context(cafile=str(authority))
        context.load_verify_locations(ca)
        proxy = Proxy(process, port, context)
        await proxy.idle_cpu()
        readers = []
        if config == "busy":
            await _until_listening(control)
            readers = await _crowd(control)
            await proxy.idle_cpu()
        growing = None
        if config == "logs":
            proxy.restless = True
            growing = asyncio.create_task(grow(data / "home", LOG_BYTES_PER_S, LOG_S))
            await asyncio.sleep(5)
        yield proxy
        if growing is not None:
            growing.cancel()
        for reader in readers:
            reader.close()
    finally:
        process.terminate()
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(15)
        if process.is_running():
            process.kill()


async def _until_listening(port: int) -> None:
    for _ in range(300):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise SystemExit("the proxy did not come up")


@contextlib.contextmanager
def provider(folder: Path) -> Iterator[int]:
    """A provider of our own, with its certificates in the folder; its port."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    leaf = ca.issue_cert(LLM, OTHER)
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    for i, pem in enumerate(leaf.cert_chain_pems):
        pem.write_to_path(folder / "cert.pem", append=i > 0)
    port = _free_port()
    command = [sys.executable, str(HERE / "rig" / "upstream.py"), str(port)]
    upstream = subprocess.Popen(
        [*command, str(folder / "cert.pem"), str(folder / "key.pem")], stdout=subprocess.PIPE
    )
    try:
        assert upstream.stdout
        upstream.stdout.readline()
        yield port
    finally:
        upstream.terminate()
        upstream.wait(5)


async def measure(scenarios: list[str], configs: list[str], rounds: int) -> dict[str, dict[str, list]]:
    found: dict[str, dict[str, list]] = {s: {c: [] for c in configs} for s in scenarios}
    with tempfile.TemporaryDirectory() as name, provider(Path(name)) as port:
        folder = Path(name)
        for r in range(rounds):
            for scenario in scenarios:
                for config in configs if r % 2 == 0 else configs[::-1]:
                    async with running(config, folder, port, folder / "ca.pem") as proxy:
                        figures = await SCENARIOS[scenario](proxy)
                    found[scenario][config].append(figures)
                    print(f"  {scenario} {config}: {_row(figures)}", file=sys.stderr, flush=True)
    return found


def _row(figures: dict[str, float]) -> str:
    return " ".join(f"{k}={v:.3g}" for k, v in figures.items())


def report(found: dict[str, dict[str, list]], configs: list[str]) -> None:
    base = configs[0]
    print(f"| figure | {' | '.join(configs)} | {' | '.join(f'{c} / {base}' for c in configs[1:])} |")
    print("|" + "---|" * (2 * len(configs)))
    for scenario, by_config in found.items():
        for name in by_config[base][0]:
            medians = [statistics.median(f[name] for f in by_config[c]) for c in configs]
            ratios = []
            for c in configs[1:]:
                pairs = zip(by_config[c], by_config[base], strict=True)
                each = [f[name] / b[name] for f, b in pairs if b[name]]
                ratios.append(f"{statistics.median(each):.2f}×" if each else "–")
            cells = [f"{m:.3g}" for m in medians] + ratios
            print(f"| {scenario}.{name} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenario", default=",".join(SCENARIOS))
    parser.add_argument("--config", default="stream,kimi")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    scenarios, configs = args.scenario.split(","), args.config.split(",")
    found = asyncio.run(measure(scenarios, configs, args.rounds))
    report(found, configs)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
