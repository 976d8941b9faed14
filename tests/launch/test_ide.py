"""The proxy in the settings of IDEs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from ruamel.yaml import YAML

from kimi_mitm.launch import ide
from kimi_mitm.launch.ide import Proxy, SettingsError

PROXY = Proxy(url="http://alice:x@127.0.0.1:8080", host="127.0.0.1", port=8080, bundle="/b/it's.pem")


def test_vscode_gets_the_proxy_and_what_goes_by_it() -> None:
    found = ide.vscode("// mine\n{\n}\n", PROXY)

    assert found.startswith("// mine\n{\n")
    assert ide.vscode_proxy(found) == PROXY.url
    assert '"http.noProxy": ["localhost", "127.0.0.1", "::1"]' in found
    assert "proxySupport" not in found


def test_a_proxy_that_was_switched_off_is_switched_on() -> None:
    assert '"override"' in ide.vscode('{"http.proxySupport": "off"}', PROXY)


def test_settings_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(SettingsError):
        ide.vscode("[1]", PROXY)
    assert ide.vscode_proxy("[1]") is None


def options(text: str) -> dict[str, str]:
    [component] = [c for c in ET.fromstring(text) if c.get("name") == "HttpConfigurable"]
    return {o.get("name", ""): o.get("value", "") for o in component}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<application/>",
        "<application>\n</application>\n",
        '<application>\n  <component name="Other"><option name="PROXY_HOST" value="x" /></component>\n'
        "</application>",
        '<application>\n  <component name="HttpConfigurable" />\n</application>',
        '<application>\n  <component name="HttpConfigurable">\n    '
        '<option name="USE_HTTP_PROXY" value="false"/>\n    <option name="PROXY_HOST" value="corp" />\n  '
        "</component>\n</application>\n",
    ],
)
def test_jetbrains_gets_the_proxy_whatever_was_there(text: str) -> None:
    found = ide.jetbrains(text, PROXY)

    assert options(found) == {
        "USE_HTTP_PROXY": "true",
        "PROXY_HOST": "127.0.0.1",
        "PROXY_PORT": "8080",
        "PROXY_EXCEPTIONS": "localhost,127.0.0.1,::1",
    }
    assert ('name="Other"' in text) == ('name="Other"' in found)
    assert ide.jetbrains(found, PROXY) == found


def test_jetbrains_leaves_its_automatic_proxy() -> None:
    text = (
        '<application><component name="HttpConfigurable"><option name="USE_PROXY_PAC" value="true" />'
        '<option name="PROXY_LOGIN" value="me" /></component></application>'
    )

    found = options(ide.jetbrains(text, PROXY))

    assert found["USE_PROXY_PAC"] == "false"
    assert found["PROXY_LOGIN"] == "me"


@pytest.mark.parametrize("text", ["<a/>", "<application>", "no xml", "<!DOCTYPE a>", "\x00"])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        ide.jetbrains(text, PROXY)


CONFIG = """# my models
name: mine
models:
  - name: Claude  # the good one
    provider: anthropic
    model: claude-sonnet-4-5
    roles: [chat]
  - name: local
    provider: ollama
    requestOptions:
      # slow
      timeout: 60
      proxy: http://corp:3128
  # a comment between
  - model: gpt-4o
rules:
  - be kind
"""


def models(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = YAML(typ="safe").load(text)["models"]
    return found


def test_each_of_continues_models_gets_the_proxy() -> None:
    found = ide.continue_(CONFIG, PROXY)

    wanted = {"proxy": PROXY.url, "caBundlePath": PROXY.bundle}
    assert [m["requestOptions"] for m in models(found)] == [wanted, {**wanted, "timeout": 60}, wanted]
    assert [line for line in found.splitlines() if "#" in line] == [
        line for line in CONFIG.splitlines() if "#" in line
    ]
    assert set(CONFIG.splitlines()) - set(found.splitlines()) == {"      proxy: http://corp:3128"}
    assert ide.continue_(found, PROXY) == found


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_last_model_without_an_end_of_line(newline: str) -> None:
    text = f"models:{newline}- model: gpt-4o"

    found = ide.continue_(text, PROXY)

    assert models(found)[0]["requestOptions"]["proxy"] == PROXY.url
    assert found.count("\n") == found.count(newline)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models: []",
        "models: [{name: a, model: b}]",
        "{models: [a]}",
        "a: [",
        "models: text",
        "- a",
        "models:\n  - name: a\n    requestOptions: {timeout: 1}\n",
        "models:\n  - name: a\n    requestOptions:\n      timeout: 1\n      proxy: |\n        http://a\n",
        "a: !!python/object:x y\nb: *c",
    ],
)
def test_what_cannot_be_edited_by_lines_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        ide.continue_(text, PROXY)
