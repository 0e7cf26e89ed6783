"""Desktops that start, that are about to sleep and that stop, before somebody's eyes."""

from __future__ import annotations

import pytest

from tests.browser.inside import Inside, soon
from tests.browser.pages import DesktopPage, lend

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def lou(desk):
    return desk.with_password("lou")


async def page_of(visits, browser, visitor, name):
    context = await visits.context(browser)
    mine = await visitor(name)
    await lend(mine, context)
    return mine, await context.new_page()


async def test_a_page_opens_while_the_desktop_starts_and_says_how_far_it_is(
    visits, chromium, origin, visitor, desk, lou
):
    mine, page = await page_of(visits, chromium, visitor, "lou")
    desktop = (await mine.api("POST", "/desktops", {"name": "main"}))["id"]
    await page.add_init_script(
        "window.said = []; addEventListener('DOMContentLoaded', () => new MutationObserver(() => {"
        " for (const one of document.querySelectorAll('.viewer-veil [role=status]'))"
        " if (said.at(-1) !== one.textContent) said.push(one.textContent);"
        "}).observe(document, { subtree: true, childList: true, characterData: true }));"
    )
    await page.goto(f"{origin}/desktop/{desktop}")
    await DesktopPage(page).live()
    said = await page.evaluate("said")
    assert len(said) >= 1, said
    assert all(said), said


async def test_who_is_about_to_lose_a_desktop_to_sleep_keeps_it_by_a_button(
    visits, chromium, origin, visitor, desk, lou
):
    inside = Inside(desk, lou)
    await inside.says("true")
    idle = {"idle.freeze_after": "4m", "idle.warn_before": "1m"}
    desk.api("POST", "/groups", body={"name": "restless", "policy": idle})
    desk.api("PUT", "/groups/restless/members/lou")
    mine, page = await page_of(visits, chromium, visitor, "lou")
    await page.goto(f"{origin}/desktop/{inside.desktop['id']}")
    await DesktopPage(page).live()
    await page.get_by_role("button", name="Keep it awake for an hour").click()
    await page.locator(".viewer-banner .note").wait_for(state="detached")
    session = (await mine.api("GET", "/sessions"))["items"][0]
    assert session["next_in"] > 3000


async def test_a_desktop_that_is_stopped_says_so_and_starts_by_a_button(
    visits, chromium, origin, visitor, desk, lou
):
    inside = Inside(desk, lou)
    await inside.says("true")
    mine, page = await page_of(visits, chromium, visitor, "lou")
    await page.goto(f"{origin}/desktop/{inside.desktop['id']}")
    shown = DesktopPage(page)
    await shown.live()
    await mine.api("POST", f"/desktops/{inside.desktop['id']}/stop")
    await page.locator(".viewer-bar .state.bad").wait_for()
    await page.get_by_role("button", name="Start the desktop").click()
    await shown.live()
    await soon(lambda: desk.listing("sessions"), what="the session")
