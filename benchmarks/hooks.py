"""What the recorder's hooks cost on mitmproxy's loop, for one small exchange with usual headers.

    python benchmarks/hooks.py [--exchanges 3000]

Medians, in microseconds. The frames go through the real queue and its thread to a process that only
reads them, so that what waking the thread costs is counted.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mitmproxy import http
from mitmproxy.test import taddons, tflow

from kimi_mitm.addon import KimiMitm
from kimi_mitm.proxy import child
from kimi_mitm.proxy.child import Child
from kimi_mitm.proxy.recorder import Recorder
from kimi_mitm.settings import Settings

SINK = "import os\nwhile os.read(0, 1 << 20): pass"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + b"a question " * 70 + b'"}]}'
ANSWER = b'{"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":5}}' * 4
ASKING = [
    ("Host", "api.openai.com"),
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 2.20.0"),
    *((f"x-stainless-{name}", "x") for name in ("lang", "os", "arch", "runtime", "async", "retry-count")),
    ("authorization", "Bearer sk-0123456789abcdef0123456789abcdef"),
    ("accept-encoding", "gzip, deflate"),
    ("content-length", str(len(BODY))),
]
ANSWERING = [
    ("Date", "Fri, 20 Nov 2026 10:00:00 GMT"),
    ("content-type", "application/json"),
    ("openai-processing-ms", "512"),
    ("x-ratelimit-remaining-tokens", "1999990"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("strict-transport-security", "max-age=31536000"),
    ("set-cookie", "__cf_bm=abcdef; path=/; HttpOnly"),
    ("server", "cloudflare"),
]


def headers(pairs: list[tuple[str, str]], number: int) -> http.Headers:
    """Headers as bytes; one value differs from exchange to exchange."""
    own = ("x-request-id", f"req_{number:032x}")
    return http.Headers([(name.encode(), value.encode()) for name, value in (*pairs, own)])


def flow(number: int) -> http.HTTPFlow:
    """A flow as it is when its request has come in; the answer is there for the later hooks."""
    now = time.time()
    target = ("api.openai.com", 443, b"POST", b"https", b"", b"/v1/chat/completions", b"HTTP/1.1")
    asked = http.Request(*target, headers(ASKING, number), BODY, None, now, now)
    answer = http.Response(b"HTTP/1.1", 200, b"OK", headers(ANSWERING, number), None, None, now, now)
    made = tflow.tflow(req=asked, resp=answer)
    made.live = True
    return made


def timed(function: Callable[..., object], *args: object) -> float:
    began = time.perf_counter()
    function(*args)
    return (time.perf_counter() - began) * 1e6


async def measure(count: int) -> dict[str, list[float]]:
    """The times of each hook, in µs."""
    addon = KimiMitm()
    found: dict[str, list[float]] = {}
    with taddons.context(addon, loadcore=False):
        addon.child = Child(Settings(db=os.devnull), lambda message: None, lambda frames: None)
        addon.recorder = Recorder(addon.child, addon.gate, addon.voice)
        addon.child.start()
        flows = [flow(number) for number in range(count)]
        gc.collect()
        gc.freeze()
        for one in flows:
            assert one.response is not None
            for name in ("requestheaders", "request", "responseheaders"):
                found.setdefault(name, []).append(timed(getattr(addon, name), one))
            tap = one.response.stream
            assert callable(tap)
            found.setdefault("tap", []).append(timed(tap, ANSWER))
            found.setdefault("response", []).append(timed(addon.response, one))
            await asyncio.sleep(0)
        await addon.child.close(10)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--exchanges", type=int, default=3000)
    child.COMMAND = (sys.executable, "-c", SINK)
    found = asyncio.run(measure(parser.parse_args().exchanges))
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, median in medians.items():
        print(f"{name:15} {median:6.1f} µs")
    print(f"{'together':15} {sum(medians.values()):6.1f} µs")


if __name__ == "__main__":
    main()
