"""The table of clients: every row against what was seen of the client itself."""

from __future__ import annotations

import pytest

from kimi_mitm.launch.table import Client, table
from kimi_mitm.proxy.people import run_of

SEEN = {
    "claude-code": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": True, "REQUESTS_CA_BUNDLE": False},
    "codex": {"CODEX_CA_CERTIFICATE": True, "SSL_CERT_FILE": True, "NODE_EXTRA_CA_CERTS": False},
    "gemini-cli": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": False, "REQUESTS_CA_BUNDLE": False},
    "qwen-code": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": False, "REQUESTS_CA_BUNDLE": False},
    "copilot": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": True, "REQUESTS_CA_BUNDLE": False},
    "opencode": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": True, "REQUESTS_CA_BUNDLE": False},
    "kilo-code": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": False, "REQUESTS_CA_BUNDLE": False},
    "continue": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": False, "REQUESTS_CA_BUNDLE": False},
    "cline": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": True, "REQUESTS_CA_BUNDLE": False},
    "kimi-code": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": False, "REQUESTS_CA_BUNDLE": False},
    "kimi-cli": {"NODE_EXTRA_CA_CERTS": False, "SSL_CERT_FILE": True, "REQUESTS_CA_BUNDLE": False},
    "pi": {"NODE_EXTRA_CA_CERTS": True, "SSL_CERT_FILE": False, "REQUESTS_CA_BUNDLE": False},
    "vibe": {"NODE_EXTRA_CA_CERTS": False, "SSL_CERT_FILE": True, "REQUESTS_CA_BUNDLE": False},
    "aider": {"NODE_EXTRA_CA_CERTS": False, "SSL_CERT_FILE": True, "CURL_CA_BUNDLE": False},
    "llm": {"NODE_EXTRA_CA_CERTS": False, "SSL_CERT_FILE": True, "REQUESTS_CA_BUNDLE": False},
    "aws": {"AWS_CA_BUNDLE": True, "REQUESTS_CA_BUNDLE": True, "SSL_CERT_FILE": False},
    "openai-python": {"NODE_EXTRA_CA_CERTS": False, "SSL_CERT_FILE": True, "REQUESTS_CA_BUNDLE": False},
}
"""Whether a client took our CA from this variable alone, as its released versions did in November 2026."""
NOT_SEEN = {"goose", "crush", "curl", "kimi"}


@pytest.mark.parametrize("client", table().clients, ids=lambda c: c.name)
def test_what_a_client_needs_is_what_it_was_seen_to_honour(client: Client) -> None:
    seen = SEEN.get(client.name)
    assert (seen is None) == (client.name in NOT_SEEN)
    for name in client.needs if seen else ():
        assert seen[name], name


@pytest.mark.parametrize("client", table().clients, ids=lambda c: c.name)
def test_what_a_client_needs_is_in_the_table_of_variables(client: Client) -> None:
    names = [v.name for v in table().variables_of(client)]

    assert set(client.needs) | set(client.also) <= set(names)
    assert {"HTTPS_PROXY", "NO_PROXY"} <= set(names)
    assert ("NODE_USE_ENV_PROXY" in names) == (client.runtime == "node")


@pytest.mark.parametrize("client", table().clients, ids=lambda c: c.name)
def test_every_client_is_known_by_its_commands_and_packages(client: Client) -> None:
    for command in client.commands:
        assert table().started_by([command]) is client
        assert table().started_by([f"/usr/bin/{command}", "-p", "x"]) is client
        assert table().started_by([f"C:\\bin\\{command}.CMD"]) is client
    for package in client.packages:
        assert table().started_by(["npx", "-y", f"{package}@latest", "-p"]) is client


@pytest.mark.parametrize("client", table().clients, ids=lambda c: c.name)
def test_a_session_id_goes_with_its_refusal(client: Client) -> None:
    assert (client.session is None) == (client.in_use is None)
    assert client.session is not None or client.taken == ()


@pytest.mark.parametrize("client", [c for c in table().clients if c.silent], ids=lambda c: c.name)
def test_a_silent_clients_name_fits_where_the_proxy_reads_it(client: Client) -> None:
    import base64

    told = base64.b64encode(f"alice:run-0123456789ab.{client.name}".encode()).decode()

    run = run_of(f"Basic {told}")

    assert run is not None
    assert run.client == client.name


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["claude", "-p", "hi"], "claude-code"),
        (["npx", "@anthropic-ai/claude-code@2.1.0"], "claude-code"),
        (["timeout", "30", "codex", "exec"], "codex"),
        (["env", "A=1", "gemini"], "gemini-cli"),
        (["uv", "run", "llm", "hi"], "llm"),
        (["uvx", "--from", "x"], None),
        (["python3", "-m", "aider"], "aider"),
        (["node", "/opt/cline.js"], "cline"),
        (["cmd", "/c", "claude"], "claude-code"),
        (["/code/bin/claude"], "claude-code"),
        (["bash", "-c", "claude"], None),
        (["echo", "claude"], None),
        (["npx"], None),
        ([], None),
    ],
)
def test_the_client_of_a_command_line(words: list[str], name: str | None) -> None:
    client = table().started_by(words)

    assert (client.name if client else None) == name


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("claude-code", "Error: Session ID 0-1 is already in use."),
        ("copilot", "Error: Session ID 0-1 is already in use."),
        (
            "gemini-cli",
            'Error starting session: Session ID "0-1" already exists. Use --resume to resume it, or provide '
            "a different ID.",
        ),
        (
            "qwen-code",
            "Error: Session Id 0-1 already exists (active or archived). Delete or unarchive it first.",
        ),
    ],
)
def test_a_refused_session_id_is_recognised_in_the_clients_own_words(client: str, said: str) -> None:
    row = table().client(client)
    assert row is not None
    refusal = row.refusal("0-1")

    assert refusal is not None
    assert refusal.search(said)
    assert not refusal.search(said.replace("0-1", "0-2"))
