"""The proxy settings of IDEs, written into the text of their settings files; nothing else is touched."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from kimi_mitm.launch import jsonc
from kimi_mitm.launch.variables import LOOPBACK


class SettingsError(ValueError):
    """The file is not what such a file should be; it is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """What goes into the settings: the proxy's address, as URL and in parts, and a file with our CA and
    the system's roots."""

    url: str
    host: str
    port: int
    bundle: str


def vscode(text: str, proxy: Proxy) -> str:
    """VS Code's `settings.json`, and that of its forks."""
    values: dict[str, Any] = {"http.proxy": proxy.url, "http.noProxy": list(LOOPBACK)}
    try:
        if jsonc.members(text).get("http.proxySupport") == "off":
            values["http.proxySupport"] = "override"
        return jsonc.set_members(text, values)
    except jsonc.JsoncError as e:
        raise SettingsError(str(e)) from e


def vscode_proxy(text: str) -> str | None:
    """The proxy that a `settings.json` names, None without one."""
    try:
        found = jsonc.members(text).get("http.proxy")
    except jsonc.JsoncError:
        return None
    return found if isinstance(found, str) and found else None


_COMPONENT = re.compile(
    r'<component\s+name="HttpConfigurable"\s*(?:/>|>(?P<inner>.*?)</component>)', re.DOTALL
)


def jetbrains(text: str, proxy: Proxy) -> str:
    """`options/proxy.settings.xml` of a JetBrains IDE."""
    if not text.strip():
        text = "<application>\n</application>\n"
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError) as e:
        raise SettingsError("not XML") from e
    if root.tag != "application":
        raise SettingsError("not a settings file of a JetBrains IDE")
    values = {
        "USE_HTTP_PROXY": "true",
        "USE_PROXY_PAC": "false",
        "PROXY_TYPE_IS_SOCKS": "false",
        "PROXY_HOST": proxy.host,
        "PROXY_PORT": str(proxy.port),
        "PROXY_EXCEPTIONS": ",".join(LOOPBACK),
    }
    component = _COMPONENT.search(text)
    if component is None:
        inner = _options("\n  ", values)
        return _before_end(text, f'  <component name="HttpConfigurable">{inner}</component>\n')
    inner = _options(component["inner"] or "\n  ", values)
    whole = f'<component name="HttpConfigurable">{inner}</component>'
    return text[: component.start()] + whole + text[component.end() :]


def _options(inner: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        option = re.compile(rf'<option\s+name="{name}"\s+value="[^"]*"\s*/>')
        written = f'<option name="{name}" value={quoteattr(value)} />'
        if found := option.search(inner):
            inner = inner[: found.start()] + written + inner[found.end() :]
        elif name not in ("USE_PROXY_PAC", "PROXY_TYPE_IS_SOCKS"):  # false when they are not there
            inner = inner.rstrip() + f"\n    {written}\n  "
    return inner if inner.startswith("\n") else f"\n    {inner.lstrip()}"


def _before_end(text: str, component: str) -> str:
    closed = re.search(r"<application\s*/>", text)
    if closed:
        return text[: closed.start()] + f"<application>\n{component}</application>" + text[closed.end() :]
    place = text.rindex("</application>")
    return text[:place] + component + text[place:]


def continue_(text: str, proxy: Proxy) -> str:
    """Continue's `config.yaml`: every model gets request options of its own."""
    lines = text.splitlines(keepends=True)
    newline = "\r\n" if "\r\n" in text else "\n"
    for model in reversed(_models(text)):
        if not isinstance(model, dict) or not model:
            continue
        _write_options(lines, model, proxy, newline)
    return "".join(lines)


def _models(text: str) -> Sequence[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        found = YAML(typ="rt").load(text)
    except (YAMLError, ValueError, RecursionError) as e:
        raise SettingsError("not YAML") from e
    models = found.get("models") if isinstance(found, dict) else None
    if not isinstance(models, list) or not any(isinstance(m, dict) for m in models):
        raise SettingsError("it lists no models")
    if any(isinstance(m, dict) and _flow(m) for m in [found, models, *models] if m):
        raise SettingsError("its models are written in braces, which can't be edited line by line")
    return models


def _flow(node: Any) -> bool:
    return bool(node.fa.flow_style())


def _write_options(lines: list[str], model: Any, proxy: Proxy, newline: str) -> None:
    values = {"proxy": proxy.url, "caBundlePath": proxy.bundle}
    options = model.get("requestOptions")
    if isinstance(options, dict) and options and not _flow(options):
        for name, value in values.items():
            _write_option(lines, options, name, value, newline)
        return
    if "requestOptions" in model:
        raise SettingsError("a model's requestOptions are not plain lines")
    # before the second key's line: the first shares its own with the list's dash
    keys = list(model)
    first_line, column = model.lc.key(keys[0])
    line = model.lc.key(keys[1])[0] if len(keys) > 1 else first_line + 1
    indent = " " * column
    written = [f"{indent}requestOptions:", *(f"{indent}  {n}: {_quoted(v)}" for n, v in values.items())]
    if line and line <= len(lines) and not lines[line - 1].endswith("\n"):
        lines[line - 1] += newline
    lines[line:line] = [text + newline for text in written]


def _write_option(lines: list[str], options: Any, name: str, value: str, newline: str) -> None:
    if name in options:
        line, column = options.lc.key(name)
        if not isinstance(options[name], str) or lines[line].strip().endswith(("|", ">", ":")):
            raise SettingsError(f"a model's {name} is no plain line")
    else:
        line, column = options.lc.key(next(iter(options)))
    text = f"{' ' * column}{name}: {_quoted(value)}{newline}"
    lines[line : line + (name in options)] = [text]


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
