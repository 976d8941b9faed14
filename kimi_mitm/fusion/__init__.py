"""Readings of one exchange from several sources, tied together and settled into one figure each. Pure."""
