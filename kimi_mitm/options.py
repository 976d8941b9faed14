"""The options that users set (`--set name=value`, mitmproxy's config file, `KIMI_…` variables) and
the frozen `Settings` that they become. A wrong value is an `OptionsError`: one line, and no start.

mitmproxy silently drops a script whose option can't be parsed, so every option that could be
mistyped is declared as text and parsed here.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitmproxy.addonmanager import Loader
from mitmproxy.exceptions import OptionsError
from mitmproxy.optmanager import OptManager

from kimi_mitm.settings import POLICIES, SESSION_BY, Settings, data_folder

__all__ = ["OPTIONS", "declare", "read"]


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the table: `parse` turns the text into the setting or raises ValueError."""

    name: str
    default: str
    help: str
    parse: Callable[[str], Any]

    @property
    def variable(self) -> str:
        return self.name.upper()


def _bool(text: str) -> bool:
    try:
        return {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }[text.strip().lower()]
    except KeyError:
        raise ValueError("true or false") from None


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 10_000_000:
        raise ValueError("a positive number of seconds")
    return value


def _one_of(allowed: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError("one of " + ", ".join(allowed))
        return text

    return parse


def _address(text: str) -> tuple[str, int] | None:
    if not text.strip():
        return None
    host, _, port = text.strip().rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or not re.fullmatch(r"[\w.:-]+", host):
        raise ValueError("an address such as 127.0.0.1:8082, or nothing")
    return host, int(port)


def _logs(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip()) or ("off",)
    if set(names) <= {"auto", "off"}:
        return names
    from kimi_mitm.logs import SOURCES

    known = {source.name for source in SOURCES} | {source.client for source in SOURCES}
    if not set(names) <= known | {"auto", "off"}:
        raise ValueError(f"auto, off, or some of {', '.join(sorted(known))}, separated by commas")
    return names


def _patterns(values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        try:
            re.compile(value)
        except re.error as e:
            raise ValueError(f"regular expressions ({value!r}: {e})") from None
    return tuple(values)


def _folder(text: str) -> str:
    try:
        return str(Path(text).expanduser()) if text else ""
    except RuntimeError:
        raise ValueError("a folder (there is no such user)") from None


def _text(text: str) -> str:
    return text


OPTIONS: tuple[Option, ...] = (
    Option("kimi_db", "", "SQLite file or database URL; empty: kimi.db in the user's data folder.", _text),
    Option(
        "kimi_control",
        "127.0.0.1:8082",
        "Where the control endpoint listens; empty turns it off.",
        _address,
    ),
    Option(
        "kimi_control_token", "", "Bearer token that control requests need; must be set off loopback.", _text
    ),
    Option("kimi_control_admin_token", "", "Whoever brings it may force the auto-session flag.", _text),
    Option(
        "kimi_auto_session",
        "true",
        "First value of the flag: a change of provider opens a new session.",
        _bool,
    ),
    Option(
        "kimi_auto_session_policy",
        "smart",
        "What counts as a change of provider: smart, always, resume.",
        _one_of(POLICIES),
    ),
    Option("kimi_session_timeout", "300", "Seconds without activity after which a session ends.", _seconds),
    Option("kimi_session_check_interval", "30", "Seconds between two looks for idle sessions.", _seconds),
    Option(
        "kimi_session_by",
        "auto",
        "What a session follows: " + ", ".join(SESSION_BY) + ".",
        _one_of(SESSION_BY),
    ),
    Option(
        "kimi_archive_on_disconnect",
        "false",
        "End a session when its client's last connection is gone.",
        _bool,
    ),
    Option(
        "kimi_archive_dir",
        "",
        "Where ended conversations are archived; empty: users in the data folder.",
        _folder,
    ),
    Option(
        "kimi_store_content",
        "true",
        "Whether conversation text is kept; numbers always are, secrets never.",
        _bool,
    ),
    Option("kimi_intercept_all", "false", "Decrypt every host, not only those that serve an LLM API.", _bool),
    Option("kimi_lean", "false", "Take mitmproxy's idle built-in addons out of the way once started.", _bool),
    Option("kimi_logs", "auto", "Clients' logs to follow: auto, off, or names, comma-separated.", _logs),
    Option(
        "kimi_logs_home",
        "",
        "Where the clients' log folders are looked for; empty: the user's home.",
        _folder,
    ),
)

_HOSTS = "kimi_hosts"


_NAMES = frozenset({_HOSTS, *(option.name for option in OPTIONS)})


def declare(loader: Loader) -> list[str]:
    """Declares every option to mitmproxy; an environment variable of the upper-case name is its default.

    What a config file or `--set` gave before this script was loaded waits in `deferred`, in whatever type
    it has there. mitmproxy would silently drop the script over a value that it can't take, so they are
    made what it takes. Gives a line for each that can't be.
    """
    problems = _prepare(loader.master.options.deferred)
    for option in OPTIONS:
        loader.add_option(option.name, str, _default(option), option.help)
    hosts = [part for part in re.split(r"[\s,]+", os.environ.get(_HOSTS.upper(), "")) if part]
    loader.add_option(_HOSTS, Sequence[str], hosts, "Further hosts to decrypt and read (regular expression).")
    return problems


def _prepare(deferred: dict[str, Any]) -> list[str]:
    problems = []
    for name in [name for name in deferred if name.startswith("kimi_")]:
        if name not in _NAMES:
            close = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.75)
            meant = f", did you mean {close[0]}?" if close else ""
            problems.append(f"{name}: there is no such option{meant}")
            del deferred[name]
            continue
        given = deferred.pop(name)
        values = getattr(given, "val", given)  # what --set gave, not yet converted
        listed = [_as_text(v) for v in values] if isinstance(values, list | tuple) else [_as_text(values)]
        if name == _HOSTS:
            deferred[name] = [text for text in listed if text]
        elif not listed:
            deferred[name] = "true"
        elif len(listed) == 1 or name == "kimi_logs":
            deferred[name] = ",".join(listed)
        else:
            problems.append(f"{name}: is given {len(listed)} times")
    return problems


def _as_text(value: object) -> str:
    """A value of YAML's as one would type it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _default(option: Option) -> str:
    """The variable's text. An empty variable counts as none, unless nothing is a value of the option's."""
    text = os.environ.get(option.variable)
    if text is None:
        return option.default
    if not text.strip():
        try:
            option.parse("")
        except ValueError:
            return option.default
    return text


def read(options: OptManager) -> Settings:
    """The settings, all checked. Raises OptionsError with one line that names the option."""
    return _build({o.name: getattr(options, o.name) for o in OPTIONS}, list(getattr(options, _HOSTS)))


def _build(texts: Mapping[str, str], hosts: Sequence[str]) -> Settings:
    values: dict[str, Any] = {}
    for option in OPTIONS:
        values[option.name] = _parsed(option.name, texts[option.name], option.parse)
    patterns = _parsed(_HOSTS, hosts, _patterns)
    control = values["kimi_control"]
    if control and not _loopback(control[0]) and not values["kimi_control_token"]:
        raise OptionsError("kimi_control is not on loopback: kimi_control_token must be set")
    home = data_folder()
    return Settings(
        db=values["kimi_db"] or str(home / "kimi.db"),
        control=control,
        control_token=values["kimi_control_token"],
        control_admin_token=values["kimi_control_admin_token"],
        auto_session=values["kimi_auto_session"],
        auto_session_policy=values["kimi_auto_session_policy"],
        session_timeout=values["kimi_session_timeout"],
        session_check_interval=values["kimi_session_check_interval"],
        session_by=values["kimi_session_by"],
        archive_on_disconnect=values["kimi_archive_on_disconnect"],
        archive_dir=values["kimi_archive_dir"] or str(home / "users"),
        store_content=values["kimi_store_content"],
        hosts=patterns,
        intercept_all=values["kimi_intercept_all"],
        lean=values["kimi_lean"],
        logs=values["kimi_logs"],
        logs_home=values["kimi_logs_home"] or str(Path.home()),
    )


def _parsed[T, V](name: str, value: V, parse: Callable[[V], T]) -> T:
    try:
        return parse(value)
    except ValueError as e:
        raise OptionsError(f"{name}: must be {e}, is {value!r}") from e


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
