"""Processes by name, so that another one can tell whether they still run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kimi_mitm.owner import is_gone, this_process


def test_this_process_runs() -> None:
    assert is_gone(this_process()) is False
    assert this_process() == this_process()


def test_a_process_that_has_ended_is_gone() -> None:
    script = "from kimi_mitm.owner import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert is_gone(done.stdout.strip()) is True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process started")
def test_a_process_id_that_was_given_again_is_another_process() -> None:
    assert is_gone(f"{os.getpid()}@1") is True


def test_where_nobody_tells_the_start_the_id_decides() -> None:
    assert is_gone(f"{os.getpid()}@") is False


@pytest.mark.parametrize("name", ["", "@", "abc@1", "-1@2", "1.5@3", "²@1", "9" * 40 + "@1"])
def test_an_unreadable_name_is_gone(name: str) -> None:
    assert is_gone(name) is True


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may signal everybody")
def test_somebody_elses_process_runs() -> None:
    assert is_gone("1@") is False
