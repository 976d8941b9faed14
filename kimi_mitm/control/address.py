"""The address that the control endpoint listens on, taken without loading what answers there."""

from __future__ import annotations

import socket
import sys
from typing import Final

BACKLOG: Final = 512
"""Connections that may wait to be accepted."""


def take(host: str, port: int) -> socket.socket:
    """A listening socket there; port 0 takes a free one. Raises OSError when it can't be had."""
    family, kind, proto, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, proto)
    try:
        if sys.platform != "win32":
            # On Windows this would let two processes share the port.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening
