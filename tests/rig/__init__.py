"""A real mitmproxy with the addon in the test's own process, real upstreams, and an engine to look into."""
