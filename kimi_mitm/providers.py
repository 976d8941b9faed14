"""Whose model a name is, and who operates a host: tables in `providers.toml`, no guesses beside them.

Ids are those of genai-prices (`x-ai`, `moonshotai`, `google`, `aws`, `azure`) where it has one.
Every function is pure and total: any text goes in, nothing is raised.
"""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

UNKNOWN = "unknown"

_LONGEST_NAME = 512
_LONGEST_HOST = 262


@dataclass(frozen=True, slots=True)
class _Family:
    match: re.Pattern[str]
    family: str
    provider: str


@dataclass(frozen=True, slots=True)
class _Hosts:
    """Exact names, domains (`.example.com` kept without its dot), and one pattern per operator."""

    names: Mapping[str, str]
    domains: Mapping[str, str]
    patterns: tuple[tuple[re.Pattern[str], str], ...]

    def get(self, host: str) -> str | None:
        found = self.names.get(host)
        if found is not None:
            return found
        at = host.find(".")
        while at >= 0:
            found = self.domains.get(host[at + 1 :])
            if found is not None:
                return found
            at = host.find(".", at + 1)
        for pattern, operator in self.patterns:
            if pattern.fullmatch(host):
                return operator
        return None


def _hosts(names: Mapping[str, str], patterns: Mapping[str, str]) -> _Hosts:
    return _Hosts(
        names={k: v for k, v in names.items() if not k.startswith(".")},
        domains={k[1:]: v for k, v in names.items() if k.startswith(".")},
        patterns=tuple((re.compile(k), v) for k, v in patterns.items()),
    )


def _load() -> dict[str, Any]:
    return tomllib.loads(files("kimi_mitm").joinpath("providers.toml").read_text(encoding="utf-8"))


_TABLE = _load()
_OPERATORS = _hosts(_TABLE["hosts"], _TABLE["patterns"])
_OTHERS = _hosts(
    dict.fromkeys(_TABLE["others"]["hosts"], "other"), dict.fromkeys(_TABLE["others"]["patterns"], "other")
)
_PORTS: dict[int, str] = {int(port): name for port, name in _TABLE["ports"].items()}
_PREFIXES: dict[str, str] = _TABLE["prefixes"]
_LOCAL = frozenset(
    {"localhost", "::1", "[::1]", "0.0.0.0", "host.docker.internal", "host.containers.internal"}
)

_REGION = re.compile(r"^(?:us-gov|us|eu|apac|global|ca|jp|au|sa|me|il|af)\.(?=[a-z0-9-]+\.)")
_PUBLISHER = re.compile(r"(?:^|/)publishers/([^/]+)/models/(.+)$")
_BEDROCK_VERSION = re.compile(r"-v\d+:\d+(?::\d+k?)?$")
_SPELLED_OUT = re.compile(r"[a-z]{2,}-[a-z0-9]|^[a-z]+[-.]?\d")
_FIREWORKS = re.compile(r"^accounts/[^/]+/(?:models|deployedmodels|deployments)/(.+)$")


def clean_host(host: str) -> str:
    """The host in lower case, without port, trailing dot or white space; empty when it is too long for a
    name (RFC 1035)."""
    if len(host) > _LONGEST_HOST:
        return ""
    host = host.strip().lower()
    if host.count(":") == 1:
        host = host.partition(":")[0]
    return host.rstrip(".")


def is_local(host: str) -> bool:
    """Whether the host is this machine (loopback names and addresses, the container host's names)."""
    host = clean_host(host)
    return host in _LOCAL or host.startswith("127.") or host.endswith(".localhost")


@lru_cache(maxsize=2048)
def operator_of(host: str) -> str | None:
    """Who operates an LLM API on this host; None for a host that is in no table, and for this machine's."""
    host = clean_host(host)
    if not host or _OTHERS.get(host) is not None:
        return None
    return _OPERATORS.get(host)


@lru_cache(maxsize=2048)
def is_other(host: str) -> bool:
    """Whether the host is known to serve no model: telemetry, sign-in, catalogues."""
    return _OTHERS.get(clean_host(host)) is not None


def served_by_host(host: str, port: int | None = None) -> str | None:
    """Who operates the host, as `served_by` of the record; None when unknown. `port` tells a well-known
    local server on this machine."""
    operator = operator_of(host)
    if operator is None and port is not None and is_local(host):
        return _PORTS.get(port)
    return operator


def provider_of(
    model: str | None, *, served_by: str | None = None, table: Mapping[str, str] | None = None
) -> str:
    """The provider of a model name.

    The first that answers: the user's own `table` (model name or a pattern with `*` → provider, case
    ignored, the longest pattern first); an explicit prefix that names a known provider; the model's
    family; the host's operator `served_by`; `unknown`.
    """
    name = (model or "").strip().lower()[:_LONGEST_NAME]
    if name and table:
        own = _own(name, table)
        if own is not None:
            return own
    found = _named(name) if name else None
    return found or served_by or UNKNOWN


def family_of(model: str | None) -> str:
    """The model's family (`gpt`, `o-series`, `claude`, `kimi`, …) as tokenizers and priors tell them
    apart; `unknown` for a name that says nothing."""
    name = (model or "").strip().lower()[:_LONGEST_NAME]
    row = (_family(bare_name(name)) or _family(name)) if name else None
    return row.family if row else UNKNOWN


def is_vendor(provider: str, served_by: str) -> bool:
    """Whether the operator sells the provider's models as the vendor itself."""
    return served_by == provider or _VENDORS.get(served_by) == provider


_VENDORS = {"alibaba": "qwen", "zhipuai": "zai", "chatgpt": "openai", "volcengine": "bytedance"}


@lru_cache(maxsize=4096)
def bare_name(model: str) -> str:
    """The model's own name, lower-case: without prefixes, publishers, regions, versions after `@`,
    `-v1:0`, and routers' variants such as `:free`."""
    return _split(model.strip().lower()[:_LONGEST_NAME])[1]


def without_prefixes(model: str) -> str:
    """The model as a price list may name it: no ARN, publisher, project, account or router before it,
    versions and variants kept."""
    name = model.strip()
    if name.startswith("arn:"):
        name = name.partition("/")[2] or name
    published = _PUBLISHER.search(name)
    if published:
        return published[2]
    return name.rpartition("/")[2]


def _own(name: str, table: Mapping[str, str]) -> str | None:
    lowered = {key.lower(): value for key, value in table.items()}
    if name in lowered:
        return lowered[name]
    for pattern in sorted((k for k in lowered if "*" in k), key=len, reverse=True):
        if fnmatch.fnmatchcase(name, pattern):
            return lowered[pattern]
    return None


@lru_cache(maxsize=4096)
def _named(name: str) -> str | None:
    prefix, bare = _split(name)
    if prefix is not None:
        return prefix
    row = _family(bare)
    return row.provider if row else None


@lru_cache(maxsize=4096)
def _family(bare: str) -> _Family | None:
    return next((row for row in _families() if row.match.search(bare)), None)


@cache
def _families() -> tuple[_Family, ...]:
    return tuple(_Family(re.compile(r["match"]), r["family"], r["provider"]) for r in _TABLE["families"])


def _split(name: str) -> tuple[str | None, str]:
    """The provider that a prefix names, or None, and the bare name."""
    if name.startswith("arn:"):
        name = name.partition("/")[2] or name.rpartition(":")[2]
    prefix: str | None = None
    published = _PUBLISHER.search(name)
    if published:
        prefix, name = _PREFIXES.get(published[1]), published[2]
    elif deployed := _FIREWORKS.match(name):
        prefix, name = "fireworks", deployed[1]
    name = name.removeprefix("models/").removeprefix("tunedmodels/").removeprefix("ft:")
    while "/" in name:
        head, _, name = name.partition("/")
        prefix = prefix or _PREFIXES.get(head.removeprefix("~"))
    name = _REGION.sub("", name)
    vendor, dot, rest = name.partition(".")
    if dot and rest and vendor in _PREFIXES and not rest[0].isdigit():
        prefix, name = prefix or _PREFIXES[vendor], rest
    name = _BEDROCK_VERSION.sub("", name)
    vendor, colon, rest = name.partition(":")
    if colon and _SPELLED_OUT.match(rest) and vendor in _PREFIXES:
        prefix, name = prefix or _PREFIXES[vendor], rest
    return prefix, name.partition(":")[0].partition("@")[0]
