"""What lives inside mitmproxy's process, beside its flows. Nothing here parses, counts or blocks."""
