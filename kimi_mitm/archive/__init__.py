"""Ended sessions as files that people read."""
