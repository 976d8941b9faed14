"""kimi-mitm: what IDEs and coding agents send to LLM providers, seen from mitmproxy."""

__version__ = "0.1.0"
