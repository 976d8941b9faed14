"""What never gets out: credentials in URLs, in headers, and in text that is to be stored.

URLs and headers go by allow-lists. Text is searched for the shapes that keys have; a key reads
`[redacted]` behind the few characters that only name its kind. Linear in its input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_plus, urlsplit

from kimi_mitm.headers import is_kept

MASK = "[redacted]"

_QUERY = frozenset(
    (
        *("after", "alt", "api-version", "api_version", "beta", "deployment", "include", "intent"),
        *("limit", "location", "model", "order", "stream", "version"),
    )
)
_PLAIN_VALUE = re.compile(r"[\w.:@/+-]{1,100}")

# Telegram's bots and their like carry the key as a segment of the path.
_PATH = re.compile(
    r"/(?:bot\d+:[\w-]+|bot[\w:-]{20,}|(?:key|token|apikey|api-key|secret)/[^/]+)(?=/|$)", re.IGNORECASE
)


def url(url: str) -> str:
    """The URL without secrets: no user, no fragment, only allowed query parameters with plain values
    (others keep their name, with no value), keys in the path masked."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return text(_path(re.split(r"[?#]", url, maxsplit=1)[0].rpartition("@")[2]))
    host = parts.netloc.rpartition("@")[2] if parts.netloc else ""
    head = f"{parts.scheme}://{host}" if host else ""
    query = "&".join(_parameter(p) for p in parts.query.split("&")[:50] if p)
    return head + _path(parts.path) + (f"?{query}" if query else "")


def query(query: str) -> dict[str, str]:
    """The allowed parameters of a query string, decoded; everything else is left out."""
    out: dict[str, str] = {}
    for parameter in query.split("&")[:50]:
        name, _, value = parameter.partition("=")
        name, value = unquote_plus(name).lower(), unquote_plus(value)
        if name in _QUERY and _PLAIN_VALUE.fullmatch(value) and word(value) == value:
            out[name] = value
    return out


def _parameter(parameter: str) -> str:
    name, equals, value = parameter.partition("=")
    if name.lower() in _QUERY and _PLAIN_VALUE.fullmatch(unquote_plus(value)):
        return name + equals + word(value)
    name = text(name) if len(name) <= 64 else MASK
    return name + ("=" if equals else "")


def _path(path: str) -> str:
    return text(_PATH.sub(f"/{MASK}", path))


def headers(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that may be kept, names in lower case, keys in their values masked."""
    return [(name.lower(), text(value[:8192])) for name, value in pairs if is_kept(name)]


# A key by its first letters: literal, what may follow.
_KEYS: tuple[tuple[str, str], ...] = (
    ("sk-", r"[\w-]{16,4096}"),
    ("pk-lf-", r"[\w-]{16,4096}"),
    ("sk_live_", r"[A-Za-z0-9]{16,4096}"),
    ("sk_test_", r"[A-Za-z0-9]{16,4096}"),
    ("rk_live_", r"[A-Za-z0-9]{16,4096}"),
    ("AIza", r"[\w-]{20,4096}"),
    ("ya29.", r"[\w.-]{20,4096}"),
    ("ghp_", r"[A-Za-z0-9]{20,4096}"),
    ("gho_", r"[A-Za-z0-9]{20,4096}"),
    ("ghu_", r"[A-Za-z0-9]{20,4096}"),
    ("ghs_", r"[A-Za-z0-9]{20,4096}"),
    ("ghr_", r"[A-Za-z0-9]{20,4096}"),
    ("github_pat_", r"\w{20,4096}"),
    ("glpat-", r"[\w-]{16,4096}"),
    ("xoxa-", r"[\w-]{10,4096}"),
    ("xoxb-", r"[\w-]{10,4096}"),
    ("xoxe-", r"[\w-]{10,4096}"),
    ("xoxp-", r"[\w-]{10,4096}"),
    ("xoxr-", r"[\w-]{10,4096}"),
    ("xoxs-", r"[\w-]{10,4096}"),
    ("xapp-", r"[\w-]{10,4096}"),
    ("nvapi-", r"[\w-]{20,4096}"),
    ("hf_", r"[A-Za-z0-9]{20,4096}"),
    ("gsk_", r"[A-Za-z0-9]{20,4096}"),
    ("r8_", r"[A-Za-z0-9]{20,4096}"),
    ("fw_", r"[A-Za-z0-9]{20,4096}"),
    ("pplx-", r"[A-Za-z0-9]{20,4096}"),
    ("xai-", r"[A-Za-z0-9]{20,4096}"),
    ("csk-", r"[A-Za-z0-9]{20,4096}"),
    ("tvly-", r"[\w-]{16,4096}"),
    ("jina_", r"[\w-]{30,4096}"),
    ("npm_", r"[A-Za-z0-9]{30,4096}"),
    ("pypi-AgE", r"[\w-]{16,4096}"),
    ("dop_v1_", r"[a-f0-9]{32,4096}"),
    ("shpat_", r"[a-fA-F0-9]{20,4096}"),
    ("lsv2_", r"\w{20,4096}"),
    ("SG.", r"[\w-]{16,64}\.[\w-]{16,4096}"),
    ("ABSK", r"[A-Za-z0-9+/=]{30,4096}"),
    ("AKIA", r"[A-Z0-9]{12,128}"),
    ("ASIA", r"[A-Z0-9]{12,128}"),
    ("eyJ", r"(?<![\w-]eyJ)[\w-]{10,4096}\.[\w-]{4,8192}(?:\.[\w-]{0,4096})?"),
)
# What introduces a secret, in lower case: literal, whether any value counts or only a random one.
_NAMES: tuple[tuple[str, bool], ...] = (
    *((name, True) for name in ("password", "passwd", "passphrase", "client_secret", "client-secret")),
    *((name, True) for name in ("secret_access_key", "secretaccesskey", "secret-access-key")),
    *((name, False) for name in ("api_key", "api-key", "apikey", "access_key", "access-key", "accesskey")),
    *((name, False) for name in ("secret_key", "secret-key", "secretkey", "private_key", "privatekey")),
    *(
        (name, False)
        for name in ("access_token", "accesstoken", "refresh_token", "refreshtoken", "auth_token")
    ),
    *((name, False) for name in ("authtoken", "session_token", "sessiontoken", "security-token", "id_token")),
    *((name, False) for name in ("x-amz-signature", "x-amz-credential", "signature=", "credential=", "sig=")),
)
_VALUE = re.compile(
    r"=?(?:\\?[\"'])?[ \t]{0,4}(?:=|:|%3[dD]|(?<==))[ \t]{0,4}(?:\\?[\"'])?"
    r"(?P<secret>[^\s\"'&,;<>(){}\[\]\\$]{6,4096})"
)
_QUOTED = re.compile(
    r"(?:_token)?\\?\"[ \t]{0,4}:[ \t]{0,4}\\?\"(?:(?:bearer|basic|token|key)[ \t]{1,4})?"
    r"(?P<secret>[^\s\"\\<>{}$]{8,4096})\\?\"",
    re.IGNORECASE,
)
"""A member of a JSON object whose value is one word: any such value counts, letters alone too."""
_SCHEME = re.compile(r"[ \t]{1,4}(?P<secret>[\w.~+/-]{16,4096}={0,2})")
_LOGIN = re.compile(r"[^\s/:@]{1,64}:(?P<secret>[^\s/@]{3,256})@")
_PRIVATE = re.compile(r"[A-Z0-9 ]{0,40}PRIVATE KEY-----")
_BEGIN, _END = "-----BEGIN ", "-----END "
_PLACEHOLDER = re.compile(
    r"(?:none|null|true|false|undefined|string|required|optional|redacted|filtered|xxx+|\*+|\.\.\.|your|example|"
    r"process\.env|os\.environ|env\.|self\.|this\.|config|settings|get|str\b|await\b|\[)",
    re.IGNORECASE,
)

_ONE_RUN = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
"""No word is as long."""
_RUN = re.compile(r"[A-Za-z0-9]{20,}")
_SECRET_BEFORE = re.compile(r"key|token|secret|credential|password|received", re.IGNORECASE)
_BEFORE = 80

type _Rule = tuple[str, re.Pattern[str], bool]
type _Rules = tuple[tuple[str, tuple[_Rule, ...]], ...]
"""Rules behind what all of their literals contain: a text without it is not searched for any of them."""


def _behind(common: Iterable[str], rules: Iterable[_Rule]) -> _Rules:
    found: dict[str, list[_Rule]] = {}
    for rule in rules:
        found.setdefault(next((part for part in common if part in rule[0]), rule[0]), []).append(rule)
    return tuple((part, tuple(some)) for part, some in found.items())


_EXACT = _behind(
    ("xox", "_live_"), ((lit, re.compile(f"(?P<secret>{rest})", re.ASCII), False) for lit, rest in _KEYS)
)
_LOWER = _behind(
    ("secret", "token", "pass", "key", "x-amz-"),
    (
        *((name, _VALUE, any_value) for name, any_value in _NAMES),
        *(
            (name, _QUOTED, True)
            for name in ("authorization", "api_key", "api-key", "apikey", "access_token")
        ),
        ("bearer", _SCHEME, False),
        ("basic", _SCHEME, False),
    ),
)
_LOGINS: _Rule = ("://", _LOGIN, True)


def text(s: str) -> str:
    """The text with everything that looks like a credential masked. Other text comes back as it was."""
    if len(s) < 9:
        return s
    lowered = s.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
    spans: list[tuple[int, int]] = []
    for part, rules in _EXACT:
        if part in s:
            for rule in rules:
                _search(s, s, rule, spans, bounded=True)
    for part, rules in _LOWER:
        if part in lowered:
            for rule in rules:
                _search(s, lowered, rule, spans, bounded=False)
    _search(s, s, _LOGINS, spans, bounded=False)
    _private_keys(s, spans)
    return _masked(s, spans) if spans else s


def field(value: str | None) -> str | None:
    """A field of a record, masked like text; None stays."""
    return text(value) if value else value


def error(message: str) -> str:
    """An error's message, masked more strictly than other text: providers repeat the key that they refuse
    ("Incorrect API key provided: …"), and not all keys have a shape of their own."""
    masked = text(message)
    return _RUN.sub(lambda found: MASK if _is_told(masked, found) else found[0], masked)


def word(value: str) -> str:
    """A word that names something (an error's type), masked where it is made of random characters."""
    return _RUN.sub(lambda found: MASK if _is_random(found[0]) else found[0], text(value))


def _is_told(message: str, found: re.Match[str]) -> bool:
    start = found.start()
    return _is_random(found[0]) and bool(_SECRET_BEFORE.search(message[max(0, start - _BEFORE) : start]))


def _is_random(run: str) -> bool:
    digits = sum(map(str.isdigit, run[:200]))
    return digits >= 3 and len(run[:200]) - digits >= 3


def _search(s: str, where: str, rule: _Rule, spans: list[tuple[int, int]], *, bounded: bool) -> None:
    """Adds the span of each secret that the rule's literal introduces. Goes on behind what it looked at,
    so that every character is looked at a bounded number of times."""
    literal, pattern, any_value = rule
    at = where.find(literal)
    while at >= 0:
        start = at + len(literal)
        if bounded and at and (s[at - 1].isalnum() or s[at - 1] == "_"):
            at = where.find(literal, start)
            continue
        found = pattern.match(s, start)
        if found is not None:
            if _is_secret(found["secret"], any_value):
                spans.append(found.span("secret"))
            start = found.end()
        at = where.find(literal, start)


def _is_secret(value: str, any_value: bool) -> bool:
    """Keys mix digits and letters; words joined by hyphens (`sk-learn-contrib`) don't."""
    if _PLACEHOLDER.match(value):
        return False
    head = value[:200]
    return (
        any_value
        or _ONE_RUN.fullmatch(head) is not None
        or (any(c.isdigit() for c in head) and any(c.isalpha() for c in head))
    )


def _private_keys(s: str, spans: list[tuple[int, int]]) -> None:
    """Adds what stands between a private key's first and last line; to the end of the text where the last
    line is missing."""
    at = s.find(_BEGIN)
    while at >= 0:
        found = _PRIVATE.match(s, at + len(_BEGIN))
        end = at + len(_BEGIN)
        if found is not None:
            close = s.find(_END, found.end())
            end = len(s) if close < 0 else close
            spans.append((found.end(), end))
        at = s.find(_BEGIN, end)


def _masked(s: str, spans: list[tuple[int, int]]) -> str:
    out: list[str] = []
    at = 0
    for start, end in sorted(spans):
        if start < at:
            at = max(at, end)
            continue
        out.append(s[at:start])
        out.append(MASK)
        at = end
    out.append(s[at:])
    return "".join(out)
