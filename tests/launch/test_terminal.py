"""A client run in our place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kimi_mitm.launch import terminal
from kimi_mitm.launch.one_shot import Watcher
from kimi_mitm.launch.table import table
from kimi_mitm.launch.terminal import Client, NoCommand

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")
DEADLINE_S = 60.0
ROOT = str(Path(__file__).resolve().parents[2])
START = "import os, sys; from kimi_mitm.launch import terminal;"
RUN = START + "sys.exit(terminal.end_like(terminal.Client([sys.executable, '-c', {!r}], os.environ).run()))"


def started(script: str, hangup: str = "SIG_DFL") -> subprocess.Popen[str]:
    """A process that runs a Python client in its place. `hangup`: what it inherits for SIGHUP, whatever
    these tests themselves were started with."""
    environment = {**os.environ, "PYTHONPATH": ROOT}
    words = [sys.executable, "-c", RUN.format(script)]
    if sys.platform != "win32":
        inherit = "import os, signal, sys; signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]));"
        words = [sys.executable, "-c", inherit + "os.execv(sys.argv[2], sys.argv[2:])", hangup, *words]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("code", [0, 3, 255])
def test_an_exit_code_is_given(code: int) -> None:
    words = [sys.executable, "-c", f"raise SystemExit({code})"]

    assert Client(words, os.environ).run() == code


def test_a_command_that_is_not_there_and_one_that_cannot_run(tmp_path: Path) -> None:
    with pytest.raises(NoCommand, match="command not found") as absent:
        Client(["no-such-command"], {"PATH": str(tmp_path)}).run()
    assert absent.value.code == 127

    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    with pytest.raises(NoCommand) as refused:
        Client([str(broken)], {"PATH": str(tmp_path)}).run()
    assert refused.value.code == 126


def test_standard_error_passes_while_it_is_watched(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    claude = table().client("claude")
    assert claude is not None
    refusal = claude.refusal("0-1")
    assert refusal is not None
    watcher = Watcher(refusal)
    said = "sys.stderr.write('Error: Session ID 0-1 is already in use.')"

    Client([sys.executable, "-c", f"import sys; {said}; sys.exit(1)"], os.environ, watcher).run()

    assert watcher.refused
    assert capfdbinary.readouterr().err == b"Error: Session ID 0-1 is already in use."


@posix
def test_what_it_leaves_running_does_not_hold_us_up() -> None:
    claude = table().client("claude")
    assert claude is not None
    refusal = claude.refusal("0-1")
    assert refusal is not None
    script = "import subprocess, sys; subprocess.Popen(['sleep', '30'], stdin=subprocess.DEVNULL)"

    assert Client([sys.executable, "-c", script], os.environ, Watcher(refusal)).run() == 0


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGSEGV])
def test_a_signal_that_ends_it_ends_us(number: int) -> None:
    process = started(f"import os; os.kill(os.getpid(), {int(number)})")

    process.communicate(timeout=DEADLINE_S)

    assert process.returncode == -number


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_us_is_passed_on(number: int) -> None:
    script = (
        f"import signal, sys; signal.signal({int(number)}, lambda n, f: sys.exit(9))\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()"
    )
    process = started(script)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"

    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 9


@posix
def test_a_hangup_that_was_ignored_before_us_ends_neither() -> None:
    """As under `nohup`: it stays ignored, here and in the client, and nothing is passed on."""
    script = (
        "import signal, sys\n"
        "print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, flush=True)\n"
        "signal.signal(signal.SIGTERM, lambda n, f: sys.exit(9))\n"
        "print('up', flush=True)\n"
        "while True: signal.pause()"
    )
    process = started(script, hangup="SIG_IGN")
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["True\n", "up\n"]

    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 9


@posix
def test_a_signal_before_it_is_up_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def late(*words: object, **more: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*words, **more)

    monkeypatch.setattr(terminal.subprocess, "Popen", late)

    assert Client([sys.executable, "-c", "import time; time.sleep(60)"], os.environ).run() == -signal.SIGTERM


@posix
def test_a_client_that_stops_itself_stops_us_and_goes_on_with_us() -> None:
    process = started("import os, signal; os.kill(os.getpid(), signal.SIGSTOP); raise SystemExit(9)")
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)

    process.send_signal(signal.SIGCONT)
    process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 9


@posix
def test_our_own_signals_are_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)

    Client([sys.executable, "-c", ""], os.environ).run()

    assert signal.getsignal(signal.SIGINT) is before


@posix
def test_what_we_ignore_it_ignores() -> None:
    """As under `nohup`: nobody gets back a signal that was taken from them."""
    script = "import signal, sys; sys.exit(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert Client([sys.executable, "-c", script], os.environ).run() == 1
    finally:
        signal.signal(signal.SIGHUP, before)
