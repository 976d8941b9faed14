"""The variables that a client is started with."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.launch import shells
from kimi_mitm.launch.shells import Shell
from kimi_mitm.launch.table import table
from kimi_mitm.launch.variables import (
    Files,
    merged_variables,
    own_proxy,
    passes_everything,
    plan,
    proxy_url,
    run_password,
    same_address,
)

FILES = Files(ca="/ca.pem", bundle="/bundle.pem", merged={})
PROXY = "http://127.0.0.1:8080"


def test_everything_that_any_client_looks_at_is_set() -> None:
    found = plan(PROXY, FILES, {})

    assert found == {
        "HTTPS_PROXY": PROXY,
        "https_proxy": PROXY,
        "HTTP_PROXY": PROXY,
        "http_proxy": PROXY,
        "NO_PROXY": "localhost,127.0.0.1,::1",
        "no_proxy": "localhost,127.0.0.1,::1",
        "NODE_EXTRA_CA_CERTS": "/ca.pem",
        "SSL_CERT_FILE": "/bundle.pem",
        "REQUESTS_CA_BUNDLE": "/bundle.pem",
        "AWS_CA_BUNDLE": "/bundle.pem",
        "CODEX_CA_CERTIFICATE": "/bundle.pem",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": "/bundle.pem",
        "GOOSE_CA_CERT_PATH": "/ca.pem",
        "NODE_USE_ENV_PROXY": "1",
    }


def test_a_known_client_gets_what_it_needs_only() -> None:
    found = plan(PROXY, FILES, {}, client=table().client("codex"))

    assert {n for n in found if "PROXY" not in n.upper()} == {"CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"}


def test_windows_has_one_name_for_both_cases() -> None:
    found = plan(PROXY, FILES, {"No_Proxy": "corp"}, windows=True)

    assert "https_proxy" not in found
    assert found["NO_PROXY"] == "corp,localhost,127.0.0.1,::1"


def test_the_users_own_certificates_stay_in() -> None:
    given = {"SSL_CERT_FILE": "/corp.pem", "NODE_EXTRA_CA_CERTS": "/corp.pem", "PATH": "/bin"}
    assert merged_variables(given) == {"NODE_EXTRA_CA_CERTS": "/corp.pem", "SSL_CERT_FILE": "/corp.pem"}

    merged = {"SSL_CERT_FILE": "/merged-1.pem", "NODE_EXTRA_CA_CERTS": "/merged-2.pem"}
    found = plan(PROXY, Files(ca="/ca.pem", bundle="/bundle.pem", merged=merged), given)

    assert found["SSL_CERT_FILE"] == "/merged-1.pem"
    assert found["NODE_EXTRA_CA_CERTS"] == "/merged-2.pem"
    assert found["REQUESTS_CA_BUNDLE"] == "/bundle.pem"


def test_curls_own_variable_is_set_where_the_user_has_set_it_only() -> None:
    merged = {"CURL_CA_BUNDLE": "/merged.pem"}
    files = Files(ca="/ca.pem", bundle="/bundle.pem", merged=merged)

    assert plan(PROXY, files, {"CURL_CA_BUNDLE": "/corp.pem"})["CURL_CA_BUNDLE"] == "/merged.pem"
    assert "CURL_CA_BUNDLE" not in plan(PROXY, FILES, {"CURL_CA_BUNDLE": ""})


def test_what_the_user_reaches_directly_stays_so() -> None:
    found = plan(PROXY, FILES, {"NO_PROXY": "git.corp, .local", "no_proxy": "git.corp"})

    assert found["NO_PROXY"] == "git.corp,.local,localhost,127.0.0.1,::1"
    assert found["no_proxy"] == found["NO_PROXY"]


def test_a_no_proxy_for_everything_would_pass_everything_by_and_is_dropped() -> None:
    assert passes_everything({"NO_PROXY": "a,*"})
    assert not passes_everything({"NO_PROXY": "*.corp"})
    assert plan(PROXY, FILES, {"NO_PROXY": "*"})["NO_PROXY"] == "localhost,127.0.0.1,::1"


def test_a_proxy_of_the_users_own_for_plain_http_is_left() -> None:
    assert "HTTP_PROXY" not in plan(PROXY, FILES, {"http_proxy": "http://corp:3128"})
    both = {"http_proxy": "http://corp:3128", "HTTPS_PROXY": "http://corp:3128"}
    assert plan(PROXY, FILES, both)["HTTP_PROXY"] == PROXY


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "a", "https_proxy": "b"}, "b"),
        ({"ALL_PROXY": "socks5://c"}, "socks5://c"),
        ({"HTTP_PROXY": "d"}, None),
    ],
)
def test_the_users_own_proxy(given: dict[str, str], found: str | None) -> None:
    assert own_proxy(given) == found


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://alice:x@localhost:8080/", True),
        ("127.0.0.1:8080", True),
        ("http://127.0.0.1:8081", False),
        ("http://corp:8080", False),
        ("http://[::1]:8080", True),
        ("http://127.0.0.1:99999", False),
        ("", False),
    ],
)
def test_an_address_is_known_again(url: str, same: bool) -> None:
    assert same_address(url, "127.0.0.1", 8080) is same


def test_the_proxys_address_names_the_user() -> None:
    assert proxy_url("127.0.0.1", 8080) == "http://127.0.0.1:8080"
    assert proxy_url("127.0.0.1", 8080, "alice") == "http://alice:x@127.0.0.1:8080"
    assert proxy_url("::1", 8080, "CORP\\a b", "run-1.llm") == "http://CORP%5Ca%20b:run-1.llm@[::1]:8080"


def test_only_a_silent_client_is_named_for_it() -> None:
    assert run_password("ab12", table().client("cline")) == "run-ab12.cline"
    assert run_password("ab12", table().client("codex")) == "run-ab12"
    assert run_password("ab12", None) == "run-ab12"


TRICKY = ("plain", "a b", "it's", 'a "b"', "$HOME `id` $(id)", "b\\s", "ünï", "a;b&c|d", "%PATH%", "")


@pytest.mark.parametrize("value", TRICKY)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_posix_shell_reads_back_what_was_meant(shell: str, value: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} here")
    text = shells.render({"A": value}, Shell.SH) + 'printf %s "$A"'

    done = subprocess.run([path, "-c", text], capture_output=True, timeout=30, check=True)

    assert done.stdout.decode() == value


@given(value=st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=20))
def test_quoting_is_closed_again(value: str) -> None:
    assert shells.render({"A": value}, Shell.FISH).count("\n") == 1
    quoted = shells.render({"A": value}, Shell.POWERSHELL).removeprefix("$env:A = '").removesuffix("'\n")
    assert quoted.replace("''", "") == value.replace("'", "") or "'" in value


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        (Shell.SH, "export A='it'\"'\"'s'\n"),
        (Shell.FISH, "set -gx A 'it\\'s'\n"),
        (Shell.POWERSHELL, "$env:A = 'it''s'\n"),
        (Shell.CMD, 'set "A=it\'s"\n'),
    ],
)
def test_each_shells_own_words(shell: Shell, line: str) -> None:
    assert shells.render({"A": "it's"}, shell) == line
    assert "kimi-mitm env" in shells.how(shell, "kimi-mitm env")


@pytest.mark.parametrize(
    ("variable", "windows", "shell"),
    [
        ("/usr/bin/fish", False, Shell.FISH),
        ("/bin/zsh", False, Shell.SH),
        (None, False, Shell.SH),
        (None, True, Shell.POWERSHELL),
        ("/usr/bin/bash", True, Shell.SH),
    ],
)
def test_the_shell_that_is_meant(variable: str | None, windows: bool, shell: Shell) -> None:
    assert shells.guess(variable, windows) is shell
