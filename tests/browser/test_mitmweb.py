"""mitmweb as people see it: the list with its comments, the view LLM, a filter by figures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from web_site import DEADLINE_S, ROOT, Web, mitmweb

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SAMPLES = str(ROOT / "samples" / "demo.flow")
WAIT_MS = DEADLINE_S * 1000
FLOWS = 10
SET_OPTION = """async (options) => {
  const token = document.cookie.match(/_xsrf=([^;]*)/)[1];
  const headers = {"Content-Type": "application/json", "X-XSRFToken": token};
  await fetch("./options", {method: "PUT", headers, body: JSON.stringify(options)});
}"""
COMMAND = """async (name) => {
  const token = document.cookie.match(/_xsrf=([^;]*)/)[1];
  const answer = await fetch(`./commands/${name}`, {method: "POST", headers: {"X-XSRFToken": token}});
  return (await answer.json()).value;
}"""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with mitmweb(tmp_path_factory.mktemp("mitmweb"), "-r", SAMPLES) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def flow_list(browser: Browser, web: Web) -> AsyncIterator[Page]:
    """mitmweb with all samples settled."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    page = await context.new_page()
    await page.goto(web.url)
    await expect(page.locator("td.col-comment", has_text="text-embedding-3-small")).to_have_count(
        1, timeout=WAIT_MS
    )
    yield page
    await context.close()


async def test_the_list_shows_a_comment_with_the_numbers_first(flow_list: Page) -> None:
    rows = flow_list.locator("td.col-comment")
    await expect(rows).to_have_count(FLOWS)

    for row in range(FLOWS):
        await expect(rows.nth(row)).to_contain_text("→" if row != 8 else "≈301+23")
    await expect(flow_list.locator("thead")).to_contain_text("Comment")
    await expect(flow_list.locator("td.col-quickactions, td.col-method").first).to_be_visible()


async def test_a_flow_opens_in_the_view_llm_with_figures_on_top(flow_list: Page) -> None:
    await flow_list.locator("td.col-path", has_text="api.anthropic.com").nth(1).click()
    shown = flow_list.locator(".contentview")

    await expect(shown).to_contain_text("LLM")
    await expect(shown).to_contain_text("exchange: claude-code → anthropic")
    await expect(shown).to_contain_text("assistant calls Read")
    await flow_list.get_by_text("Response", exact=True).click()
    await expect(shown).to_contain_text("LLM")
    await expect(shown).to_contain_text("I return an empty tree")


async def test_a_websockets_messages_are_shown_in_the_view_llm(flow_list: Page) -> None:
    await flow_list.locator("td.col-path", has_text="api.openai.com/v1/responses").click()
    await flow_list.get_by_text("WebSocket", exact=True).click()

    await expect(flow_list.locator(".contentview")).to_contain_text("user: List tests.")


@pytest.mark.parametrize(
    ("expression", "count"),
    [("~comment error", 1), ("~comment gpt-5", 2), ("~marked", FLOWS), ("~marker orange_circle", 3)],
)
async def test_a_filter_by_comment_or_marker_is_typed_into_the_search(
    flow_list: Page, expression: str, count: int
) -> None:
    await flow_list.get_by_placeholder("Search").fill(expression)

    await expect(flow_list.locator("td.col-comment")).to_have_count(count)


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ('~meta "kimi.provider: moonshotai"', 1),
        ('~meta "kimi.client: openai-python"', 3),
        ('~meta "kimi.is_estimated: True"', 1),
    ],
)
async def test_a_filter_by_figures_finds_flows(
    flow_list: Page, web: Web, expression: str, count: int
) -> None:
    """The search box refuses `~meta`, which its own grammar doesn't know; its address takes it."""
    await flow_list.goto(f"{web.address}#/flows?s={quote(expression)}")
    await flow_list.reload()

    await expect(flow_list.locator("td.col-comment")).to_have_count(count)


async def test_an_option_limits_the_list_by_figures(flow_list: Page) -> None:
    async def limit(expression: str) -> None:
        await flow_list.evaluate(SET_OPTION, {"view_filter": expression})

    await limit('~meta "kimi.provider: moonshotai"')
    await expect(flow_list.locator("td.col-comment")).to_have_count(1)
    await limit("")
    await expect(flow_list.locator("td.col-comment")).to_have_count(FLOWS)


async def test_a_command_answers_in_the_event_log(flow_list: Page) -> None:
    await flow_list.get_by_role("link", name="Options").click()
    await flow_list.get_by_text("Display Event Log").click()
    await flow_list.locator(".eventlog pre").hover()
    await flow_list.mouse.wheel(0, 100_000)
    await expect(flow_list.locator(".eventlog")).to_contain_text("text-embedding-3-small")

    said = await flow_list.evaluate(COMMAND, "kimi.sessions")
    assert "kimi-k2-thinking" in said
    assert "event log" in await flow_list.evaluate(COMMAND, "kimi.stats")

    await expect(flow_list.locator(".eventlog")).to_contain_text("kimi.stats: all: 11 exchanges")
