"""Gives memory back that only loading needed: glibc keeps what is freed in pieces until it is told."""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress


def tidy() -> None:
    """Collects garbage and trims: after much was loaded."""
    gc.collect()
    trim()


def trim() -> None:
    """Returns free pages to the system where that can be asked for (malloc_trim(3)); a few milliseconds."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
