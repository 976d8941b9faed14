"""Small disks of their own, for tests that fill one or make it read-only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


class Disk:
    """A file system in memory; needs Linux and root, else the test is skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def at(cls, path: Path, *, megabytes: float) -> Iterator[Disk]:
        """Mounts one for a fixture to yield."""
        if sys.platform != "linux":
            pytest.skip("needs a file system in memory")
        path.mkdir()
        size = f"size={int(megabytes * 1024)}k"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", path], capture_output=True)
        if mounted.returncode:
            pytest.skip("needs the right to mount a file system")
        try:
            yield cls(path)
        finally:
            subprocess.run(["umount", "-l", path], check=True)

    def freeze(self) -> None:
        """Nothing can be written from now on."""
        subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)

    def fill(self) -> Path:
        """Writes until there is no room; gives the file to delete again."""
        ballast = self.path / "ballast"
        with ballast.open("ab", buffering=0) as file:
            for size in (65536, 4096, 512):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue
        return ballast
