"""The page as people meet it: in a browser, with mouse and keyboard, through bad connections."""

from __future__ import annotations

import re

import pytest
from page_site import Site
from playwright.async_api import Browser, Page, Route, expect

from kimi_mitm.control.guard import ControlSettings
from kimi_mitm.control.service import Caller, ControlError

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ON, OFF = {"name": "Automatic sessions", "checked": True}, {"name": "Automatic sessions", "checked": False}
SOMEBODY = Caller("bob")


async def opened(page: Page, site: Site) -> Page:
    await page.goto(site.url)
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    await expect(page.locator("#flag-state")).not_to_be_empty()
    return page


# The switch


async def test_the_switch_changes_the_flag(page: Page, site: Site) -> None:
    await opened(page, site)
    await page.get_by_role("switch", **ON).click()

    await expect(page.get_by_role("switch", **OFF)).to_be_visible()
    await expect(page.locator("#flag-state")).to_contain_text("Off · by page")
    assert site.service.flag.enabled is False
    await expect(page.locator("#spoken")).to_have_text("Automatic sessions off")


async def test_the_keyboard_alone_reaches_and_turns_it(page: Page, site: Site) -> None:
    await opened(page, site)
    for _ in range(10):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.id") == "flag":
            break
    await page.keyboard.press("Space")
    await expect(page.get_by_role("switch", **OFF)).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("switch", **ON)).to_be_focused()
    await expect(page.locator("#flag-state")).to_contain_text("On · by page")

    assert [change.enabled for change in site.service.history] == [True, False]


async def test_everything_can_be_done_by_keyboard(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    await expect(page.locator("#rows tr")).not_to_have_count(0)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the exchanges")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")

    await expect(page.locator("#rows tr.more")).to_have_count(1)
    await expect(page.locator("#rows .open[aria-expanded=true]")).to_be_focused()


async def test_a_screen_reader_is_told_what_it_is(page: Page, site: Site) -> None:
    await opened(page, site)
    button = page.get_by_role("switch", name="Automatic sessions")

    assert await button.get_attribute("aria-checked") == "true"
    described = (await button.get_attribute("aria-describedby") or "").split()
    assert described == ["flag-about", "flag-state"]


async def test_the_remembered_state_is_there_before_the_servers(page: Page, site: Site) -> None:
    await opened(page, site)
    await page.get_by_role("switch", **ON).click()
    await expect(page.locator("#flag-state")).to_contain_text("Off")
    await page.route("**/api/auto-session", lambda route: None)
    await page.route("**/events", lambda route: None)
    await page.goto(site.url)

    await expect(page.get_by_role("switch", **OFF)).to_be_visible()
    await expect(page.locator("#flag-state")).to_be_empty()


async def test_a_failure_brings_the_old_state_back_with_a_notice(page: Page, site: Site) -> None:
    await opened(page, site)
    site.service.fail = ControlError(409, "busy", "The store is busy.")
    await page.get_by_role("switch", **ON).click()

    await expect(page.get_by_role("switch", **ON)).to_be_visible()
    await expect(page.get_by_role("alert").get_by_text("The store is busy.")).to_be_visible()
    assert await page.evaluate("localStorage.getItem('kimi.auto_session')") == "true"


async def test_when_nobody_answers_it_goes_back_too(page: Page, site: Site) -> None:
    await opened(page, site)
    await page.route("**/api/auto-session", lambda route: route.abort())
    await page.get_by_role("switch", **ON).click()

    await expect(page.get_by_role("alert").get_by_text("Nobody answers.")).to_be_visible()
    await expect(page.get_by_role("switch", **ON)).to_be_visible()


async def test_clicking_quickly_ends_with_the_last_wish(page: Page, site: Site) -> None:
    await opened(page, site)
    for _ in range(5):
        await page.get_by_role("switch").click()
    await expect(page.locator("#flag-state")).to_contain_text("Off")

    await expect(page.get_by_role("switch", **OFF)).to_be_visible()
    assert site.service.flag.enabled is False


async def test_a_held_switch_says_so_and_stays(page: Page, site: Site) -> None:
    await site.service.force_auto_session(False, Caller("root", admin=True))
    await opened(page, site)
    await page.get_by_role("switch", **OFF).click(force=True)

    await expect(page.get_by_role("alert").get_by_text("An admin holds this switch.")).to_be_visible()
    await expect(page.get_by_role("switch", **OFF)).to_have_attribute("aria-disabled", "true")
    await expect(page.locator("#flag-state")).to_have_text("Off · held by an admin")


async def test_the_history_can_be_opened(page: Page, site: Site) -> None:
    await site.service.set_auto_session(False, SOMEBODY)
    await opened(page, site)
    await page.get_by_text("History").click()

    await expect(page.locator("#flag-history li")).to_contain_text(["off by bob"])


# Several pages


async def test_a_second_page_stays_in_step(browser: Browser, page: Page, site: Site) -> None:
    other = await (await browser.new_context()).new_page()
    await opened(page, site)
    await opened(other, site)
    await page.get_by_role("switch", **ON).click()

    await expect(other.get_by_role("switch", **OFF)).to_be_visible()
    await other.get_by_role("switch", **OFF).click()
    await expect(page.get_by_role("switch", **ON)).to_be_visible()


async def test_ten_pages_of_one_browser_share_one_stream(browser: Browser, site: Site) -> None:
    context = await browser.new_context()
    pages = [await opened(await context.new_page(), site) for _ in range(10)]
    readers = site.service.hub.readers
    await pages[3].get_by_role("switch", **ON).click()
    for one in pages:
        await expect(one.get_by_role("switch", **OFF)).to_be_visible()
    await pages[0].close()
    await site.service.set_auto_session(True, SOMEBODY)
    for one in pages[1:]:
        await expect(one.get_by_role("switch", **ON)).to_be_visible()
    await context.close()

    assert readers == 1


async def test_the_other_pages_come_back_too(browser: Browser, site: Site) -> None:
    context = await browser.new_context()
    pages = [await opened(await context.new_page(), site) for _ in range(3)]
    await site.down()
    for one in pages:
        await expect(one.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    await site.scene.furnish()
    await site.up()
    for one in pages:
        await expect(one.locator("#connection")).to_have_attribute("data-state", "live", timeout=15_000)
        await expect(one.locator("#sessions-live > li")).to_have_count(4)
    await context.close()


async def test_what_somebody_else_changes_is_shown_and_read_out(page: Page, site: Site) -> None:
    await opened(page, site)
    await site.service.set_auto_session(False, SOMEBODY)

    await expect(page.get_by_role("switch", **OFF)).to_be_visible()
    await expect(page.locator("#spoken")).to_have_text("Automatic sessions off, by bob")


# Sessions and exchanges


async def test_an_exchange_comes_live_and_is_settled(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    begun = site.scene.begin("s_0002", "kimi-k2.5", 50_000)
    row = page.locator(f"#rows tr[data-id={begun.id}]")

    await expect(row.locator(".origin")).to_have_text("calibrated")
    await expect(row.locator(".figure")).to_contain_text("≈")
    await expect(row).to_have_attribute("data-state", "running")
    await expect(page.locator("#rows tr").first).to_have_attribute("data-id", begun.id)
    site.scene.settle(begun, 51_234)
    await expect(row.locator(".origin")).to_have_text("reported")
    await expect(row.locator(".figure")).to_contain_text("→ 51.2k")
    await expect(row).to_have_attribute("data-state", "done")


async def test_unknown_is_a_dash_and_never_zero(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    row = page.locator("#rows tr", has=page.locator(".origin[data-origin=unknown]"))

    await expect(row.locator(".figure")).to_have_text("–")
    await expect(row.locator("td[data-label=Generated]")).to_have_text("–")
    await expect(row.locator("td[data-label=Cost]")).to_have_text("–")


async def test_a_failed_exchange_says_why(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    row = page.locator("#rows tr[data-state=failed]")

    await expect(row.locator(".mark.bad")).to_have_text("429 rate_limit_error")
    await row.locator(".open").click()
    await expect(page.locator("#rows tr.more")).to_contain_text("per-minute rate limit")


async def test_sessions_show_their_fill_by_level(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    full = page.locator(".session", has_text="kilo-code").get_by_role("meter")
    light = page.locator(".session", has_text="payments refactoring").get_by_role("meter")

    await expect(full).to_have_attribute("data-level", re.compile("very_high|critical"))
    await expect(light).to_have_attribute("data-level", "normal")
    assert float(await light.get_attribute("aria-valuenow") or 0) < 80
    await expect(page.locator("#sessions-live > li")).to_have_count(4)
    await expect(page.locator("#sessions-ended .count")).to_have_text("1")


async def test_a_fill_moves_with_the_next_exchange(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    meter = page.locator(".session", has_text="payments refactoring").get_by_role("meter")
    await expect(meter).to_have_attribute("data-level", "normal")
    site.scene.settle(site.scene.begin("s_0002", "kimi-k2.5", 240_000), 240_000)

    await expect(meter).to_have_attribute("data-level", "very_high")


async def test_choosing_a_session_filters_exchanges_and_totals(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    everything = await page.locator("#rows tr").count()
    await page.get_by_role("button", name="Only the exchanges of codex of bob").click()

    await expect(page.locator("#rows tr")).to_have_count(8)
    await expect(page.locator("#totals .value").first).to_have_text("8")
    assert everything > 8
    await page.get_by_role("button", name="Only codex of bob ×").click()
    await expect(page.locator("#rows tr")).to_have_count(everything)


async def test_side_traffic_can_be_hidden(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    await expect(page.get_by_text("side", exact=True)).to_be_visible()
    await page.get_by_label("side traffic").uncheck()

    await expect(page.get_by_text("side", exact=True)).to_have_count(0)


async def test_a_session_can_be_ended(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    await page.get_by_role("button", name="End the session codex of bob").click()

    await expect(page.locator("#sessions-live > li")).to_have_count(3)
    assert site.service.known["s_0003"].session_status == "ended"


async def test_created_sessions_are_announced_together(page: Page, site: Site) -> None:
    await opened(page, site)
    for number in range(5):
        site.service.add_session(f"user{number}", "codex", "openai", "gpt-5")

    await expect(page.locator("#notices .notice")).to_have_count(1)
    await expect(page.locator("#notices .notice")).to_contain_text("5 new sessions")
    await expect(page.locator("#sessions-live > li")).to_have_count(5)


async def test_one_created_session_is_named(page: Page, site: Site) -> None:
    await opened(page, site)
    site.service.add_session("alice", "codex", "openai", "gpt-5")

    await expect(page.locator("#notices .notice")).to_contain_text("New session: codex of alice on openai")


async def test_a_session_that_is_told_in_short_is_read_in_full(page: Page, site: Site) -> None:
    await opened(page, site)
    session = site.service.add_session("alice", "codex", "openai", "gpt-5", quiet=True)
    short = session.model_dump(mode="json", exclude={"statistics", "providers"})
    site.service.hub.publish("session:started", {**short, "resumed": 1})

    await expect(page.locator("#sessions-live > li")).to_have_count(1)
    await expect(page.locator(".session b")).to_have_text("codex")
    await expect(page.locator("#notices .notice")).to_have_count(0)


async def test_names_are_text_and_never_markup(page: Page, site: Site) -> None:
    attack = "<img src=x onerror=window.hit=1><b>x</b>"
    site.service.add_session(attack, attack, "openai", attack, name=attack)
    await opened(page, site)
    site.scene.begin("s_0001", "kimi-k2.5", 100, model=attack, client=attack, user=attack, url=attack)
    row = page.locator("#rows tr").first
    await row.locator(".open").click()

    await expect(row.locator(".name")).to_have_text(attack)
    await expect(page.locator(".session b").first).to_have_text(attack)
    assert await page.evaluate("window.hit") is None
    assert await page.locator("#rows img, .session img").count() == 0


async def test_a_storm_of_exchanges_is_kept_up_with(page: Page, site: Site) -> None:
    site.service.add_session("alice", "claude-code", "moonshotai", "kimi-k2.5")
    await opened(page, site)
    for number in range(600):
        site.scene.settle(site.scene.begin("s_0001", "kimi-k2.5", 1_000 + number), 1_000 + number)

    await expect(page.locator("#rows tr").first.locator(".figure")).to_contain_text("→ 1.6k", timeout=15_000)
    await expect(page.locator("#totals .value").first).to_have_text("600", timeout=15_000)
    assert await page.locator("#rows tr").count() <= 300


# The connection


async def test_the_server_goes_down_and_comes_back(page: Page, site: Site) -> None:
    await site.scene.furnish()
    await opened(page, site)
    await expect(page.locator("#rows tr")).not_to_have_count(0)
    await site.down()
    await expect(page.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    await page.get_by_role("switch").click()
    await expect(page.get_by_role("alert").get_by_text("Nobody answers.")).to_be_visible()
    missed = site.scene.begin("s_0002", "kimi-k2.5", 50_000)
    await site.service.set_auto_session(False, SOMEBODY)
    await site.up()

    await expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=15_000)
    await expect(page.locator(f"#rows tr[data-id={missed.id}]")).to_be_visible()
    await expect(page.get_by_role("switch", **OFF)).to_be_visible()


async def test_after_a_reset_everything_is_read_again(page: Page, site: Site) -> None:
    await opened(page, site)
    await site.down()
    await expect(page.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    await site.scene.furnish()
    for _ in range(600):
        site.service.hub.publish("alert", {})
    await site.up()

    await expect(page.locator("#connection")).to_have_attribute("data-state", "live", timeout=15_000)
    await expect(page.locator("#sessions-live > li")).to_have_count(4)
    await expect(page.locator("#rows tr")).not_to_have_count(0)


# The token


async def test_the_page_asks_for_the_token_and_keeps_it_in_this_tab(page: Page, site: Site) -> None:
    await site.down()
    site.settings = ControlSettings(token="open sesame", version="0.1.0")
    await site.up()
    addresses: list[str] = []
    page.on("request", lambda request: addresses.append(request.url))
    await page.goto(site.url)
    await page.get_by_role("textbox", name="Token").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("This token was refused.")).to_be_visible()
    await page.get_by_role("textbox", name="Token").fill("open sesame")
    await page.keyboard.press("Enter")

    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    await page.get_by_role("switch", **ON).click()
    await expect(page.locator("#flag-state")).to_contain_text("Off")
    await page.reload()
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    assert await page.evaluate("sessionStorage.getItem('kimi.token')") == "open sesame"
    assert await page.evaluate("localStorage.getItem('kimi.token')") is None
    assert not [address for address in addresses if "sesame" in address]


async def test_each_page_asks_for_the_token_itself(browser: Browser, site: Site) -> None:
    await site.down()
    site.settings = ControlSettings(token="open sesame", version="0.1.0")
    await site.up()
    context = await browser.new_context()
    pages = [await context.new_page() for _ in range(2)]
    for one in pages:
        await one.goto(site.url)
        await expect(one.locator("#connection")).to_have_attribute("data-state", "locked")
    for one in reversed(pages):
        await one.get_by_role("textbox", name="Token").fill("open sesame")
        await one.keyboard.press("Enter")
        await expect(one.locator("#connection")).to_have_attribute("data-state", "live")
        await expect(one.locator("#flag-state")).not_to_be_empty()
    await site.service.set_auto_session(False, SOMEBODY)
    for one in pages:
        await expect(one.get_by_role("switch", **OFF)).to_be_visible()
    await context.close()


async def test_a_first_read_that_fails_is_done_again(page: Page, site: Site) -> None:
    await site.scene.furnish()
    failures = 0

    async def fail_once(route: Route) -> None:
        nonlocal failures
        failures += 1
        await (route.abort() if failures == 1 else route.continue_())

    await page.route("**/api/exchanges*", fail_once)
    await page.goto(site.url)
    await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
    await site.down()
    await expect(page.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    await site.up()

    await expect(page.locator("#rows tr")).not_to_have_count(0, timeout=15_000)


# The API's page, and how it all looks


async def test_the_apis_page_needs_no_network(page: Page, site: Site) -> None:
    await page.goto(f"{site.url}docs")
    await expect(page.locator("#operations[data-ready]")).to_be_visible()

    await expect(page.locator("#toggle_auto_session h3 code")).to_have_text("/api/auto-session/toggle")
    await expect(page.get_by_role("link", name="/events")).to_be_visible()


@pytest.mark.parametrize("width", [320, 420, 760, 1024, 1440, 2200])
async def test_nothing_sticks_out_at_any_width(page: Page, site: Site, width: int) -> None:
    await site.scene.furnish()
    await page.set_viewport_size({"width": width, "height": 900})
    await opened(page, site)
    await expect(page.locator("#rows tr")).not_to_have_count(0)
    await page.locator("#rows .open").first.click()

    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest("[data-status=ended], .hidden, .skip")) continue;
    const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([node.className || node.tagName, node.textContent, ratio].join(" "));
  }
  return bad;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_has_enough_contrast(page: Page, site: Site, scheme: str) -> None:
    await site.scene.furnish()
    site.scene.begin("s_0002", "kimi-k2.5", 50_000)
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await opened(page, site)
    await expect(page.locator("#rows tr")).not_to_have_count(0)
    await page.locator("#rows .open").nth(6).click()

    assert await page.evaluate(CONTRAST) == []


async def test_reduced_motion_is_respected(page: Page, site: Site) -> None:
    await site.scene.furnish()
    site.scene.begin("s_0002", "kimi-k2.5", 50_000)
    await page.emulate_media(reduced_motion="reduce")
    await opened(page, site)
    await expect(page.locator(".mark.live")).to_be_visible()

    moving = "() => document.getAnimations().filter((one) => one.playState === 'running').length"
    assert await page.evaluate(moving) == 0
