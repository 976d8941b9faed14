"""Only hosts that may serve an LLM API are decrypted; everything else passes untouched."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl

import httpx
import pytest
from rig.bodies import CHAT_URL, chat, chat_answer

from kimi_mitm import link


def issuer(certificate: dict) -> str:
    return dict(pair for group in certificate["issuer"] for pair in group)["organizationName"]


async def seen_certificate(running, host: str, context: ssl.SSLContext) -> dict:
    """The certificate that a client of the proxy is shown for a host."""
    _, writer = await running.connect(host, 443)
    await writer.start_tls(context, server_hostname=host)
    try:
        return writer.get_extra_info("peercert")
    finally:
        writer.close()


async def test_an_llm_host_is_decrypted(proxy, upstream):
    running = await proxy()

    certificate = await seen_certificate(running, "api.openai.com", running.trusting())

    assert issuer(certificate) == "mitmproxy"


async def test_another_host_shows_its_own_certificate_and_its_bytes_are_untouched(
    proxy, engine, upstream, authority
):
    running = await proxy()
    odd = b"NOT-HTTP \x00\xff\r\nat: all\r\n\r\n"

    async def echo(reader, writer):
        writer.write(await reader.readexactly(len(odd)))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=authority.serving()) as server:
        running.master.addons.get("redirect")._ports[443] = server.sockets[0].getsockname()[1]
        reader, writer = await running.connect("www.example.org", 443)
        await writer.start_tls(authority.trusting(), server_hostname="www.example.org")
        writer.write(odd)
        received = await asyncio.wait_for(reader.read(), 5)
        certificate = writer.get_extra_info("peercert")
        writer.close()

    assert issuer(certificate).startswith("trustme")
    assert received == odd
    assert running.spy.of("requestheaders") == []
    assert engine().heads(link.Opened) == []


@pytest.mark.parametrize(
    "settings", [{"kimi_hosts": [r"^llm\.example\.org$"]}, {"kimi_intercept_all": "true"}]
)
async def test_the_user_may_have_more_hosts_read(proxy, engine, upstream, settings):
    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    running = await proxy(**settings)
    url = CHAT_URL.replace("api.openai.com", "llm.example.org")
    async with running.client() as client:
        await client.post(url, json=chat())

    record = await engine().record()
    assert (record.url, record.input_tokens) == (url, 11)


async def test_without_that_the_same_host_is_not_read(proxy, engine, upstream, authority):
    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    running = await proxy()
    async with running.client(verify=authority.trusting()) as client:
        answer = await client.post(CHAT_URL.replace("api.openai.com", "llm.example.org"), json=chat())

    assert answer.content == chat_answer()
    assert engine().heads(link.Opened) == []


async def test_a_host_whose_clients_refuse_us_twice_is_passed_through(
    proxy, engine, upstream, authority, caplog
):
    caplog.set_level(logging.INFO)
    distrusting = authority.trusting()

    async def handler(call):
        await call.answer(b"untouched")

    upstream.handler = handler
    running = await proxy()
    async with running.client(verify=distrusting) as client:
        for _ in range(2):
            with contextlib.suppress(httpx.ConnectError):
                await client.get("https://api.openai.com/v1/models")
        await engine().until(lambda: engine().heads(link.Tls))
        answers = [await client.get("https://api.openai.com/v1/models") for _ in range(3)]
    other = await seen_certificate(running, "api.anthropic.com", running.trusting())

    assert [answer.content for answer in answers] == [b"untouched"] * 3
    said = [r.getMessage() for r in caplog.records if "api.openai.com" in r.getMessage() and "kimi" in r.name]
    assert len(said) == 1
    assert "certs/README.md" in said[0]
    assert [head.host for head in engine().heads(link.Tls)] == ["api.openai.com"]
    assert issuer(other) == "mitmproxy"


async def test_one_refusal_is_none(proxy, engine, upstream, authority):
    running = await proxy()
    async with running.client(verify=authority.trusting()) as client:
        with contextlib.suppress(httpx.ConnectError):
            await client.get("https://api.openai.com/v1/models")
    await engine().until(lambda: running.addon.gate._refusals)

    certificate = await seen_certificate(running, "api.openai.com", running.trusting())

    assert issuer(certificate) == "mitmproxy"


async def test_mitmproxys_own_allow_hosts_wins(proxy, upstream):
    running = await proxy(allow_hosts=[r"www\.example\.org"])

    certificate = await seen_certificate(running, "www.example.org", running.trusting())

    assert issuer(certificate) == "mitmproxy"


async def test_a_provider_over_plain_http_is_read(proxy, engine, plain):
    async def handler(call):
        await call.answer(
            b'{"model":"llama3","message":{"role":"assistant","content":"hi"},"done":true,'
            b'"done_reason":"stop","prompt_eval_count":26,"eval_count":2}'
        )

    plain.handler = handler
    running = await proxy()
    async with running.client() as client:
        body = {"model": "llama3", "stream": False, "messages": [{"role": "user", "content": "hi"}]}
        await client.post("http://localhost:11434/api/chat", json=body)

    record = await engine().record()
    assert (record.wire_format, record.input_tokens, record.output_tokens) == ("ollama.chat", 26, 2)
    assert record.served_by == "ollama"


async def test_a_client_that_is_given_an_address_instead_of_a_proxy_is_read_too(proxy, engine, upstream):
    """Reverse mode: no proxy setting, no certificate authority."""

    async def handler(call):
        await call.answer(chat_answer())

    upstream.handler = handler
    running = await proxy(mode=["reverse:https://api.openai.com"])
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"http://127.0.0.1:{running.port}/v1/chat/completions", json=chat())

    record = await engine().record()
    assert answer.content == chat_answer()
    assert (record.wire_format, record.input_tokens) == ("openai.chat", 11)
