"""A mitmproxy script of the tests: every TLS upstream is the one that listens on `KIMI_TEST_UPSTREAM`."""

import os


class Redirect:
    """Leads connections astray; names in SNI and Host stay."""

    name = "redirect"

    def server_connect(self, data: object) -> None:
        server = data.server
        if server.address is not None and server.address[1] == 443:
            server.address = ("127.0.0.1", int(os.environ["KIMI_TEST_UPSTREAM"]))


addons = [Redirect()]
