"""Sends every upstream connection to the benchmark's own provider."""

import os

from mitmproxy.proxy import server_hooks

PORT = int(os.environ["BENCH_UPSTREAM"])


def server_connect(data: server_hooks.ServerConnectionHookData) -> None:
    data.server.address = ("127.0.0.1", PORT)
