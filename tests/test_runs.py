"""Exchanges of one `kimi-mitm run`: told by the proxy's authorization, kept with each exchange."""

from __future__ import annotations

import base64

import pytest

from kimi_mitm import clients, draft, link
from kimi_mitm.proxy.people import Run, run_of, user_of
from kimi_mitm.records import Operation
from kimi_mitm.tokens import Estimator


def basic(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    ("credentials", "run"),
    [
        ("alice:run-0123456789ab", Run("0123456789ab")),
        ("alice:run-0123456789ab.cline", Run("0123456789ab", "cline")),
        ("alice:x", None),
        ("alice:", None),
        ("alice", None),
        ("alice:run-XYZ", None),
        ("alice:run-0123456789ab.", None),
        ("alice:run-0123456789ab.Evil Client", None),
        ("alice:secret run-0123456789ab", None),
    ],
)
def test_a_run_is_named_in_the_passwords_place(credentials: str, run: Run | None) -> None:
    assert run_of(basic(credentials)) == run
    assert user_of(basic(credentials)) == "alice"


@pytest.mark.parametrize("header", ["Bearer run-0123456789ab", "Basic ///", "", "Basic"])
def test_another_authorization_names_no_run(header: str) -> None:
    assert run_of(header) is None


def begun(agent: str, **more: str) -> draft.Draft:
    opened = link.Opened(
        n=1,
        flow_id="f",
        exchange_id="x",
        at=1_700_000_000.0,
        method="POST",
        url="https://api.openai.com/v1/chat/completions",
        host="api.openai.com",
        path="/v1/chat/completions",
        headers={"user-agent": agent},
        **more,
    )
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
    return draft.begin(
        opened, body, Estimator({}), format_name="openai.chat", operation=Operation.CHAT, table={}
    )


def test_an_exchange_keeps_its_run() -> None:
    assert begun("python-httpx/0.28", run="0123456789ab").exchange.notes["run"] == "0123456789ab"
    assert "run" not in begun("python-httpx/0.28").exchange.notes


def test_a_client_that_says_nothing_of_itself_is_the_one_that_was_started() -> None:
    assert begun("OpenAI/Python 2.20.0", run="0123456789ab", run_client="aider").exchange.client == "aider"


def test_a_client_that_names_itself_is_believed() -> None:
    exchange = begun("codex_exec/0.169.0 (x)", run="0123456789ab", run_client="aider").exchange

    assert exchange.client == "codex"
    assert clients.identify({"user-agent": "OpenAI/Python 2.20.0"}, None).name == "openai-python"
