"""A network that goes away: the page says so, comes again by itself, and nothing is lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.browser.desks import PASSWORD
from tests.browser.inside import Inside
from tests.browser.pages import DesktopPage, sign_in

pytestmark = pytest.mark.e2e

#: Seconds.
AWAY = 10


async def test_after_ten_seconds_without_a_network_it_goes_on(visits, chromium, wire, desk, ada):
    inside = Inside(desk, ada)
    page = await visits.page(chromium, wire.origin)
    await sign_in(page, "ada", PASSWORD)
    await page.get_by_role("link", name="Open").first.click()
    desktop = DesktopPage(page)
    await desktop.live()
    await inside.form()
    await desktop.type("before")
    await inside.typed("before")

    await wire.cut()
    await page.locator(".viewer-bar .state.warn").wait_for()
    assert await page.locator(".viewer-past").is_visible(), "the last picture stays"
    await asyncio.sleep(AWAY)
    await wire.mend()
    await desktop.live(within=40_000)
    await desktop.type(" and after")
    await inside.typed("before and after")
