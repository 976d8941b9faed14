"""Which hosts are decrypted, and what the gate learns from handshakes."""

from __future__ import annotations

import pytest

from kimi_mitm.proxy.gate import Gate

MAYBE = "The client disconnected during the handshake. this may indicate that the client does not trust …"
CERTAIN = "The client does not trust the proxy's certificate for api.openai.com (tlsv1 alert unknown ca)"


@pytest.mark.parametrize("host", ["api.openai.com", "API.OpenAI.com", "localhost", "127.0.0.1"])
def test_hosts_that_may_serve_a_model_are_decrypted(host):
    assert Gate().decrypts(host)


@pytest.mark.parametrize("host", [None, "", "www.example.org", "api.openai.com.evil.example", "github.com"])
def test_others_are_not(host):
    assert not Gate().decrypts(host)


def test_the_users_patterns_add_hosts_and_name_them():
    gate = Gate((r"\.corp$",))

    assert gate.decrypts("llm.CORP")
    assert gate.named("llm.corp")
    assert not gate.named("api.openai.com")


def test_everything_is_decrypted_if_asked_but_a_host_that_refuses():
    gate = Gate((), everything=True)
    assert gate.decrypts("www.example.org")

    assert [gate.refused("www.example.org", CERTAIN) for _ in range(3)] == [False, True, False]
    assert not gate.decrypts("www.example.org")
    assert gate.decrypts("other.example.org")


def test_hanging_up_where_another_handshake_worked_proves_nothing():
    gate = Gate()
    gate.accepted("api.mistral.ai")

    assert not any(gate.refused("api.mistral.ai", MAYBE) for _ in range(5))
    assert gate.decrypts("api.mistral.ai")


def test_a_client_that_says_so_is_believed_even_there():
    gate = Gate()
    gate.accepted("api.openai.com")

    assert [gate.refused("api.openai.com", CERTAIN) for _ in range(2)] == [False, True]
