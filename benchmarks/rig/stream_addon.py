"""The least that is usable: every answer is streamed, nothing is looked at. The base of all ratios."""

from mitmproxy import http


def responseheaders(flow: http.HTTPFlow) -> None:
    assert flow.response is not None
    flow.response.stream = True
