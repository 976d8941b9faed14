"""Models that a request names in its path."""

from __future__ import annotations

import json

import pytest

from kimi_mitm.wire import FORMATS, Target
from kimi_mitm.wire.model_path import model_of_path

VERTEX = "/v1/projects/p/locations/l/publishers"
CLAUDE = "claude-sonnet-4-5@20250929"


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/engines/gpt-4o-copilot/completions", "gpt-4o-copilot"),
        ("/v1/engines/davinci/embeddings", "davinci"),
        ("/serving-endpoints/databricks-claude-sonnet-4/invocations/", "databricks-claude-sonnet-4"),
        (f"{VERTEX}/mistralai/models/mistral-small-2503:rawPredict", "mistral-small-2503"),
        ("//openai//engines//ada//completions", "ada"),
        ("/openai/deployments/my-own-name/chat/completions", None),
        ("/serving-endpoints/chat/completions", None),
        ("/v1/chat/completions", None),
        ("", None),
    ],
)
def test_an_openai_like_path_may_name_the_model(path: str, model: str | None) -> None:
    assert model_of_path(path) == model


@pytest.mark.parametrize(
    ("form", "path", "model"),
    [
        ("openai.chat", f"{VERTEX}/mistralai/models/m-1:streamRawPredict", "m-1"),
        ("openai.completions", "/v1/engines/e-1/completions", "e-1"),
        ("openai.embeddings", "/v1/engines/e-1/embeddings", "e-1"),
        ("anthropic.messages", f"{VERTEX}/anthropic/models/{CLAUDE}:rawPredict", CLAUDE),
        ("anthropic.messages", f"{VERTEX}/anthropic/models/claude-sonnet-4-5%4020250929:rawPredict", CLAUDE),
        ("anthropic.messages", f"/{VERTEX}//anthropic//models//{CLAUDE}:rawPredict", CLAUDE),
        ("google.generate_content", "//v1beta//models//gemini-2.5-pro:generateContent", "gemini-2.5-pro"),
        ("aws.converse", "//model//amazon.nova-lite-v1%3A0//converse", "amazon.nova-lite-v1:0"),
        ("aws.invoke", "/gw//model/amazon.nova-lite-v1:0/invoke", "amazon.nova-lite-v1:0"),
    ],
)
def test_the_path_says_what_the_body_leaves_out(form: str, path: str, model: str) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x"}]}).encode()
    assert FORMATS[form].read_request(body, Target(path=path)).model == model


def test_the_body_has_the_first_word() -> None:
    body = json.dumps({"model": "b", "prompt": "x"}).encode()
    target = Target(path="/v1/engines/e-1/completions")
    assert FORMATS["openai.completions"].read_request(body, target).model == "b"
