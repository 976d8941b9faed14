"""`kimi-mitm ca`: the certificate that clients must trust: shown, copied, and trusted with consent."""

from __future__ import annotations

import os
import shlex
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from kimi_mitm.cli.common import fail, say
from kimi_mitm.launch import bundles, proxies, trust
from kimi_mitm.launch.trust import System

app = typer.Typer(help="The CA that clients must trust.", no_args_is_help=True, rich_markup_mode=None)

Confdir = Annotated[
    Path | None,
    typer.Option(
        "--confdir", help="mitmproxy's folder.", show_default="the running proxy's, else ~/.mitmproxy"
    ),
]
_DER = (".der", ".cer")


@app.command("path")
def path_(confdir: Confdir = None) -> None:
    """Print where the CA certificate is."""
    typer.echo(_certificate(confdir))


@app.command("print")
def print_(confdir: Confdir = None) -> None:
    """Print the CA certificate as PEM text."""
    typer.echo(_certificate(confdir).read_text(encoding="ascii", errors="replace"), nl=False)


@app.command()
def export(
    to: Annotated[Path, typer.Argument(metavar="PATH", help="A file: .der and .cer are binary, else PEM.")],
    confdir: Confdir = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Copy the CA certificate to a file.

    Never its key.
    """
    [pem, *_] = bundles.certificates(_certificate(confdir).read_bytes())
    content = ssl.PEM_cert_to_DER_cert(pem.decode()) if to.suffix.lower() in _DER else pem + b"\n"
    try:
        with to.open("wb" if force else "xb") as file:
            file.write(content)
    except FileExistsError:
        fail(f"{to} is there already; --force writes over it")
    except OSError as e:
        fail(f"{to} can't be written: {e.strerror or e}")


@app.command("trust")
def trust_(
    yes: Annotated[bool, typer.Option("--yes", help="Run it; otherwise it is only shown.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the trust back.")] = False,
    confdir: Confdir = None,
) -> None:
    """Make this system trust the CA.

    Shows what that takes, and runs it with --yes only.

    `run` and `env` need none of it. Whoever has the CA's key can then read this system's traffic.
    """
    root = sys.platform != "win32" and os.geteuid() == 0
    system = System(sys.platform, root, lambda n: shutil.which(n) is not None, lambda n: Path(n).is_dir())
    steps = trust.steps(system, str(_certificate(confdir)), undo=undo)
    if steps is None:
        fail("this system's way to trust a CA is not known; `kimi-mitm ca export` gives you the certificate")
    for step in steps:
        typer.echo(subprocess.list2cmdline(step) if sys.platform == "win32" else shlex.join(step))
    if not yes:
        say("nothing was run; --yes runs it")
        return
    for step in steps:
        try:
            done = subprocess.run(step, check=False).returncode
        except OSError as e:
            fail(f"{step[0]} can't be run: {e.strerror or e}")
        if done:
            fail(f"{shlex.join(step)} ended with {done}; nothing after it was run")


def _certificate(confdir: Path | None) -> Path:
    running = proxies.find() if confdir is None else None
    found = bundles.ca_file(confdir or (running.confdir if running else "~/.mitmproxy"))
    if not bundles.certificates(bundles.read(found)):
        fail(f"there is no CA certificate at {found}: start the proxy once, it makes one")
    return found
