"""What the user set, checked and frozen: one object that recorder and engine share."""

from __future__ import annotations

from pathlib import Path

import msgspec
from platformdirs import user_data_path

POLICIES = ("smart", "always", "resume")
SESSION_BY = ("auto", "provider", "client", "exchange")


def data_folder() -> Path:
    """`kimi-mitm` in the user's data folder, as the operating system names it; not created here."""
    return user_data_path("kimi-mitm", appauthor=False)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One field per option; times in seconds. It crosses the link as JSON, so plain types only."""

    db: str
    control: tuple[str, int] | None = ("127.0.0.1", 8082)
    control_token: str = ""
    control_admin_token: str = ""
    auto_session: bool = True
    auto_session_policy: str = "smart"
    session_timeout: float = 300.0
    session_check_interval: float = 30.0
    session_by: str = "auto"
    archive_on_disconnect: bool = False
    archive_dir: str = ""
    store_content: bool = True
    hosts: tuple[str, ...] = ()
    intercept_all: bool = False
    lean: bool = False
    logs: tuple[str, ...] = ("auto",)
    logs_home: str = ""
    offline: bool = False
    """True when flows are read from a file (`-r` without a server): nothing may be dropped."""
