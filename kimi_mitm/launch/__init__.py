"""Starting a client so that its LLM traffic is seen: what it needs, and how it is given that.

`table` and its TOML file hold the facts; `variables`, `shells`, `one_shot`, `summary`, `ide` and
`jsonc` are pure; `bundles`, `proxies` and `terminal` do the I/O. `guest` is loaded by mitmproxy.
"""
