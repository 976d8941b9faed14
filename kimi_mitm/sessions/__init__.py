"""Sessions: which one an exchange belongs to, and how they begin, change and end. Pure."""
