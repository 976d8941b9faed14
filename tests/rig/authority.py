"""Certificates for upstreams under the real providers' names, and TLS settings for both sides."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

HOSTS = (
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "api2.cursor.sh",
    "llm.example.org",
    "www.example.org",
    "localhost",
    "127.0.0.1",
)


class Authority:
    """One certificate authority for all upstreams of a test session."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.pem = folder / "upstream-ca.pem"
        self._ca.cert_pem.write_to_path(str(self.pem))
        self._leaf = self._ca.issue_cert(*HOSTS)
        self.certificate = folder / "upstream.pem"
        self.key = folder / "upstream.key"
        self._leaf.cert_chain_pems[0].write_to_path(str(self.certificate))
        self._leaf.private_key_pem.write_to_path(str(self.key))

    def serving(self, *protocols: str) -> ssl.SSLContext:
        """For an upstream; `protocols` as ALPN names them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._leaf.configure_cert(context)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    def trusting(self) -> ssl.SSLContext:
        """For a client that reaches an upstream's own certificate."""
        return ssl.create_default_context(cafile=str(self.pem))
