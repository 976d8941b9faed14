"""Our own unexpected errors in one line: what and where, never with content."""

from __future__ import annotations

import os


def place_of(error: BaseException) -> str:
    """`TypeError in draft.py:12`: the exception's type and the innermost line of this package."""
    trace, found = error.__traceback__, ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "kimi_mitm" in name:
            found = f" in {os.path.basename(name)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return type(error).__name__ + found
