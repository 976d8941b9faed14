"""The script of a proxy that lives for one command: `mitmdump -s kimi_mitm/launch/guest.py`.

It ends with the process that started it, however that ends: standard input is a pipe which nobody
writes to, and its end is the end. That works alike on all systems.
"""

import asyncio
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mitmproxy import ctx
from mitmproxy.addonmanager import Loader

from kimi_mitm.addon import KimiMitm

UPSTREAM_AUTH = "KIMI_UPSTREAM_AUTH"


class Tether:
    """Ends the proxy with its starter, and takes from it what a command line would show to everybody."""

    name = "kimi_tether"

    def load(self, loader: Loader) -> None:
        credentials = os.environ.pop(UPSTREAM_AUTH, "")
        if credentials:
            ctx.options.update(upstream_auth=credentials)

    def running(self) -> None:
        work = (asyncio.get_running_loop(),)
        threading.Thread(target=self._wait, args=work, name="kimi-tether", daemon=True).start()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        loop.call_soon_threadsafe(ctx.master.shutdown)


addons = [KimiMitm(), Tether()]
