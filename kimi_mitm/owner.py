"""Names a process so that another one can tell later whether it still runs.

A process id alone is not enough: it is given again. Where the system tells when a process started
(Linux: `/proc/PID/stat`, field 22, see proc(5)), that is part of the name.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

_LONGEST_PID = 10
"""Digits of a process id on any system (Windows' are of 32 bits)."""


@cache
def this_process() -> str:
    """The name of this process."""
    pid = os.getpid()
    return f"{pid}@{_started(pid)}"


def is_gone(owner: str) -> bool:
    """Whether the process of that name has ended. An unreadable name is gone."""
    pid, _, started = owner.partition("@")
    if not pid.isdecimal() or len(pid) > _LONGEST_PID:
        return True
    if not _exists(int(pid)):
        return True
    now = _started(int(pid))
    return now != started and "" not in (now, started)


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _exists(pid: int) -> bool:
    if sys.platform == "win32":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x1000, False, pid)
        if handle:
            ctypes.windll.kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
