"""The administrators' page, beside somebody who works in their desktop."""

from __future__ import annotations

import re

import pytest

from tests.browser.inside import Inside, soon
from tests.browser.pages import DesktopPage, lend
from tests.browser.scenes import ADMIN

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def mia(desk):
    desk.with_password(ADMIN, admin=True)
    return desk.with_password("mia")


async def test_an_admin_sees_who_comes_says_something_looks_over_and_stops(
    visits, chromium, origin, visitor, desk, mia
):
    """All of it live: nothing is loaded anew."""
    context = await visits.context(chromium)
    await lend(await visitor(ADMIN), context)
    page = await context.new_page()
    await page.goto(f"{origin}/admin")
    await page.get_by_role("heading", name="Sessions").wait_for()
    row = page.get_by_role("row").filter(has_text="mia / main")
    assert await row.count() == 0

    inside = Inside(desk, mia)
    await inside.says("true")
    await row.get_by_text("Awake").wait_for()
    theirs = await visits.context(chromium)
    await lend(await visitor("mia"), theirs)
    hers = await theirs.new_page()
    await hers.goto(f"{origin}/desktop/{inside.desktop['id']}")
    shown = DesktopPage(hers)
    await shown.live()
    await row.get_by_text("browser").first.wait_for()

    await row.get_by_role("button").last.click()
    await page.get_by_role("menuitem", name="Message").click()
    await page.get_by_role("dialog").get_by_role("textbox").fill("We stop at noon <b>today</b>.")
    await page.get_by_role("button", name="Send").click()
    await page.get_by_text("It is shown in the desktop.").wait_for()

    await row.get_by_role("button").last.click()
    await page.get_by_role("menuitem", name="Look over").click()
    with desk.terminal(mia) as terminal:
        await soon(lambda: "$ " in terminal.text, what="her prompt")
        async with context.expect_page() as opened:
            await page.get_by_role("dialog").get_by_role("button", name="Look over").click()
        over = await opened.value
        question = r"desk share let-in \w+"
        asked = await soon(lambda: re.search(question, terminal.text), what="the question")
        assert await over.locator("#screen canvas").count() == 0
        terminal.type(f"{asked[0]}\n")
        await DesktopPage(over).live()
    assert await over.get_by_text("View only").is_visible()
    looked = [one for one in desk.listing("audit") if one["action"] == "session.look"]
    assert looked
    await over.close()

    await row.get_by_role("button").last.click()
    await page.get_by_role("menuitem", name="Stop").click()
    await page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    await row.wait_for(state="detached")
    await hers.locator(".viewer-bar .state.bad").wait_for()


async def test_who_is_no_admin_is_shown_nothing_of_others(visits, chromium, origin, visitor, ada):
    context = await visits.context(chromium)
    await lend(await visitor("ada"), context)
    page = await context.new_page()
    await page.goto(f"{origin}/admin")
    await page.get_by_text("administrator").first.wait_for()
    assert "mia" not in await page.content()
